"""A recording of a file, and a file put together of the pieces of it."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

#: A file of more recordings is left as it is.
MAX_PARTS = 1000

#: Bytes, or the place from where to where the file has them.
Piece = bytes | tuple[int, int]


@dataclass(frozen=True)
class Part:
    """One recording of a file.

    Attributes:
        pieces: what is to be read instead of the file.
        missing: the share of it that its header claims and that is not there.
        cut: whether it ends too early, or has bytes between its frames that cannot be read.
    """

    pieces: tuple[Piece, ...]
    missing: float = 0.0
    cut: bool = False


class SplicedFile(io.RawIOBase):
    """A file put together of pieces of another one.

    Seeking to before its beginning goes to the beginning: libsndfile does so in broken files, and an exception in its
    callback would be printed.
    """

    def __init__(self, stream: IO[bytes], pieces: Sequence[Piece]) -> None:
        self._stream = stream
        self._pieces = list(pieces)
        self._starts: list[int] = []
        self._size = self._place = 0
        for piece in pieces:  # empty ones do not matter: the last that starts at a place is read
            self._starts.append(self._size)
            self._size += len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = io.SEEK_SET, /) -> int:
        self._place = max(0, (0, self._place, self._size)[whence] + place)
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._place < self._size:
            number = bisect_right(self._starts, self._place) - 1
            stop = self._starts[number + 1] if number + 1 < len(self._starts) else self._size
            skip, count = self._place - self._starts[number], min(stop - self._place, len(view) - done)
            found = self._read(self._pieces[number], skip, count)
            if not found:
                break
            view[done : done + len(found)] = found
            done += len(found)
            self._place += len(found)
        return done

    def _read(self, piece: Piece, skip: int, count: int) -> bytes:
        if isinstance(piece, bytes):
            return piece[skip : skip + count]
        self._stream.seek(piece[0] + skip)
        return self._stream.read(count)
