"""Tiny MusicGen and Bark models, as whole folders in the Hub's layout, the same bytes every time.

    from zoo.audio.music_models import MODELS
    MODELS["musicgen", "text-to-audio"](folder)

Each folder has config.json, generation_config.json, model.safetensors, the tokenizer's files and, as its real
checkpoint has them, preprocessor_config.json or voices (speaker_embeddings). Rates, strides and windows between them
are those of facebook/musicgen-small, facebook/musicgen-stereo-small and suno/bark-small, sizes are small; needs torch
and transformers.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.text import sentencepiece_tokenizers, tokenization
from zoo.text.synthetic_tokenizer import to_json

TASK = "text-to-audio"
VOICE = "v2/en_speaker_6"
"""The voice that Bark's folder has."""
CODES = 64
"""Codes of a codebook."""

_T5 = {"d_model": 24, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 3, "dropout_rate": 0.0}
_CODEC = {"num_filters": 4, "hidden_size": 16, "codebook_size": CODES, "num_lstm_layers": 2}
_MUSIC_CODEC = {
    **_CODEC,
    "sampling_rate": 32_000,
    "upsampling_ratios": [8, 5, 4, 4],
    "target_bandwidths": [1.2],
    "use_causal_conv": False,
    "use_conv_shortcut": False,
}
_DECODER = {
    "vocab_size": CODES,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 64,
    "max_position_embeddings": 128,
    "dropout": 0.0,
    "pad_token_id": CODES,
    "bos_token_id": CODES,
}


def _musicgen(name: str, channels: int, folder: Path) -> None:
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _t5_tokenizer(folder)
    config = transformers.MusicgenConfig(
        text_encoder={
            "model_type": "t5",
            **_T5,
            "vocab_size": vocabulary,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        },
        audio_encoder={"model_type": "encodec", **_MUSIC_CODEC},
        decoder={**_DECODER, "num_codebooks": 4 * channels, "audio_channels": channels},
    )
    model = transformers.MusicgenForConditionalGeneration(config).eval()
    fill(model, name, _SEEDS.get(name, 0))
    _loud(model.audio_encoder)
    model.generation_config = transformers.GenerationConfig()
    model.save_pretrained(folder)
    generation = {
        "bos_token_id": CODES,
        "decoder_start_token_id": CODES,
        "do_sample": True,
        "guidance_scale": 3.0,
        "max_length": 60,
        "pad_token_id": CODES,
    }
    extractor = {
        "chunk_length_s": None,
        "feature_extractor_type": "EncodecFeatureExtractor",
        "feature_size": channels,
        "overlap": None,
        "padding_side": "left",
        "padding_value": 0.0,
        "processor_class": "MusicgenProcessor",
        "return_attention_mask": True,
        "sampling_rate": 32_000,
    }
    (folder / "generation_config.json").write_bytes(to_json(generation))
    (folder / "preprocessor_config.json").write_bytes(to_json(extractor))


def _t5_tokenizer(folder: Path) -> int:
    """Write the tokenizer; returns how many tokens it has."""
    synthetic = sentencepiece_tokenizers.t5("t5")
    assert synthetic.backend is not None
    synthetic.backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_bytes(to_json({"model_max_length": 128, **synthetic.config}))
    return int(synthetic.backend.get_vocab_size(with_added_tokens=True))


_SEMANTIC = {
    "eos_token_id": 96,
    "max_input_semantic_length": 256,
    "max_new_tokens": 24,
    "semantic_infer_token": 1215,
    "semantic_rate_hz": 49.9,
    "semantic_vocab_size": 96,
    "text_encoding_offset": 112,
    "text_pad_token": 1213,
}
_COARSE = {
    "coarse_infer_token": 241,
    "coarse_rate_hz": 75,
    "coarse_semantic_pad_token": 239,
    "max_coarse_history": 60,
    "max_coarse_input_length": 40,
    "n_coarse_codebooks": 2,
    "sliding_window_len": 20,
}
_FINE = {"max_fine_history_length": 32, "max_fine_input_length": 64, "n_fine_codebooks": 4, "temperature": 1.0}
_SAMPLED = {"do_sample": True, "temperature": 0.7, "renormalize_logits": True}
_BLOCKS = {"num_layers": 2, "num_heads": 4, "hidden_size": 32, "dropout": 0.0, "bias": False}


