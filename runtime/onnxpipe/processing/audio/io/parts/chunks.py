"""Files whose headers count bytes: chunks (WAV, AIFF, CAF, W64) and AU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from onnxpipe.processing.audio.io.parts.part import MAX_PARTS, Part, Piece
from onnxpipe.processing.audio.io.parts.reader import MAX_TRIES, ByteReader, tag_length

#: A chunk that claims at least so many bytes was written to a pipe, where the length is not known.
STREAMED = 0x7FFF_0000


@dataclass(frozen=True)
class ChunkFormat:
    """How a format of chunks is laid out.

    Attributes:
        magic, kind, kind_at: its first bytes; others of them, and where; in front of the first chunk are `first` bytes.
        audio: the identifier of the chunk of samples.
        order, width: of the bytes of a length.
        inclusive: whether a length counts the chunk's header too.
        align: chunks begin at multiples of it.
    """

    magic: bytes
    kind: bytes
    kind_at: int
    first: int
    audio: bytes
    order: Any = "little"
    width: int = 4
    inclusive: bool = False
    align: int = 2

    @property
    def head(self) -> int:
        """Bytes of a chunk's header."""
        return len(self.audio) + self.width

    def starts(self, reader: ByteReader, place: int) -> bool:
        """Whether a file of the format begins at a place."""
        head = reader.at(place, self.first)
        return head.startswith(self.magic) and head.startswith(self.kind, self.kind_at)

    def chunk(self, reader: ByteReader, place: int) -> tuple[bytes, int] | None:
        """Read the identifier of a chunk and the length of its content."""
        head = reader.at(place, self.head)
        if len(head) < self.head:
            return None
        name = head[: len(self.audio)]
        length = int.from_bytes(head[len(self.audio) :], self.order)
        return name, length - (self.head if self.inclusive else 0)

    def following(self, place: int, length: int, start: int) -> int:
        """Compute the place of the chunk after the one at a place."""
        after = place + self.head + length - start
        return start + -(-after // self.align) * self.align

    def length(self, count: int) -> bytes:
        """Write the length of a chunk."""
        return (count + (self.head if self.inclusive else 0)).to_bytes(self.width, self.order)


_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
RIFF = ChunkFormat(b"RIFF", b"WAVE", 8, 12, b"data")
RIFX = ChunkFormat(b"RIFX", b"WAVE", 8, 12, b"data", "big")
RF64 = ChunkFormat(b"RF64", b"WAVE", 8, 12, b"data")
AIFF = ChunkFormat(b"FORM", b"AIF", 8, 12, b"SSND", "big")
CAF = ChunkFormat(b"caff", b"\0\1", 4, 8, b"data", "big", 8, align=1)
W64 = ChunkFormat(
    b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000"), b"wave" + _W64_TAIL, 24, 40, b"data" + _W64_TAIL, "little", 8,
    inclusive=True, align=8,
)  # fmt: skip


def chunk_parts(form: ChunkFormat) -> Callable[[ByteReader, int], list[Part]]:
    def find(reader: ByteReader, start: int) -> list[Part]:
        parts: list[Part] = []
        place: int | None = start
        while place is not None and len(parts) <= MAX_PARTS:
            part, place = _chunked(form, reader, place)
            parts.append(part)
        return parts

    return find


def _chunked(form: ChunkFormat, reader: ByteReader, start: int) -> tuple[Part, int | None]:
    """Return the part that begins at a place, and the place of the next."""
    place, long = start + form.first, None
    chunk = form.chunk(reader, place)
    for _ in range(MAX_TRIES):
        if chunk is None or chunk[0] == form.audio or chunk[1] < 0:
            break
        if chunk[0] == b"ds64":
            long = int.from_bytes(reader.at(place + form.head + 8, 8), "little")
        place = form.following(place, chunk[1], start)
        chunk = form.chunk(reader, place)
    if chunk is None or chunk[0] != form.audio or chunk[1] < 0:
        return Part(((start, reader.size),)), None
    body, claimed = place + form.head, chunk[1]
    if form.width == 4 and claimed == 2**32 - 1 and long is not None:
        claimed = long
    if body + claimed == reader.size:
        return Part(((start, reader.size),)), None
    if body + claimed > reader.size:
        known = claimed < (STREAMED if form.width == 4 and long is None else 2**40)
        missing = 1 - (reader.size - body) / claimed if known and claimed else 0.0
        whole = Part(((start, reader.size),)) if form.width == 4 else _lengthened(form, reader, start, place)
        return replace(whole, missing=missing, cut=missing > 0), None
    after = _after_chunks(form, reader, body + claimed, start)
    if after is None:  # no chunks: the samples go on
        return _lengthened(form, reader, start, place), None
    return Part(((start, after),)), after if after < reader.size else None


def _after_chunks(form: ChunkFormat, reader: ByteReader, end: int, start: int) -> int | None:
    """Return the place after the chunks that follow the samples: where the next file begins, or the end; None if what
    follows is neither chunks nor a file."""
    place = end
    for _ in range(MAX_TRIES):
        aligned = start + -(-(place - start) // form.align) * form.align
        for here in (place, aligned):
            if form.starts(reader, here):
                return here
        if reader.size - aligned < form.head or tag_length(reader, place) or tag_length(reader, aligned):
            return reader.size
        found = form.chunk(reader, aligned)
        if found is None or not 0 <= found[1] <= reader.size - aligned - form.head:
            return None
        if not all(32 <= byte < 127 for byte in found[0][:4]):
            return None
        place = aligned + form.head + found[1]
    return reader.size


def _lengthened(form: ChunkFormat, reader: ByteReader, start: int, place: int) -> Part:
    """Return a part whose samples go on to the file's end, with headers that say so."""
    body = place + form.head
    patches = {place + len(form.audio): form.length(reader.size - body)}
    if form is AIFF:
        patches |= _aiff_count(reader, start, reader.size - body)
    if form.width == 4:
        patches[start + 4] = form.length(reader.size - start - 8)
    pieces: list[Piece] = []
    here = start
    for at, content in sorted(patches.items()):
        pieces += [(here, at), content]
        here = at + len(content)
    return Part((*pieces, (here, reader.size)))


def _aiff_count(reader: ByteReader, start: int, length: int) -> dict[int, bytes]:
    """Return the place and the bytes of the count in an AIFF file's COMM chunk."""
    place = start + AIFF.first
    while (chunk := AIFF.chunk(reader, place)) is not None and chunk[0] != b"COMM":
        place = AIFF.following(place, chunk[1], start)
    if chunk is None:
        return {}
    head = reader.at(place + 8, 8)
    width = int.from_bytes(head[:2], "big") * -(-int.from_bytes(head[6:8], "big") // 8)
    return {place + 10: ((length - 8) // width).to_bytes(4, "big")} if width and length >= 8 else {}


def au_parts(reader: ByteReader, start: int) -> list[Part]:
    parts: list[Part] = []
    order: Any = "big" if reader.at(start, 1) == b"." else "little"
    while len(parts) <= MAX_PARTS:
        offset, claimed = (int.from_bytes(reader.at(start + at, 4), order) for at in (4, 8))
        end, present = start + offset + claimed, reader.size - start - offset
        if present < 0 or claimed >= present:
            missing = 1 - present / claimed if 0 <= present < claimed < STREAMED else 0.0
            return [*parts, Part(((start, reader.size),), missing, missing > 0)]
        if reader.at(end, 4) != reader.at(start, 4):
            return [*parts, Part(((start, start + 8), present.to_bytes(4, order), (start + 12, reader.size)))]
        parts.append(Part(((start, end),)))
        start = end
    return parts
