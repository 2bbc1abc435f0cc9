"""Synthetic recordings of every kind that a pipeline may meet, the same samples every time.

    from zoo.audio.recordings import encoded, samples, write
    samples("speech")           # float32 (n,), or (n, 2) for stereo, at KINDS["speech"].rate
    encoded("stereo")           # (bytes of a whole file, ".flac")
    write("ogg", folder)        # the path of that file

They are speech-like: a buzz of harmonics whose pitch and formants change from syllable to syllable, hisses and
pauses between, so that framing, mel bands, normalising and padding all show in the result. Needs numpy; files need
soundfile.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Kind:
    """One synthetic recording.

    Args:
        seconds: its length.
        maker: the name of a maker: "speech", "silence", "clicks", "noise", "tone" or "square".
        rate: samples a second.
        channels: 1 or 2, which are not the same.
        format: soundfile's name of the file format.
        subtype: soundfile's name of how samples are kept, or "" for the format's own.
        level: the largest sample is at most this.
    """

    seconds: float
    maker: str = "speech"
    rate: int = 16_000
    channels: int = 1
    format: str = "WAV"
    subtype: str = ""
    level: float = 0.5


KINDS: Mapping[str, Kind] = {
    "speech": Kind(1.5),
    "mate": Kind(1.5),
    "mate 2": Kind(1.5),
    "second": Kind(1.1),
    "third": Kind(1.83),
    "brief": Kind(0.6),
    "long": Kind(6.4),
    "silence": Kind(1.0, "silence"),
    "clicks": Kind(1.0, "clicks"),
    "noise": Kind(0.9, "noise"),
    "tone": Kind(0.8, "tone"),
    "clipped": Kind(0.7, "square", level=1.0),
    "quiet": Kind(1.2, level=1e-4),
    "stereo": Kind(1.2, rate=44_100, channels=2, format="FLAC"),
    "telephone": Kind(1.3, rate=8_000, subtype="ULAW"),
    "studio": Kind(0.9, rate=48_000, subtype="PCM_24"),
    "odd rate": Kind(1.1, rate=11_127, subtype="FLOAT"),
    "ogg": Kind(1.2, rate=22_050, format="OGG"),
    "mp3": Kind(1.2, rate=24_000, channels=2, format="MP3"),
    "bytes": Kind(1.0, subtype="PCM_U8"),
}
"""Name -> what it is. Short and few on purpose: every family gets most of them."""

ORDINARY = ("speech", "second", "third")
"""Recordings without any trouble, of different lengths, at the rate that most models take."""
SAME_LENGTH = ("speech", "mate", "mate 2")
"""Recordings of one length, which share a batch without padding."""
ODD = ("silence", "clicks", "noise", "tone", "clipped", "quiet", "brief")
"""Recordings at the models' rate with some trouble."""
FILES = ("stereo", "telephone", "studio", "odd rate", "ogg", "mp3", "bytes")
"""Recordings whose files have some trouble: a rate, a format, a second channel."""

_SUFFIXES = {"WAV": ".wav", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3"}


@cache
def samples(name: str) -> np.ndarray:
    """float32 (n,), or (n, 2) for two channels, before any file's rounding.

    Raises:
        KeyError: an unknown name.
    """
    kind = KINDS[name]
    channels = [_synthetic(f"{name}/{channel}" if channel else name, kind) for channel in range(kind.channels)]
    array = np.stack(channels, axis=1) if kind.channels > 1 else channels[0]
    array.flags.writeable = False
    return array


def mono(name: str) -> np.ndarray:
    """float32 (n,): the mean of the channels, at the recording's own rate."""
    array = samples(name)
    return array.mean(axis=1) if array.ndim == 2 else array


def write(name: str, folder: Path) -> Path:
    """Write the file of the recording into `folder` if it is not there."""
    data, suffix = encoded(name)
    path = folder / f"{name.replace(' ', '-')}{suffix}"
    if not path.exists():
        path.write_bytes(data)
    return path


@cache
def encoded(name: str) -> tuple[bytes, str]:
    """The bytes of the whole file, and its suffix. Needs soundfile."""
    import soundfile

    kind = KINDS[name]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(name), kind.rate, format=kind.format, subtype=kind.subtype or None)
    return buffer.getvalue(), _SUFFIXES[kind.format]


def decoded(data: bytes, rate: int) -> np.ndarray:
    """float32 (n,): what a file holds, as one channel at `rate`. Needs soundfile and soxr.

    The suite's own reader, for references that would call ffmpeg.

    Raises:
        ValueError: no file that soundfile reads, or no samples in it.
    """
    import soundfile

    try:
        array, own = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"Soundfile is either not in the correct format or is malformed: {error}") from error
    if not len(array):
        raise ValueError("Malformed soundfile")
    return resampled(array.mean(axis=1), own, rate)


def resampled(array: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """float32 (ceil(n * wanted / rate),) at `wanted` samples a second, as librosa resamples. Needs soxr."""
    import soxr

    if rate == wanted:
        return array
    out = soxr.resample(array, rate, wanted, quality="HQ").astype(np.float32)
    count = -(-len(array) * wanted // rate)
    return np.pad(out, (0, max(0, count - len(out))))[:count]


def speech(seconds: float, rate: int, *, seed: str) -> np.ndarray:
    """float64 (n,) of about one: syllables of 80 to 260 ms, each with a pitch and three formants, or a hiss."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    out = np.zeros(round(seconds * rate))
    start = 0
    while start < len(out):
        length = min(round(rng.uniform(0.08, 0.26) * rate), len(out) - start)
        shape = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 0.7
        what = rng.uniform()
        if what < 0.7:
            out[start : start + length] = shape * _vowel(length, rate, rng)
        elif what < 0.88:
            out[start : start + length] = 0.4 * shape * _hiss(length, rng)
        start += length
    return out + rng.normal(0, 1e-3, len(out))


def _vowel(length: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Harmonics of a gliding pitch, loud where one of three formants is."""
    begin, end = rng.uniform(90, 240, 2)
    formants = rng.uniform([250, 850, 2100], [850, 2100, 3300])
    phase = 2 * np.pi * np.cumsum(np.linspace(begin, end, length)) / rate
    harmonics = np.arange(1, int(min(3600, 0.45 * rate) / max(begin, end)) + 1)
    pitch = (begin + end) / 2 * harmonics
    gains = (np.exp(-(((pitch[:, None] - formants) / 120) ** 2)) * [1.0, 0.6, 0.3]).sum(axis=1) + 0.02
    tones = sum(gain * np.sin(number * phase) for number, gain in zip(harmonics, gains, strict=True))
    return np.asarray(tones) / gains.sum() * 2


def _hiss(length: int, rng: np.random.Generator) -> np.ndarray:
    return np.diff(rng.normal(0, 0.5, length + 1))


def _synthetic(seed: str, kind: Kind) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(f"{seed}/{kind.maker}".encode()))
    count = round(kind.seconds * kind.rate)
    time = np.arange(count) / kind.rate
    if kind.maker == "speech":
        out = speech(kind.seconds, kind.rate, seed=seed)
    elif kind.maker == "noise":
        out = rng.normal(0, 0.3, count)
    elif kind.maker == "tone":
        out = np.sin(2 * np.pi * 440 * time)
    elif kind.maker == "square":
        out = np.sign(np.sin(2 * np.pi * 180 * time))
    else:
        out = np.zeros(count)
        if kind.maker == "clicks":
            out[rng.integers(0, count, 12)] = rng.uniform(-1, 1, 12)
    loudest = np.abs(out).max(initial=0)
    return (out * (kind.level / loudest) if loudest else out).astype(np.float32)
