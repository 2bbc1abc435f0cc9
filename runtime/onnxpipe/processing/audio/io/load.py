"""Load a recording from whatever names or holds it: all samples at once, or as a stream.

The kinds of source are those of `transformers.audio_utils.load_audio` and of its pipelines; `Path`s and bytes are
additions.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from onnxpipe.errors import AudioError, AudioNotFoundError
from onnxpipe.processing.arrays import as_array
from onnxpipe.processing.audio.io.arrays import Array, scale_samples
from onnxpipe.processing.audio.io.decode import AudioFile
from onnxpipe.processing.audio.io.resample import resample
from onnxpipe.processing.audio.io.stream import AudioStream
from onnxpipe.processing.data_urls import decode_data_url, is_data_url
from onnxpipe.processing.fetch import FetchError, fetch
from onnxpipe.processing.urls import is_url, without_secrets

__all__ = ["MAX_AUDIO_BYTES", "MAX_SAMPLES", "load_audio", "open_audio", "resample"]

#: The most bytes of a recording from a URL.
MAX_AUDIO_BYTES = 512 * 2**20
#: The most samples that are loaded at once: 4.6 hours at 16 kHz, a GB of memory.
MAX_SAMPLES = 2**28

_BAD_TYPE = (
    "We expect a numpy ndarray or torch tensor as input, got `{got}`. A recording is also a path, a URL, the bytes of "
    "a file, or a torchcodec AudioDecoder"
)
_PASS = "Pass a path, an http(s) URL, data:audio/…;base64,…, the bytes of an audio file, or an array of samples"


def load_audio(
    source: Any,
    sampling_rate: int,
    *,
    mono: bool = True,
    timeout: float | None = None,
    max_samples: int = MAX_SAMPLES,
) -> Array:
    """Load the samples of a recording.

    Args:
        source: a path (str or `Path`), an http(s) or data: URL, the bytes of a file, an object with
            `get_all_samples()` (torchcodec's AudioDecoder), or an array or tensor, which must have the rate already
            and is returned as float32 of its shape; samples of 8 to 32-bit integers are scaled to -1 to 1.
        sampling_rate: samples per second of the result.
        mono: whether to return the mean of the channels; else all channels.
        timeout: seconds for a URL; None for `fetch.DEFAULT_SECONDS`.
        max_samples: the most samples that are loaded.

    Returns:
        float32 (n,); (n, channels) for files without `mono`.

    Raises:
        AudioNotFoundError: a path at which there is no file, or a folder.
        AudioError: a file without audio, broken (the message says at which second) or too long, or a URL that fails.
        TypeError: something else.
        MissingDependencyError: soundfile, soxr or PyAV are needed and not installed.
    """
    if (array := as_array(source)) is not None:
        return np.asarray(scale_samples(array), np.float32)
    if hasattr(source, "get_all_samples"):
        return _of_decoder(source, sampling_rate, mono)
    stream = open_audio(source, sampling_rate, mono=mono, timeout=timeout)
    blocks, count = [], 0
    for block in stream.blocks():
        count += len(block)
        if count > max_samples:
            raise AudioError(
                f"{stream.name} has more than {max_samples} samples ({max_samples / sampling_rate / 60:.0f} min at "
                f"{sampling_rate} Hz): cut it, or read it in parts with open_audio"
            )
        blocks.append(block)
    return np.concatenate(blocks)


def open_audio(source: Any, sampling_rate: int, *, mono: bool = True, timeout: float | None = None) -> AudioStream:
    """Open a recording as a stream, decoded and resampled as it is read, so that hours of it are never in memory.

    Args:
        source, sampling_rate, mono, timeout: see `load_audio`. The bytes of a URL are kept in memory, undecoded.

    Returns:
        A stream of the samples of `load_audio`.

    Raises:
        As `load_audio`; errors in the middle of a file are raised while it is read.
    """
    array = as_array(source)
    if array is None and hasattr(source, "get_all_samples"):
        array = _of_decoder(source, sampling_rate, mono)
    if array is not None:
        return AudioStream(np.asarray(scale_samples(array), np.float32), "the recording", sampling_rate, mono)
    file = _file(source, timeout)
    return AudioStream(file, file.name, sampling_rate, mono)


def _file(source: Any, timeout: float | None) -> AudioFile:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return AudioFile(bytes(source), "the recording")
    if isinstance(source, str) and is_url(source):
        try:
            return AudioFile(fetch(source, timeout, max_bytes=MAX_AUDIO_BYTES), without_secrets(source))
        except FetchError as error:
            raise AudioError(str(error)) from error
    if isinstance(source, str) and is_data_url(source):
        try:
            return AudioFile(decode_data_url(source), "the data: URL")
        except ValueError as error:
            raise AudioError(f"the data: URL cannot be read: {error}") from error
    if isinstance(source, (str, os.PathLike)):
        path = str(os.fspath(source))
        # os.path, as a string may be anything, and the methods of Path raise on some strings
        if os.path.isdir(path):  # noqa: PTH112
            raise AudioNotFoundError(f"{path} is a folder, not an audio file. {_PASS}")
        if not os.path.exists(path):  # noqa: PTH110
            raise AudioNotFoundError(f"there is no such file: {path[:300]}. {_PASS}")
        return AudioFile(path, path)
    raise TypeError(_BAD_TYPE.format(got=type(source)))


def _of_decoder(decoder: Any, rate: int, mono: bool) -> Array:
    """Decode and resample the samples of a torchcodec AudioDecoder."""
    audio = decoder.get_all_samples()
    channels = as_array(audio.data)
    if channels is None or channels.ndim != 2:
        raise TypeError(_BAD_TYPE.format(got=type(audio.data)))
    channels = scale_samples(channels)
    values = channels.mean(axis=0, dtype=np.float32) if mono else channels.T
    return resample(values, int(audio.sample_rate), rate)
