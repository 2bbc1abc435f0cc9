"""The tokens of rows that grow by one at each step."""

from __future__ import annotations

import numpy as np

from onnxpipe.generation.protocols import Array

#: Most tokens that memory is taken for in advance: rows end long before a large `max_length`.
_ROOM = 1024


class TokenBuffer:
    """int64 (rows, length) with room for more; arrays that were read from it do not change."""

    def __init__(self, start: Array, capacity: int) -> None:
        self.length = start.shape[1]
        self._ids = np.empty((len(start), max(min(capacity, self.length + _ROOM), self.length + 1)), np.int64)
        self._ids[:, : self.length] = start

    @property
    def ids(self) -> Array:
        """int64 (rows, length): a view."""
        return self._ids[:, : self.length]

    def append(self, tokens: Array) -> None:
        """Append int64 (rows,), one token per row."""
        if self.length == self._ids.shape[1]:
            self._ids = np.concatenate((self._ids, np.empty_like(self._ids)), axis=1)
        self._ids[:, self.length] = tokens
        self.length += 1
