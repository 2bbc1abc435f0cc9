"""Settings of feature extractors, and the options of their calls: types, allowed values, and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from onnxpipe.bundle.hub_options import FileKeywords
from onnxpipe.errors import UnsupportedError


class FeatureExtractorOverrides(TypedDict, total=False):
    """Settings as keywords; each class takes those that it has."""

    feature_size: int
    sampling_rate: int
    padding_value: float
    padding_side: str
    return_attention_mask: bool
    do_normalize: bool
    n_fft: int
    hop_length: int
    chunk_length: int
    dither: float
    num_mel_bins: int
    max_length: int
    mean: float
    std: float
    stride: int
    max_length_s: int
    fft_window_size: int
    frequency_min: float
    frequency_max: float
    top_db: int | None
    truncation: str
    padding: str
    do_ceptral_normalize: bool
    normalize_means: bool
    normalize_vars: bool
    win_length: int
    win_function: str
    fmin: float
    fmax: float
    mel_floor: float
    chunk_length_s: float | None
    overlap: float | None
    frame_signal_scale: float
    preemphasis_coeff: float
    preemphasis: float | None


class FeatureExtractorKeywords(FileKeywords, FeatureExtractorOverrides, total=False):
    """The keywords of `from_pretrained`: the Hub's, and settings that replace those of the files."""


class FeatureExtractorCallOptions(TypedDict, total=False):
    """The keywords of a call; each class takes those of its `call_defaults`."""

    raw_audio: Any
    audio: Any
    audio_target: Any
    padding: Any
    truncation: Any
    max_length: int | None
    pad_to_multiple_of: int | None
    return_attention_mask: bool | None
    return_token_timestamps: bool | None
    do_normalize: bool | None
    do_normalize_per_mel_bins: bool | None
    device: str | None
    seed: Any


@dataclass(frozen=True)
class ResolvedFeatureCall:
    """The options of a call, completed by the class's defaults; None where neither sets a value.

    Attributes:
        padding: True or "longest" (to the longest of the batch), "max_length", False or "do_not_pad"; for CLAP
            "repeatpad", "repeat" or "pad".
        truncation: whether recordings are cut at `max_length`; for CLAP "fusion" or "rand_trunc".
        max_length: samples or frames to pad to and to cut at.
        pad_to_multiple_of: the length is rounded up to a multiple of this.
        return_attention_mask: whether to return a mask of the padding; None for the extractor's attribute.
        return_token_timestamps: whether to return `num_frames`, the number of frames of each recording (Whisper).
        do_normalize: whether samples are scaled to mean 0 and variance 1 first (Whisper).
        do_normalize_per_mel_bins: whether each band is scaled to mean 0 and variance 1 (SeamlessM4T).
        audio_target: the recordings that become `labels` (SpeechT5).
        seed: the seed of everything random in the call: a number, a `numpy.random.RandomState`, or None for NumPy's
            global state, which transformers uses.
    """

    padding: Any = None
    truncation: Any = None
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_attention_mask: bool | None = None
    return_token_timestamps: bool | None = None
    do_normalize: bool | None = None
    do_normalize_per_mel_bins: bool | None = None
    audio_target: Any = None
    device: Any = None
    seed: Any = None


def parse_setting(name: str, value: Any) -> Any:
    """Check a setting, and convert it to its type.

    Raises:
        UnsupportedError: an invalid value, or one that would fill the memory.
    """
    if value is None and name in _MAY_BE_NONE:
        return None
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise UnsupportedError(f"{name} must be one of {', '.join(_WORDS[name])}; got {value!r}")
        return value
    if name in _FLAGS:
        if isinstance(value, (bool, int)) and value in (0, 1):
            return bool(value)
        raise UnsupportedError(f"{name} must be True or False; got {value!r}")
    return _number(name, value)


def _number(name: str, value: Any) -> float:
    low, high = _WHOLE.get(name) or _FRACTION[name]
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not fits or (name in _WHOLE and value % 1):
        kind = "a whole number" if name in _WHOLE else "a number"
        raise UnsupportedError(f"{name} must be {kind} in {low:g}–{high:g}; got {value!r}")
    return int(value) if name in _WHOLE else value


_FLAGS = frozenset({"return_attention_mask", "do_normalize", "do_ceptral_normalize", "normalize_means",
                    "normalize_vars"})  # fmt: skip
_MAY_BE_NONE = frozenset({"chunk_length_s", "overlap", "top_db", "preemphasis"})
_WORDS: Mapping[str, tuple[str, ...]] = {
    "padding_side": ("right", "left"),
    "truncation": ("fusion", "rand_trunc"),
    "padding": ("repeatpad", "repeat", "pad"),
    "win_function": ("hann_window", "hann", "hamming_window", "hamming", "povey", "boxcar"),
}
#: Limits of the settings of a file, so that no file can fill the memory.
_WHOLE: Mapping[str, tuple[float, float]] = {
    "feature_size": (1, 4096),
    "sampling_rate": (1_000, 1_000_000),
    "n_fft": (2, 1 << 16),
    "hop_length": (1, 1 << 16),
    "chunk_length": (1, 3600),
    "num_mel_bins": (1, 4096),
    "max_length": (1, 1 << 20),
    "stride": (1, 64),
    "max_length_s": (1, 3600),
    "fft_window_size": (2, 1 << 16),
    "win_length": (1, 1 << 16),
    "top_db": (1, 1000),
}
_FRACTION: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("padding_value", "mean"), (-1e9, 1e9)),
    **dict.fromkeys(("dither", "frequency_min", "frequency_max", "fmin", "fmax"), (0, 1e6)),
    **dict.fromkeys(("std", "mel_floor", "frame_signal_scale"), (1e-30, 1e9)),
    **dict.fromkeys(("preemphasis", "preemphasis_coeff", "overlap"), (0, 1)),
    "chunk_length_s": (1e-3, 3600),
}


#: The most numbers that the features of one recording may be padded to.
_MAX_NUMBERS = 2**26


def bounded(what: str, count: int) -> int:
    """Return the count, if features of so many numbers fit in memory.

    Raises:
        UnsupportedError: the settings of a file would fill the memory.
    """
    if count > _MAX_NUMBERS:
        raise UnsupportedError(f"{what} pad every recording to {count} numbers; at most {_MAX_NUMBERS} are allowed")
    return count


def random_source(seed: Any) -> Any:
    """Return the source of random numbers: it has NumPy's `randint`, `choice` and `standard_normal`."""
    if seed is None:
        return np.random
    if isinstance(seed, np.random.RandomState):
        return seed
    if isinstance(seed, (int, np.integer)) and 0 <= seed < 2**32:
        return np.random.RandomState(int(seed))
    raise UnsupportedError(f"seed must be None, a number in 0–{2**32 - 1} or a numpy.random.RandomState; got {seed!r}")
