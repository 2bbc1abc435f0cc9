"""The zoo's text-to-speech models: SpeechT5 with its vocoder, and VITS with one voice and with several.

They say nothing that could be understood. What counts is there: a loop that ends by the model's own word, durations
that are neither all equal nor long, and audio that is not silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo import corpus
from zoo.vision.weights import fill

MELS = 12
RATE = 16000
SPEAKER = 24
"""Numbers in a speaker's embedding of the SpeechT5."""


def speaker(seed: int = 0) -> np.ndarray:
    """A speaker of the SpeechT5: float32 (1, SPEAKER)."""
    return np.random.default_rng(seed).standard_normal((1, SPEAKER)).astype(np.float32)


# -- SpeechT5 and HiFi-GAN ------------------------------------------------------------------------------------------
def speecht5(folder: Path) -> None:
    """Two layers, two frames a step; about one step in thirty ends the speech."""
    import transformers

    config = transformers.SpeechT5Config(
        vocab_size=81, hidden_size=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48,
        decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=40, num_mel_bins=MELS,
        speech_decoder_prenet_units=20, speaker_embedding_dim=SPEAKER, speech_decoder_postnet_layers=3,
        speech_decoder_postnet_units=16, conv_dim=(8, 8), conv_stride=(2, 2), conv_kernel=(3, 2),
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, encoder_max_relative_position=16,
        max_text_positions=450, max_speech_positions=1876,
    )  # fmt: skip
    model = transformers.SpeechT5ForTextToSpeech(config).eval()
    fill(model, "speecht5")
    _speak_a_while(model)
    model.save_pretrained(str(folder))
    _speecht5_tokenizer(folder)
    extractor = transformers.SpeechT5FeatureExtractor(num_mel_bins=MELS, sampling_rate=RATE)
    extractor.save_pretrained(str(folder))


def _speak_a_while(model: Any) -> None:
    """Sets the layer that ends the speech so that some steps in a hundred do, of any text, and the first as rarely."""
    import torch

    walks: list[Any] = []
    head = model.speech_decoder_postnet.prob_out
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head.bias.fill_(-100.0)
        hook = head.register_forward_hook(lambda module, given, _: walks[-1].append(given[0][0]))
        for seed in range(6):
            walks.append([])
            ids = torch.randint(4, 75, (1, 12 + seed))
            model.generate_speech(ids, torch.from_numpy(speaker()), maxlenratio=6.0)
        hook.remove()
        states = torch.stack([state for walk in walks for state in walk])
        # What distinguishes one text from another, and the first step from the others, must not decide.
        means = torch.stack([torch.stack(walk[1:]).mean(dim=0) for walk in walks] + [walk[0] for walk in walks])
        odd = torch.linalg.svd(means - states.mean(dim=0), full_matrices=False).Vh[:8]
        head.weight.copy_(3.0 * (head.weight - head.weight @ odd.T @ odd))
        head.bias.copy_(-torch.quantile(states @ head.weight.T, 0.995, dim=0))


def _speecht5_tokenizer(folder: Path) -> None:
    """A model of characters, as Microsoft's: special tokens, a blank, then the characters by how often they occur."""
    import io

    import sentencepiece
    import transformers

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus.SENTENCES), model_writer=written, model_type="char", vocab_size=79,
        bos_id=0, pad_id=1, eos_id=2, unk_id=3, character_coverage=1.0, hard_vocab_limit=False, num_threads=1,
        minloglevel=2,
    )  # fmt: skip
    path = folder / "spm_char.model"
    path.write_bytes(written.getvalue())
    tokenizer = transformers.SpeechT5Tokenizer(str(path), model_max_length=600, normalize=True)
    tokenizer.add_tokens(["<mask>", "<ctc_blank>"][: 81 - tokenizer.vocab_size])
    tokenizer.save_pretrained(str(folder))


def hifigan(folder: Path) -> None:
    """The vocoder of the SpeechT5: eight samples a frame."""
    import torch
    import transformers

    config = transformers.SpeechT5HifiGanConfig(
        model_in_dim=MELS, sampling_rate=RATE, upsample_initial_channel=16, upsample_rates=[4, 2],
        upsample_kernel_sizes=[8, 4], resblock_kernel_sizes=[3, 5], resblock_dilation_sizes=[[1, 3], [1, 3]],
        architectures=["SpeechT5HifiGan"],
    )  # fmt: skip
    model = transformers.SpeechT5HifiGan(config).eval()
    fill(model, "hifigan")
    with torch.no_grad():
        model.mean.copy_(torch.linspace(-0.5, 0.5, MELS))
        model.scale.copy_(torch.linspace(1.0, 1.5, MELS))
        model.conv_post.weight.mul_(0.3)
    model.save_pretrained(str(folder))


