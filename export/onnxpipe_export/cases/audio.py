"""Recordings that a graph is verified with: synthetic ones of any length, and the user's own.

Synthetic audio is like a recording in what matters here: a voice is a row of harmonics whose pitch glides, under
formants that move, in syllables with pauses and hisses between them (a source and a filter: Fant 1960, "Acoustic Theory
of Speech Production"); besides there are chords, chirps and noise whose power falls with its frequency.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export.cases.common import calibration_files, prepare_each

_SEED = 11
_HARMONICS = 24
_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".mp4"})
_MOST = 64
"""The most recordings used of a folder; of more, some are taken that are spread over the names."""
_LONGEST = 15.0
"""Seconds of a user's recording that are used."""


def synthetic_audio(number: int, samples: int, rate: int) -> np.ndarray:
    """Make the synthetic recording with this number, float32 (samples,) within -1 and 1; the same every time.

    Args:
        number: every other one is a voice.
        samples: its length; the recording of one length does not begin as that of another.
        rate: samples a second.
    """
    generator = np.random.default_rng((_SEED, number))
    time = np.arange(samples, dtype=np.float64) / rate
    wave = _KINDS[number % len(_KINDS)](generator, time, rate)
    wave = wave + generator.uniform(0.001, 0.01) * generator.standard_normal(samples)
    largest = max(float(np.abs(wave).max(initial=0.0)), 1e-6)
    return np.asarray(wave * (generator.uniform(0.1, 0.9) / largest), np.float32)


def silence(samples: int) -> np.ndarray:
    """Make silence, float32 (samples,)."""
    return np.zeros(samples, np.float32)