def _bark(name: str, folder: Path) -> None:
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokenization.save("bert", folder)
    codec = {"model_type": "encodec", **_CODEC, "upsampling_ratios": [8, 5, 4, 2], "target_bandwidths": [1.8]}
    config = transformers.BarkConfig(
        semantic_config={**_BLOCKS, "block_size": 320, "input_vocab_size": 1216, "output_vocab_size": 112},
        coarse_acoustics_config={**_BLOCKS, "block_size": 128, "input_vocab_size": 244, "output_vocab_size": 244},
        fine_acoustics_config={
            **_BLOCKS,
            "block_size": 64,
            "input_vocab_size": CODES + 8,
            "output_vocab_size": CODES + 8,
            "n_codes_total": 4,
            "n_codes_given": 1,
        },
        codec_config=codec,
    )
    model = transformers.BarkModel(config).eval()
    fill(model, name, _SEEDS.get(name, 0))
    _loud(model.codec_model)
    model.generation_config = transformers.GenerationConfig()
    model.save_pretrained(folder)
    generation = {
        "codebook_size": CODES,
        "coarse_acoustics_config": {**_COARSE, **_SAMPLED, "model_type": "coarse_acoustics"},
        "fine_acoustics_config": {**_FINE, "model_type": "fine_acoustics"},
        "model_type": "bark",
        "sample_rate": 24_000,
        "semantic_config": {**_SEMANTIC, **_SAMPLED, "model_type": "semantic"},
    }
    (folder / "generation_config.json").write_bytes(to_json(generation))
    _voice(folder)


def _voice(folder: Path) -> None:
    """A voice in the files of suno/bark: one array each for the three stages."""
    generator = np.random.default_rng(7)
    frames = 45
    prompts = {
        "semantic_prompt": generator.integers(0, _SEMANTIC["semantic_vocab_size"], 31),
        "coarse_prompt": generator.integers(0, CODES, (2, frames)),
        "fine_prompt": generator.integers(0, CODES, (4, frames)),
    }
    paths = {name: f"speaker_embeddings/{VOICE}_{name}.npy" for name in prompts}
    for name, array in prompts.items():
        (folder / paths[name]).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / paths[name], array)
    (folder / "speaker_embeddings_path.json").write_bytes(to_json({"repo_or_path": "suno/bark-small", VOICE: paths}))


_SEEDS: Mapping[str, int] = {}
"""Where the first weights gave a near tie or audio that is noise."""


def fill(model: Any, name: str, seed: int) -> None:
    """Overwrite every parameter and codebook: norms near one, tables N(0, 1), the rest N(0, 2.25 / fan-in)."""
    import torch

    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    codebooks = [(name, buffer) for name, buffer in model.named_buffers() if name.endswith("codebook.embed")]
    for path, value in [*model.named_parameters(), *codebooks]:
        key = zlib.crc32(f"{name}/{seed}/{path}".encode())
        noise = np.random.default_rng(key).standard_normal(tuple(value.shape))
        if path.endswith("original0"):  # lengths of the convolutions' kernels
            filled = np.abs(1.5 + 0.2 * noise)
        elif id(value) in tables or path.endswith("codebook.embed"):
            filled = noise * (0.3 if "position" in path or "relative" in path else 1.0)
        elif value.dim() > 1:
            filled = noise * (1.5 / float(np.prod(value.shape[1:])) ** 0.5)
        else:
            filled = 0.1 * noise + (1.0 if path.endswith("weight") else 0.0)
        with torch.no_grad():
            value.copy_(torch.from_numpy(np.asarray(filled, np.float32)))


def _loud(codec: Any) -> None:
    """Scale the last convolution so that the audio is at about a tenth of full scale."""
    import torch

    codes = torch.from_numpy(np.random.default_rng(3).integers(0, CODES, (1, 4, 40)))
    last = codec.decoder.layers[-1].conv
    with torch.no_grad():
        audio = codec._decode_frame(codes[:, : len(codec.quantizer.layers)])
        last.parametrizations.weight.original0.mul_(round(0.1 / float(audio.std()), 3))
        last.bias.zero_()


MODELS: Mapping[tuple[str, str], Callable[[Path], None]] = {
    ("musicgen", TASK): partial(_musicgen, "musicgen", 1),
    ("musicgen-stereo", TASK): partial(_musicgen, "musicgen-stereo", 2),
    ("bark", TASK): partial(_bark, "bark"),
}
"""(family, task) -> what writes its folder."""
