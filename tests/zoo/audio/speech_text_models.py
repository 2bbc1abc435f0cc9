"""Tiny encoder-decoders that transcribe, as whole folders in the Hub's layout, the same bytes every time.

    from zoo.audio.speech_text_models import MODELS
    MODELS["whisper", "automatic-speech-recognition"](folder)

Whisper comes twice: multilingual, hearing 3 seconds at once (so that a few seconds are long), and English-only, hearing
30 seconds, with fewer layers in the decoder, as distil-whisper has. Needs torch and transformers 5.23.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from zoo.audio import speech_text_tokenizers as tokenizers
from zoo.audio.sizes import WAVE
from zoo.audio.speech_text_weights import Marks, fill
from zoo.text.synthetic_tokenizer import SIZE, SyntheticTokenizer, to_json

TASK = "automatic-speech-recognition"
MISSING: Mapping[tuple[str, str], str] = {}
"""(family, task) -> why it cannot be exported."""

_RECORDINGS = 8
_SECONDS = 1.5
_BART = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}
_WHISPER = {**_BART, "num_mel_bins": 80, "max_target_positions": 96}
_TWO_HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
_MOONSHINE = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 3,
    "encoder_num_attention_heads": 4,
    "decoder_num_attention_heads": 4,
    "pad_head_dim_to_multiple_of": 8,
    "max_position_embeddings": 194,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.9},
}
_SEAMLESS = {
    "hidden_size": 48,
    "encoder_layers": 2,
    "encoder_ffn_dim": 96,
    "encoder_attention_heads": 4,
    "decoder_layers": 2,
    "decoder_ffn_dim": 96,
    "decoder_attention_heads": 4,
    "speech_encoder_layers": 2,
    "speech_encoder_attention_heads": 4,
    "speech_encoder_intermediate_size": 96,
    "conv_depthwise_kernel_size": 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "adaptor_kernel_size": 8,
    "adaptor_stride": 8,
    "max_position_embeddings": 128,
    "max_source_positions": 256,
    "t2u_encoder_layers": 1,
    "t2u_decoder_layers": 1,
    "t2u_encoder_ffn_dim": 48,
    "t2u_decoder_ffn_dim": 48,
    "t2u_encoder_attention_heads": 4,
    "t2u_decoder_attention_heads": 4,
    **dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop", "speech_encoder_layerdrop", "dropout",
                     "attention_dropout", "adaptor_dropout"), 0.0),
}  # fmt: skip
_SEAMLESS_V2 = {
    **{name: value for name, value in _SEAMLESS.items() if name != "max_source_positions" and "conv_pos" not in name},
    "left_max_position_embeddings": 16,
    "right_max_position_embeddings": 4,
    "speech_encoder_chunk_size": 24,
    "speech_encoder_left_chunk_num": 1,
}
_MELS = {
    "feature_extractor_type": "SeamlessM4TFeatureExtractor",
    "feature_size": 80,
    "num_mel_bins": 80,
    "sampling_rate": 16000,
    "stride": 2,
    "padding_value": 0.0,
    "padding_side": "right",
    "return_attention_mask": True,
    "processor_class": "SeamlessM4TProcessor",
}
_FBANKS = {
    "feature_extractor_type": "Speech2TextFeatureExtractor",
    "feature_size": 80,
    "num_mel_bins": 80,
    "sampling_rate": 16000,
    "do_ceptral_normalize": True,
    "normalize_means": True,
    "normalize_vars": True,
    "padding_value": 0.0,
    "padding_side": "right",
    "return_attention_mask": True,
    "processor_class": "Speech2TextProcessor",
}


def _log_mels(seconds: int) -> dict[str, Any]:
    return {
        "chunk_length": seconds,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 80,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": seconds * 16000,
        "nb_max_frames": seconds * 100,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": 16000,
    }


@dataclass(frozen=True)
class Family:
    """A family.

    Args:
        model_type: in config.json.
        kind: the model's class.
        config: arguments of its configuration, besides special ids.
        extractor: preprocessor_config.json.
        tokenizer: what makes its tokenizer.
        generation: what generation_config.json says besides special ids, given the ids of all tokens.
        tokens: special token -> the name of its id.
        architecture: what config.json calls the model, where it has more abilities than this one.
    """

    model_type: str
    kind: str
    config: Mapping[str, Any]
    extractor: Mapping[str, Any]
    tokenizer: Callable[[], SyntheticTokenizer]
    tokens: Mapping[str, str]
    generation: Callable[[Mapping[str, int]], dict[str, Any]] = field(default=lambda ids: {})
    architecture: str = ""


def _whisper_generation(heads: list[list[int]], ids: Mapping[str, int], *, multilingual: bool) -> dict[str, Any]:
    """As in the generation_config.json of openai's checkpoints."""
    marks = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>")
    config: dict[str, Any] = {
        "alignment_heads": heads,
        "begin_suppress_tokens": [ids["Ġ"], ids[tokenizers.END]],
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": 96,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
        "suppress_tokens": [*sorted(ids[sign] for sign in '"#()*+/:;<=>@[]_'), ids[tokenizers.START],
                            *(ids[mark] for mark in marks)],
    }  # fmt: skip
    if multilingual:
        config["lang_to_id"] = {language: ids[language] for language in tokenizers.whisper_languages()}
        config["task_to_id"] = {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]}
    return config


