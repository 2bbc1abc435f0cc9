"""Read a few bytes of a file here and there, and step over the tags in it."""

from __future__ import annotations

import io
import re
from typing import IO

from onnxpipe.processing.audio.io.parts.part import MAX_PARTS

_BLOCK = 2**16
#: So many chunks are read, and so many places tried in search of a next frame or page: a hostile file has millions.
MAX_TRIES = 2**15


class ByteReader:
    """Reads a few bytes here and there."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.size = stream.seek(0, io.SEEK_END)
        self._start, self._block = 0, b""

    def at(self, place: int, count: int) -> bytes:
        """Read bytes at a place; fewer at the end."""
        if not 0 <= place < self.size:
            return b""
        skip = place - self._start
        if not 0 <= skip <= len(self._block) - count:
            self._stream.seek(place)
            self._start, self._block, skip = place, self._stream.read(max(_BLOCK, count)), 0
        return self._block[skip : skip + count]

    def find(self, pattern: re.Pattern[bytes], length: int, start: int) -> int | None:
        """Find the next place of a pattern of so many bytes."""
        while len(self.at(start, length)) == length:
            if found := pattern.search(self._block, start - self._start):
                return self._start + found.start()
            start = self._start + len(self._block) - length + 1
        return None


def after_id3(reader: ByteReader, place: int) -> int:
    """Skip the ID3v2 tags at a place."""
    for _ in range(MAX_PARTS):
        head = reader.at(place, 10)
        if head[:3] != b"ID3" or len(head) < 10 or max(head[6:]) >= 128:
            break
        place += 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + (10 if head[5] & 0x10 else 0)
    return place


def tag_length(reader: ByteReader, place: int) -> int:
    """Get the number of bytes of the tag (ID3 or APE) at a place; 0 where there is none."""
    if (after := after_id3(reader, place)) > place:
        return after - place
    head = reader.at(place, 16)
    if head.startswith(b"TAG"):
        return 128
    if head.startswith(b"APETAGEX"):
        return 32 + int.from_bytes(head[12:16], "little")
    return 0
