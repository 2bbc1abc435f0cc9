"""AudioStream: a recording that is read in blocks, as many times as needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from onnxpipe.errors import AudioError
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.io.decode import MALFORMED, AudioFile, DecodedAudio, open_decoded
from onnxpipe.processing.audio.io.resample import resample_blocks

logger = logging.getLogger("onnxpipe")

#: The default number of samples of a block: half a minute at 16 kHz.
BLOCK = 480_000
#: The smallest share of a recording that a warning says as a number.
_TOLD = 0.01


class AudioStream:
    """The samples of a recording, decoded and resampled while they are read. Each `blocks` starts at the beginning.

    Args:
        content: a file, or samples that have the rate already, (n,) or (n, channels).
        name: the recording's name in messages.
        sampling_rate: samples per second of the blocks.
        mono: whether to return the mean of the channels; else samples are (n, channels).

    Attributes:
        name, sampling_rate: as above.
        duration: seconds, as the file says, which may be wrong; None where the file does not say.
        start: seconds from the beginning of a video to that of its audio; 0 for other recordings.

    Raises:
        AudioError: a file without audio.
    """

    def __init__(self, content: AudioFile | Array, name: str, sampling_rate: int, mono: bool = True) -> None:
        self._content = content
        self._mono = mono
        self.name = name
        self.sampling_rate = sampling_rate
        self.duration: float | None
        self.start = 0.0
        self._warned = False
        if isinstance(content, AudioFile):
            with open_decoded(content) as audio:
                self.duration, self.start = audio.duration, audio.start
            self._warn(audio)
        else:
            self.duration = len(content) / sampling_rate

    def blocks(self, frames: int = BLOCK) -> Iterator[Array]:
        """Read the samples, float32 (frames,) each; the last block may be shorter.

        Args:
            frames: samples of a block.

        Raises:
            AudioError: the file is broken in the middle, or has no samples.
        """
        if frames < 1:
            raise ValueError(f"frames must be 1 or more; got {frames}")
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
        """Read the samples in pieces of any length."""
        if not isinstance(self._content, AudioFile):
            yield self._content
            return
        with open_decoded(self._content) as audio:
            blocks = map(_mono, audio.blocks) if self._mono else audio.blocks
            for block in resample_blocks(blocks, audio.rate, self.sampling_rate):
                yield block[:, 0] if self._mono else block
            self._warn(audio)

    def _warn(self, audio: DecodedAudio) -> None:
        """Warn once of a truncated file."""
        if self._warned or not (audio.cut or audio.missing):
            return
        self._warned = True
        if audio.missing >= _TOLD:
            logger.warning("%s is truncated: %.0f %% of its audio is missing", self.name, 100 * audio.missing)
        else:
            logger.warning("%s is truncated or damaged: some of its audio is missing", self.name)


def _mono(block: Array) -> Array:
    """Average the channels: (samples, 1)."""
    return block if block.shape[1] == 1 else block.mean(axis=1, keepdims=True)