def _seamless_generation(ids: Mapping[str, int]) -> dict[str, Any]:
    codes = {token.strip("_"): ids[token] for token in tokenizers.SEAMLESS_LANGUAGES}
    return {"text_decoder_lang_to_code_id": codes, "max_new_tokens": 48}


_ONE_END = {"bos": tokenizers.END, "eos": tokenizers.END, "pad": tokenizers.END, "decoder_start": tokenizers.START}
_FAIRSEQ = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "decoder_start": "</s>"}

FAMILIES: Mapping[str, Family] = {
    "whisper": Family(
        "whisper", "WhisperForConditionalGeneration", {**_WHISPER, "max_source_positions": 150}, _log_mels(3),
        tokenizers.whisper, _ONE_END,
        partial(_whisper_generation, [[0, 1], [1, 0], [1, 3]], multilingual=True),
    ),
    "whisper-en": Family(
        "whisper", "WhisperForConditionalGeneration",
        {**_WHISPER, **_TWO_HEADS, "max_source_positions": 1500, "decoder_layers": 1}, _log_mels(30),
        tokenizers.whisper, _ONE_END,
        partial(_whisper_generation, [[0, 1]], multilingual=False),
    ),
    "moonshine": Family(
        "moonshine", "MoonshineForConditionalGeneration", _MOONSHINE,
        {**WAVE, "do_normalize": False, "return_attention_mask": True, "processor_class": "Wav2Vec2Processor"},
        tokenizers.moonshine, {"bos": "<s>", "eos": "</s>", "pad": "</s>", "decoder_start": "<s>"},
        lambda ids: {"max_length": 48},
    ),
    "speech_to_text": Family(
        "speech_to_text", "Speech2TextForConditionalGeneration",
        {**_BART, "conv_channels": 32, "max_source_positions": 300, "max_target_positions": 96}, _FBANKS,
        tokenizers.speech_to_text, _FAIRSEQ,
        lambda ids: {"early_stopping": True, "max_length": 48, "num_beams": 5},
    ),
    "seamless_m4t": Family(
        "seamless_m4t", "SeamlessM4TForSpeechToText", _SEAMLESS, _MELS, tokenizers.seamless, _FAIRSEQ,
        _seamless_generation, architecture="SeamlessM4TModel",
    ),
    "seamless_m4t_v2": Family(
        "seamless_m4t_v2", "SeamlessM4Tv2ForSpeechToText", _SEAMLESS_V2, _MELS, tokenizers.seamless, _FAIRSEQ,
        _seamless_generation,
    ),
}  # fmt: skip


