"""Resample recordings to another sampling rate with soxr in high quality, as transformers' loader does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from onnxpipe.errors import AudioError, MissingDependencyError
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.io.decode import RATES

#: Samples that are resampled at once.
_BLOCK = 2**18


def resample(samples: Array, rate: int, target: int) -> Array:
    """Resample samples to another rate.

    Args:
        samples: float (n,) or (n, channels).
        rate: their samples per second.
        target: samples per second of the result.

    Returns:
        float32 with ceil(n * target / rate) samples.

    Raises:
        AudioError: an invalid rate.
        MissingDependencyError: soxr is not installed.
    """
    values = np.asarray(samples, np.float32)
    if rate == target:
        return values
    columns = values[:, None] if values.ndim == 1 else values
    blocks = [columns[start : start + _BLOCK] for start in range(0, len(columns), _BLOCK)]
    found = np.concatenate([columns[:0], *resample_blocks(blocks, rate, target)])
    return found[:, 0] if values.ndim == 1 else found


def resample_blocks(blocks: Iterable[Array], rate: int, target: int) -> Iterator[Array]:
    """Resample block by block: float32 (samples, channels) each, with the same numbers for blocks of any length.

    Raises:
        AudioError, MissingDependencyError: as `resample`, while the result is read.
    """
    _check(rate)
    _check(target)
    if rate == target:
        yield from blocks
        return
    stream: Any = None
    read = written = channels = 0
    for block in blocks:
        if stream is None:
            channels = block.shape[1]
            stream = _soxr().ResampleStream(rate, target, channels, dtype="float32", quality="HQ")
        read += len(block)
        found = stream.resample_chunk(np.ascontiguousarray(block, np.float32))
        written += len(found)
        yield found
    if stream is None:
        return
    rest = stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
    missing = -(-read * target // rate) - written
    yield np.pad(rest, [(0, max(0, missing - len(rest))), (0, 0)])[:missing]


def _check(rate: int) -> None:
    if not (isinstance(rate, (int, np.integer)) and RATES[0] <= rate <= RATES[1]):
        raise AudioError(f"a sampling rate must be a whole number in {RATES[0]}–{RATES[1]}; got {rate!r}")


def _soxr() -> Any:
    try:
        import soxr
    except ImportError as error:
        raise MissingDependencyError('resampling needs soxr; install it with: pip install "onnxpipe[audio]"') from error
    return soxr
