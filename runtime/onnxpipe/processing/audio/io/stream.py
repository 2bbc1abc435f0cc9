"""AudioStream: a recording that is read in blocks, as often as one likes."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from onnxpipe.errors import AudioError
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.io.decode import MALFORMED, AudioFile, open_decoded
from onnxpipe.processing.audio.io.resample import resample_blocks

logger = logging.getLogger("onnxpipe")

#: Samples of a block where nothing else is asked for: half a minute of speech.
BLOCK = 480_000


class AudioStream:
    """The samples of a recording, decoded and resampled while they are read. Every `blocks` begins at the beginning.

    Args:
        content: a file, or samples that are at the rate already, (n,) or (n, channels).
        name: what messages call it.
        sampling_rate: samples a second that are given.
        mono: whether the mean of the channels is given; else samples are (n, channels).

    Attributes:
        name, sampling_rate: as above.
        duration: seconds, as the file says, which need not be true; None where it does not.

    Raises:
        AudioError: a file without sound.
    """

    def __init__(self, content: AudioFile | Array, name: str, sampling_rate: int, mono: bool = True) -> None:
        self._content = content
        self._mono = mono
        self.name = name
        self.sampling_rate = sampling_rate
        self.duration: float | None
        if isinstance(content, AudioFile):
            with open_decoded(content) as sound:
                self.duration = sound.duration
            if sound.missing:
                logger.warning("%s was cut: %.0f %% of what its header tells of is missing", name, 100 * sound.missing)
        else:
            self.duration = len(content) / sampling_rate

    def blocks(self, frames: int = BLOCK) -> Iterator[Array]:
        """The samples, float32 (frames,) each, the last block being shorter.

        Args:
            frames: samples of a block.

        Raises:
            AudioError: the file is broken in the middle, or empty of sound.
        """
        if frames < 1:
            raise ValueError(f"blocks need a frame at least; got {frames}")
        kept: list[Array] = []
        count = 0
        empty = True
        for piece in self._pieces():
            while len(piece):
                part, piece = piece[: frames - count], piece[frames - count :]
                kept.append(part)
                count += len(part)
                if count == frames:
                    yield np.concatenate(kept)
                    kept, count, empty = [], 0, False
        if count:
            yield np.concatenate(kept)
        elif empty:
            raise AudioError(MALFORMED.format(name=self.name, what="without a sample"))

    def _pieces(self) -> Iterator[Array]:
        """The samples in pieces of any length."""
        if not isinstance(self._content, AudioFile):
            yield self._content
            return
        with open_decoded(self._content) as sound:
            blocks = map(_mono, sound.blocks) if self._mono else sound.blocks
            for block in resample_blocks(blocks, sound.rate, self.sampling_rate):
                yield block[:, 0] if self._mono else block


def _mono(block: Array) -> Array:
    """The mean of the channels: (samples, 1)."""
    return block if block.shape[1] == 1 else block.mean(axis=1, keepdims=True)
