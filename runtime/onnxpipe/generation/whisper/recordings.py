"""The recordings of a call: arrays of features, or one recording whose features are computed window by window."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxpipe.generation.prepare import array_argument
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.protocols import Features


class Recordings:
    """Spectrograms that are transcribed window by window.

    Args:
        features: float32 (recordings, mels, frames), or one `Features`.
        mask: int (recordings, frames): 1 except for padding; or None.
        window: frames of a window.

    Attributes:
        frames: int64 (recordings,): frames to transcribe.
        spoken: int64 (recordings,): frames that are not padding; None if not known.
        short: whether each of them fits in one window.

    Raises:
        ValueError: features or mask of another shape.
    """

    def __init__(self, features: Any, mask: Any, window: int) -> None:
        self._window = window
        self._streamed: Features | None = features if hasattr(features, "n_frames") else None
        self._array: Array | None = None
        if self._streamed is None:
            self._array = array_argument(features)
            if self._array is None or self._array.ndim != 3:
                shape = None if self._array is None else self._array.shape
                raise ValueError(f"input_features must have the shape (recordings, mels, frames), not {shape}")
            rows, total = len(self._array), self._array.shape[2]
        else:
            rows, total = 1, self._streamed.n_frames
        self.short = total <= window
        self.spoken = _spoken(mask, rows, total if self._streamed is not None else None)
        known = self.spoken if rows > 1 and not self.short else None
        self.frames = np.full(rows, total, np.int64) if known is None else known

    def __len__(self) -> int:
        return len(self.frames)

    def check_mask(self) -> None:
        """Raise ValueError for several long recordings without a mask: the end of each is not known."""
        if len(self) > 1 and not self.short and self.spoken is None:
            raise ValueError(
                "When doing batched long-form audio transcription, make sure to pass an `attention_mask`: the feature "
                "extractor gives it with `return_attention_mask=True`"
            )

    def window(self, row: int, start: int) -> Array:
        """Take a window, float32 (mels, window): frames of a recording from `start` on, zeros after its end."""
        length = int(min(self._window, self.frames[row] - start))
        if self._streamed is not None:
            part = self._streamed.window(start, length)
        else:
            assert self._array is not None
            part = self._array[row, :, start : start + length]
        if part.shape[1] == self._window:
            return part
        return np.pad(part, ((0, 0), (0, self._window - part.shape[1])))

    def beginnings(self) -> Array:
        """Take the first windows, float32 (recordings, mels, window), including frames that a mask calls padding."""
        if self._array is None:
            return self.window(0, 0)[None]
        part = self._array[:, :, : self._window]
        return np.pad(part, ((0, 0), (0, 0), (0, self._window - part.shape[2])))

    @property
    def whole(self) -> bool:
        """Whether `beginnings` gives the same as `window` for each."""
        return self._array is None or bool((self.frames >= min(self._window, self._array.shape[2])).all())


def _spoken(mask: Any, rows: int, streamed: int | None) -> Array | None:
    if mask is None:
        return None if streamed is None else np.array([streamed], np.int64)
    array = array_argument(mask)
    if array.ndim != 2 or len(array) != rows:
        raise ValueError(f"attention_mask must have the shape ({rows}, frames), not {array.shape}")
    counts: Array = np.asarray(array, np.int64).sum(-1)
    return counts