# -- VITS -----------------------------------------------------------------------------------------------------------
_VITS: dict[str, Any] = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32, "flow_size": 16,
    "spectrogram_bins": 9, "upsample_initial_channel": 16, "upsample_rates": [4, 2], "upsample_kernel_sizes": [8, 4],
    "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3], [1, 3]], "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 2, "posterior_encoder_num_wavenet_layers": 1, "depth_separable_num_layers": 2,
    "duration_predictor_num_flows": 2, "duration_predictor_filter_channels": 16, "sampling_rate": RATE,
}  # fmt: skip


def vits(folder: Path) -> None:
    """One voice, drawn durations, and the vocabulary of an MMS-TTS, in which the blank is one of the letters."""
    _write_vits(folder, "vits", {})


def vits_speakers(folder: Path) -> None:
    """Three voices, durations that are predicted."""
    several = {"num_speakers": 3, "speaker_embedding_size": 10, "use_stochastic_duration_prediction": False}
    _write_vits(folder, "vits_speakers", several)


def _write_vits(folder: Path, seed: str, more: Mapping[str, Any]) -> None:
    import torch
    import transformers

    letters = list("k'zyuedhswxcpjmti fblo0rangvq5-_")
    model = transformers.VitsModel(transformers.VitsConfig(**_VITS, vocab_size=len(letters) + 1, **more)).eval()
    fill(model, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("duration_predictor", "text_encoder.project", "decoder.conv_post")):
                parameter.mul_(0.4)
    if "num_speakers" in more:
        with torch.no_grad():
            model.duration_predictor.proj.bias.fill_(0.8)
    model.save_pretrained(str(folder))
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(letters)}), encoding="utf-8")
    tokenizer = transformers.VitsTokenizer(
        str(vocabulary), pad_token="k", unk_token="<unk>", language="eng", phonemize=False
    )
    tokenizer.save_pretrained(str(folder))


# -- Kokoro ---------------------------------------------------------------------------------------------------------
PHONEMES = "$;:,.!?—… abdefhijklmnopstuvwzæðŋɐɑɔəɚɛɡɪɹʃʊʌʒˈˌːθᵊ"


def kokoro(folder: Path) -> None:
    """A folder as onnx-community has it, with two voices of 30 styles: three samples a phoneme, its id times a
    hundredth of the style's first number, of its second, and of the speed."""
    from onnx import TensorProto, helper, save

    numbers = [("input_ids", TensorProto.INT64, [1, "tokens"]), ("style", TensorProto.FLOAT, [1, 8]),
               ("speed", TensorProto.FLOAT, [1])]  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["last"], value_ints=[-1]),
        helper.make_node("Constant", [], ["flat"], value_ints=[1, -1]),
        helper.make_node("Constant", [], ["ends"], value_ints=[2]),
        helper.make_node("Constant", [], ["starts"], value_ints=[0]),
        helper.make_node("Constant", [], ["axes"], value_ints=[1]),
        helper.make_node("Constant", [], ["hundred"], value_float=100.0),
        helper.make_node("Slice", ["style", "starts", "ends", "axes"], ["two"]),
        helper.make_node("Unsqueeze", ["speed", "starts"], ["row"]),
        helper.make_node("Concat", ["two", "row"], ["factors"], axis=1),
        helper.make_node("Unsqueeze", ["ids", "last"], ["column"]),
        helper.make_node("Mul", ["column", "factors"], ["product"]),
        helper.make_node("Div", ["product", "hundred"], ["samples"]),
        helper.make_node("Reshape", ["samples", "flat"], ["waveform"]),
    ]
    inputs = [helper.make_tensor_value_info(*number) for number in numbers]
    output = helper.make_tensor_value_info("waveform", TensorProto.FLOAT, [1, "samples"])
    graph = helper.make_graph(nodes, "kokoro", inputs, [output])
    (folder / "onnx").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    save(model, str(folder / "onnx" / "model.onnx"))
    (folder / "voices").mkdir()
    for number, voice in enumerate(("af_heart", "bm_george")):
        styles = np.arange(30 * 8, dtype="<f4").reshape(30, 1, 8) + 1000 * number
        styles.tofile(folder / "voices" / f"{voice}.bin")
    template = [{"SpecialToken": {"id": "$", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    files = {
        "config.json": {"model_type": "style_text_to_speech_2"},
        "tokenizer_config.json": {"model_max_length": 512, "pad_token": "$", "tokenizer_class": "PreTrainedTokenizer",
                                  "unk_token": "$"},
        "tokenizer.json": {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
            "normalizer": {"type": "Replace", "pattern": {"Regex": f"[^{PHONEMES}]"}, "content": ""},
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False},
            "post_processor": {"type": "TemplateProcessing", "single": [*template, template[0]],
                               "special_tokens": {"$": {"id": "$", "ids": [0], "tokens": ["$"]}}},
            "decoder": None,
            "model": {"vocab": {sign: number for number, sign in enumerate(PHONEMES)}},
        },
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


MODELS: Mapping[tuple[str, str], Callable[[Path], None]] = {
    ("speecht5", "text-to-audio"): speecht5,
    ("vits", "text-to-audio"): vits,
    ("vits_speakers", "text-to-audio"): vits_speakers,
    ("hifigan", "vocoder"): hifigan,
}
