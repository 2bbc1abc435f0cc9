"""Folders of two packages that ship graphs without a config: what a config would say of them.

- kokoro-onnx: `kokoro-v1.0.onnx`, and `voices-v1.0.bin` with all voices in it. Source of the vocabulary: Kokoro-82M,
  version 1.0.
- moonshine-onnx: `encoder_model.onnx` and `decoder_model_merged.onnx`, for samples of speech.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import has_file, inside, read_json
from onnxpipe.bundle.graph_reader import graph_inputs
from onnxpipe.bundle.hub import listing
from onnxpipe.bundle.places import CONFIGS, MAIN, locate
from onnxpipe.bundle.timm_config import with_timm

#: All voices in one file.
VOICES_FILE = re.compile(r"voices[\w.-]*\.bin", re.ASCII)

#: The signs of Kokoro's phonemes from an id on.
_SIGNS = {
    0: "$", 1: ";:,.!?", 9: "—…\"()“” \u0303ʣʥʦʨᵝ\uab67A", 25: "I", 31: "O", 33: "Q", 35: "ST", 39: "W", 41: "Yᵊabcdef",
    50: "hijklmnopqrstuvwxyzɑɐɒæ", 75: "βɔɕç", 80: "ɖðʤə", 85: "ɚɛɜ", 90: "ɟ", 92: "ɡ", 99: "ɥ", 101: "ɨɪʝ",
    110: "ɯɰŋɳɲɴø", 118: "ɸθœ", 123: "ɹ", 125: "ɾɻ", 128: "ʁɽʂʃʈʧ", 135: "ʊʋ", 138: "ʌɣɤ", 142: "χʎ", 147: "ʒʔ",
    156: "ˈˌː", 162: "ʰ", 164: "ʲ", 169: "↓", 171: "→↗↘", 177: "ᵻ",
}  # fmt: skip
_MOONSHINE = {
    "model_type": "moonshine",
    "architectures": ["MoonshineForConditionalGeneration"],
    "is_encoder_decoder": True,
    "num_attention_heads": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "decoder_start_token_id": 1,
    "max_position_embeddings": 194,
    "vocab_size": 32768,
}


@dataclass(frozen=True)
class KnownFolder:
    """What is known of a folder without a config.

    Attributes:
        config: what config.json would hold.
        processor: what preprocessor_config.json would hold.
        vocabulary: tokens to ids, where the folder has no tokenizer.
    """

    config: Mapping[str, Any]
    processor: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Mapping[str, int] = field(default_factory=dict)


def known_folder(folder: Path, graphs: Mapping[str, Mapping[str, Path]] | None = None) -> KnownFolder | None:
    """Recognise a folder without a config by its files and its graphs' inputs; None if it is none of those known.

    Args:
        folder: the folder.
        graphs: its graphs, graph name to precision to file; None to find them.
    """
    if not folder.is_dir() or any(has_file(folder, name) for name in CONFIGS):
        return None
    names = listing(folder)
    if graphs is None:
        located = locate(names)
        home = folder / located.home
        graphs = {key: {one: inside(home, path) for one, path in each.items()} for key, each in located.graphs.items()}
    if graphs.keys() == {MAIN} and any(VOICES_FILE.fullmatch(name) for name in names):
        vocabulary = {sign: first + i for first, signs in _SIGNS.items() for i, sign in enumerate(signs)}
        return KnownFolder({"model_type": "style_text_to_speech_2"}, vocabulary=vocabulary)
    if graphs.keys() == {"encoder_model", "decoder_model_merged"}:
        encoder = next(iter(graphs["encoder_model"].values()))
        if "input_values" in graph_inputs(encoder):
            return KnownFolder(_MOONSHINE, {
                "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": 16000,
                "padding_value": 0.0, "do_normalize": False, "return_attention_mask": True,
            })  # fmt: skip
    return None


def model_config(folder: Path) -> Mapping[str, Any]:
    """Read a folder's config.json; what is known of the folder where there is none, else nothing.

    Raises:
        BundleError: the file is damaged.
    """
    if has_file(folder, "config.json"):
        return with_timm(read_json(folder, "config.json", nan=True))
    known = known_folder(folder)
    return {} if known is None else known.config