def _write(name: str, folder: Path) -> None:
    """Write the whole folder of the family `name`."""
    import transformers

    from onnxpipe_export.tracing import quiet

    family = FAMILIES[name]
    folder.mkdir(parents=True, exist_ok=True)
    ids = _write_tokenizer(family, folder)
    _to_json(folder / "preprocessor_config.json", dict(family.extractor))
    special = {f"{key}_token_id": ids[token] for key, token in family.tokens.items()}
    size = max(max(ids.values()) + 1, SIZE)
    config = transformers.AutoConfig.for_model(family.model_type, vocab_size=size, **family.config, **special)
    model = getattr(transformers, family.kind)(config).eval()
    model.tie_weights()
    fill(model, name, _marks(family, ids), _recordings(model, folder))
    model.generation_config = transformers.GenerationConfig()
    with quiet():
        model.save_pretrained(folder)
    _to_json(folder / "generation_config.json", {**special, **family.generation(ids)})
    if family.architecture:
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        _to_json(folder / "config.json", {**saved, "architectures": [family.architecture]})


def _write_tokenizer(family: Family, folder: Path) -> dict[str, int]:
    """Write the tokenizer's files; returns every token and its id."""
    synthetic = family.tokenizer()
    if synthetic.backend is not None:
        synthetic.backend.save(str(folder / "tokenizer.json"))
    for name, content in synthetic.files.items():
        (folder / name).write_bytes(content)
    (folder / "tokenizer_config.json").write_bytes(to_json(synthetic.config))
    if synthetic.backend is not None:
        return dict(synthetic.backend.get_vocab(with_added_tokens=True))
    return dict(json.loads(synthetic.files["vocab.json"]))


def _marks(family: Family, ids: Mapping[str, int]) -> Marks:
    start, end = ids[family.tokens["decoder_start"]], ids[family.tokens["eos"]]
    if family.model_type != "whisper":
        languages = [ids[token] for token in tokenizers.SEAMLESS_LANGUAGES if token in ids]
        odd = [number for token, number in ids.items() if token.startswith("<") and number != end]
        words = range(260 if "<0x00>" in ids else 4, SIZE - len(languages))
        return Marks((start, *languages[:1]), end, (*odd, *languages), words)
    multilingual = family.generation(ids)["is_multilingual"]
    languages = [ids[token] for token in tokenizers.whisper_languages()]
    prefix = (languages[0], ids["<|transcribe|>"]) if multilingual else ()
    kept = {end, *languages, *(number for token, number in ids.items() if token[2:3].isdigit() and token[:2] == "<|")}
    odd = [number for token, number in ids.items() if token.startswith("<|") and number not in kept]
    first = ids["<|0.00|>"]
    return Marks((start, *prefix), end, tuple(odd), range(256, end), tuple(languages), range(first, first + 1501))


def _recordings(model: Any, folder: Path) -> list[dict[str, Any]]:
    """Prepare synthetic recordings as the model takes them, one row each."""
    import torch

    from onnxpipe_export.cases import audio as audio_cases

    extractor = audio_cases.load_extractor(folder)
    rate = int(extractor.sampling_rate)
    names = (model.main_input_name, "attention_mask")
    names = names if model.config.model_type != "whisper" else names[:1]
    recordings = [audio_cases.synthetic_audio(number, int(_SECONDS * rate), rate) for number in range(_RECORDINGS)]
    inputs = [audio_cases.extract_features(extractor, [one], names) for one in recordings]
    return [{name: torch.from_numpy(value) for name, value in one.items()} for one in inputs]


def _to_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


MODELS: Mapping[tuple[str, str], Callable[[Path], None]] = {(name, TASK): partial(_write, name) for name in FAMILIES}
"""(family, task) -> what writes its folder."""
