"""The recordings of a call: arrays of features, or one recording whose features are made window by window."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxpipe.generation.prepare import as_array
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.protocols import Features


class Recordings:
    """Spectrograms that are heard window by window.

    Args:
        features: float32 (recordings, mels, frames), or one `Features`.
        mask: int (recordings, frames): 1 for frames that are no padding; or None.
        window: frames of a window.

    Attributes:
        frames: int64 (recordings,): frames to be heard.
        spoken: int64 (recordings,): frames that are no padding; None where nobody said.
        short: whether one window is enough for all.

    Raises:
        ValueError: features or mask of another shape.
    """

    def __init__(self, features: Any, mask: Any, window: int) -> None:
        self._window = window
        self._streamed: Features | None = features if hasattr(features, "n_frames") else None
        self._array: Array | None = None
        if self._streamed is None:
            self._array = as_array(features)
            if self._array is None or self._array.ndim != 3:
                shape = None if self._array is None else self._array.shape
                raise ValueError(f"input_features must have the shape (recordings, mels, frames), not {shape}")
            rows, total = len(self._array), self._array.shape[2]
        else:
            rows, total = 1, self._streamed.n_frames
        self.short = total <= window
        self.spoken = _spoken(mask, rows, total if self._streamed is not None else None)
        told = self.spoken if rows > 1 and not self.short else None
        self.frames = np.full(rows, total, np.int64) if told is None else told

    def __len__(self) -> int:
        return len(self.frames)

    def check_mask(self) -> None:
        """Raises ValueError for several long recordings without a mask: where each ends is not known."""
        if len(self) > 1 and not self.short and self.spoken is None:
            raise ValueError(
                "When doing batched long-form audio transcription, make sure to pass an `attention_mask`: the feature "
                "extractor gives it with `return_attention_mask=True`"
            )

    def window(self, row: int, start: int) -> Array:
        """float32 (mels, window): frames of a recording from `start` on, zeros after its end."""
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
        """float32 (recordings, mels, window): how each of them begins, with what a mask calls padding."""
        if self._array is None:
            return self.window(0, 0)[None]
        part = self._array[:, :, : self._window]
        return np.pad(part, ((0, 0), (0, 0), (0, self._window - part.shape[2])))

    @property
    def whole(self) -> bool:
        """Whether that is what `window` gives of them."""
        return self._array is None or bool((self.frames >= min(self._window, self._array.shape[2])).all())


def _spoken(mask: Any, rows: int, streamed: int | None) -> Array | None:
    if mask is None:
        return None if streamed is None else np.array([streamed], np.int64)
    found = as_array(mask)
    if found.ndim != 2 or len(found) != rows:
        raise ValueError(f"attention_mask must have the shape ({rows}, frames), not {found.shape}")
    counts: Array = np.asarray(found, np.int64).sum(-1)
    return counts
