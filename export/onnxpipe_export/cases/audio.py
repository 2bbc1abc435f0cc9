"""The sounds a graph is proved on: made ones, of many lengths, alone and in batches, and the user's own.

A made sound is like a recording in what matters here: a voice is a row of harmonics whose pitch glides, under formants
that move, in syllables with pauses and hisses between them (a source and a filter: Fant 1960, "Acoustic Theory of
Speech Production"); besides there are chords, chirps and noise whose power falls with its frequency.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError

_SEED = 11
_HARMONICS = 24
_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".mp4"})
_MOST = 64
"""Of a folder with more recordings only so many are taken, spread over the names."""
_LONGEST = 15.0
"""Seconds of a user's recording that are heard."""


def sound(number: int, samples: int, rate: int) -> np.ndarray:
    """The made sound with this number, float32 (samples,) within -1 and 1; the same every time.

    Args:
        number: every other one is a voice.
        samples: how long it is; the sound of one length does not begin as that of another.
        rate: samples a second.
    """
    generator = np.random.default_rng((_SEED, number))
    time = np.arange(samples, dtype=np.float64) / rate
    made = _KINDS[number % len(_KINDS)](generator, time, rate)
    made = made + generator.uniform(0.001, 0.01) * generator.standard_normal(samples)
    largest = max(float(np.abs(made).max(initial=0.0)), 1e-6)
    return np.asarray(made * (generator.uniform(0.1, 0.9) / largest), np.float32)


def silence(samples: int) -> np.ndarray:
    """Nothing, float32 (samples,)."""
    return np.zeros(samples, np.float32)


def prepared(extractor: Any, sounds: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    """`sounds` as transformers' feature extractor makes them: one batch, padded where it pads.

    Args:
        extractor: transformers' feature extractor.
        sounds: float32 (samples,) each, at its sampling rate.
        names: of the graph's inputs; of "attention_mask", which some extractors give only when asked, it is made.
    """
    asked: dict[str, Any] = {"return_attention_mask": True} if "attention_mask" in names else {}
    padding = inspect.signature(type(extractor).__call__).parameters.get("padding")
    if padding is not None and padding.default is False:
        asked["padding"] = True  # others pad by themselves: to the longest sound, or to what their model always sees
    with _same_random_state():
        made = extractor(list(sounds), sampling_rate=extractor.sampling_rate, return_tensors="np", **asked)
    return {name: _typed(np.asarray(made[name])) for name in names}


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """What an extractor draws (CLAP's cuts of a long sound) is the same every time, and the caller notices nothing."""
    before = np.random.get_state()
    np.random.seed(_SEED)
    try:
        yield
    finally:
        np.random.set_state(before)


def _typed(array: np.ndarray) -> np.ndarray:
    """float32, int64 of a mask, bool as it is."""
    kinds = {"f": np.float32, "b": np.bool_}
    return np.ascontiguousarray(array, kinds.get(array.dtype.kind, np.int64))


def load_extractor(folder: Path) -> Any:
    """transformers' feature extractor of a checkpoint.

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
            f"a model that hears needs its feature extractor, and that of {folder.name} (preprocessor_config.json) "
            f"cannot be read: {error}"
        ) from error


def users_sounds(folder: Path, rate: int) -> Iterator[np.ndarray]:
    """The first seconds of each recording in `folder`, float32 (samples,) at `rate`.

    Raises:
        ExportError: there is no such folder, no recording in it, or one that cannot be read.
    """
    from onnxpipe.processing.audio.io.load import load_audio

    for path in sound_files(folder):
        try:
            yield load_audio(path, rate)[: int(_LONGEST * rate)]
        except (OSError, ValueError) as error:
            raise ExportError(f"{path}, a recording to calibrate with, cannot be used: {error}") from error


def sound_files(folder: Path) -> list[Path]:
    """The recordings of a folder and those in it, by their names' endings; at most 64, spread over the names.

    Raises:
        ExportError: there is no such folder, or no recording in it.
    """
    if not folder.is_dir():
        raise ExportError(f"calibration= names no folder: {folder}")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if not found:
        raise ExportError(f"no recording in {folder} to calibrate with; files ending in {', '.join(sorted(_SUFFIXES))}")
    step = -(-len(found) // _MOST)
    return found[::step]


def stacked(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Feeds of one row each, of equal shapes, as one batch."""
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _voice(generator: np.random.Generator, time: np.ndarray, rate: int) -> np.ndarray:
    """Syllables of voiced and hissing sound."""
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
    """A tone that climbs or falls, over and over, as a siren or a bird."""
    low, high = np.sort(generator.uniform(200, rate * 0.4, 2))
    sweep = (time * generator.uniform(0.5, 3.0)) % 1.0
    sweep = sweep if generator.random() < 0.5 else 1 - sweep
    return np.asarray(np.sin(2 * np.pi * np.cumsum(low + (high - low) * sweep) / rate))


def _chord(generator: np.random.Generator, time: np.ndarray, rate: int) -> np.ndarray:
    """Notes that are struck and fade."""
    made = np.zeros_like(time)
    beat = generator.uniform(0.3, 0.8)
    for _ in range(5):
        since = (time + generator.uniform(0, beat)) % beat
        note = generator.uniform(100, 1500)
        made += np.exp(-since / 0.2) * sum(np.sin(2 * np.pi * k * note * time) / k for k in (1, 2, 3))
    return made


def _noise(generator: np.random.Generator, time: np.ndarray, rate: int) -> np.ndarray:
    """Noise whose power falls with its frequency, louder and softer: wind, traffic."""
    frequency = np.fft.rfftfreq(len(time), 1 / rate) if len(time) else np.zeros(1)
    spectrum = np.fft.rfft(generator.standard_normal(max(len(time), 1)))
    made = np.fft.irfft(spectrum / np.maximum(frequency, 20.0) ** 0.5, n=max(len(time), 1))[: len(time)]
    return np.asarray(made * (1.2 + _wander(generator, time, 1.0)))


def _wander(generator: np.random.Generator, time: np.ndarray, speed: float) -> np.ndarray:
    """A curve within about -1 and 1 that changes some `speed` times a second."""
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