def extract_features(extractor: Any, recordings: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Turn recordings into a graph's inputs with transformers' feature extractor: one batch, padded where it pads.

    Args:
        extractor: transformers' feature extractor.
        recordings: float32 (samples,) each, at its sampling rate.
        names: of the graph's inputs. "attention_mask" among them is requested explicitly, as some extractors return
            it only then.
    """
    kwargs: dict[str, Any] = {"return_attention_mask": True} if "attention_mask" in names else {}
    padding = inspect.signature(type(extractor).__call__).parameters.get("padding")
    if padding is not None and padding.default is False:
        kwargs["padding"] = True  # others pad by themselves: to the longest recording, or to their model's one length
    with _same_random_state():
        features = extractor(list(recordings), sampling_rate=extractor.sampling_rate, return_tensors="np", **kwargs)
    return {name: _typed(np.asarray(features[name])) for name in names}


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """Let an extractor draw the same random numbers every time (CLAP's cuts), and restore the caller's state."""
    before = np.random.get_state()
    np.random.seed(_SEED)
    try:
        yield
    finally:
        np.random.set_state(before)


def _typed(array: np.ndarray) -> np.ndarray:
    """Convert floats to float32 and integers (a mask) to int64; bool stays."""
    kinds = {"f": np.float32, "b": np.bool_}
    return np.ascontiguousarray(array, kinds.get(array.dtype.kind, np.int64))


def load_extractor(folder: Path) -> Any:
    """Load transformers' feature extractor of a checkpoint.

    Raises:
        ExportError: the folder has none, or transformers cannot read it.
    """
    from transformers import AutoFeatureExtractor

    from onnxpipe_export.tracing import quiet

    try:
        with quiet():
            return AutoFeatureExtractor.from_pretrained(str(folder))
    except Exception as error:  # transformers raises many kinds here, ImportError of a missing library among them
        raise ExportError(
            f"an audio model needs its feature extractor (preprocessor_config.json), and that of {folder.name} cannot "
            f"be read: {error}"
        ) from error


def user_audio(folder: Path, rate: int) -> Iterator[np.ndarray]:
    """Read the first seconds of each recording in `folder`, float32 (samples,) at `rate`.

    Raises:
        ExportError: there is no such folder, no recording in it, or one that cannot be read.
    """
    from onnxpipe.processing.audio.io.load import load_audio

    longest = int(_LONGEST * rate)
    yield from prepare_each(audio_files(folder), lambda path: load_audio(path, rate)[:longest], "recording")


def audio_files(folder: Path) -> list[Path]:
    """List the recordings of a folder and its subfolders, by their names' endings; at most 64, spread over the names.

    Raises:
        ExportError: there is no such folder, or no recording in it.
    """
    return calibration_files(folder, "recording", _SUFFIXES, _MOST)


def _voice(generator: np.random.Generator, time: np.ndarray, rate: int) -> np.ndarray:
    """Make syllables, voiced ones and hisses."""
    pitch = generator.uniform(90, 240) * np.exp(0.2 * _wander(generator, time, 1.5))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formants = [centre * np.exp(0.25 * _wander(generator, time, 3.0)) for centre in (550.0, 1500.0, 2600.0)]
    voiced = np.zeros_like(time)
    for harmonic in range(1, _HARMONICS + 1):
        frequency = harmonic * pitch
        strength = sum(np.exp(-(((frequency - formant) / 250.0) ** 2)) for formant in formants)
        audible = frequency < rate / 2
        voiced += np.where(audible, (strength + 0.02) * np.sin(harmonic * phase), 0.0) / harmonic**0.5
    syllables = np.clip(np.sin(2 * np.pi * generator.uniform(2.5, 5.0) * time + generator.uniform(0, 6)) + 0.4, 0, 1)
    phrases = np.clip(2 * np.sin(2 * np.pi * generator.uniform(0.3, 0.6) * time + generator.uniform(0, 2)) + 1, 0, 1)
    hiss = np.diff(generator.standard_normal(len(time)), prepend=0.0)
    return np.asarray(phrases * (syllables * voiced + 0.1 * (1 - syllables) * hiss))


def _chirp(generator: np.random.Generator, time: np.ndarray, rate: int) -> np.ndarray:
    """Make a tone that climbs or falls, over and over, as a siren or a bird."""
    low, high = np.sort(generator.uniform(200, rate * 0.4, 2))
    sweep = (time * generator.uniform(0.5, 3.0)) % 1.0
    sweep = sweep if generator.random() < 0.5 else 1 - sweep
    return np.asarray(np.sin(2 * np.pi * np.cumsum(low + (high - low) * sweep) / rate))


def _chord(generator: np.random.Generator, time: np.ndarray, rate: int) -> np.ndarray:
    """Make notes that are struck and fade."""
    wave = np.zeros_like(time)
    beat = generator.uniform(0.3, 0.8)
    for _ in range(5):
        since = (time + generator.uniform(0, beat)) % beat
        note = generator.uniform(100, 1500)
        wave += np.exp(-since / 0.2) * sum(np.sin(2 * np.pi * k * note * time) / k for k in (1, 2, 3))
    return wave


def _noise(generator: np.random.Generator, time: np.ndarray, rate: int) -> np.ndarray:
    """Make noise whose power falls with its frequency, louder and softer: wind, traffic."""
    frequency = np.fft.rfftfreq(len(time), 1 / rate) if len(time) else np.zeros(1)
    spectrum = np.fft.rfft(generator.standard_normal(max(len(time), 1)))
    noise = np.fft.irfft(spectrum / np.maximum(frequency, 20.0) ** 0.5, n=max(len(time), 1))[: len(time)]
    return np.asarray(noise * (1.2 + _wander(generator, time, 1.0)))


def _wander(generator: np.random.Generator, time: np.ndarray, speed: float) -> np.ndarray:
    """Make a curve within about -1 and 1 that changes some `speed` times a second."""
    parts = [(generator.uniform(0.3, 1.0) * speed, generator.uniform(0, 6.3)) for _ in range(3)]
    return np.asarray(sum(np.sin(2 * np.pi * frequency * time + start) for frequency, start in parts) / 3)


_KINDS: tuple[Callable[[np.random.Generator, np.ndarray, int], np.ndarray], ...] = (
    _voice,
    _chord,
    _voice,
    _chirp,
    _voice,
    _noise,
)
