"""Find the recordings that a file holds one after another (`cat a.mp3 b.mp3`), and how much of each there really is.

libsndfile reads as many samples as a header counts, and only the first recording of a file. A count in a header is no
more than a hint: here the frames, pages and chunks of the file itself are looked at, and libsndfile gets each recording
with a header that says what there is. A count that is larger than that tells how much is missing.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, Any

#: A chunk that claims at least so many bytes was written to a pipe, where the length is not known.
_STREAMED = 0x7FFF_0000
_BLOCK = 2**16
#: A file of more recordings is left as it is.
_MAX_PARTS = 1000
#: So many chunks are read, and so many places tried in search of a next frame or page: a hostile file has millions.
_MAX_TRIES = 2**15

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


def find_parts(stream: IO[bytes]) -> list[Part]:
    """List the recordings of a file; empty where libsndfile reads all of it as it is, and for formats that are not
    known here.

    Args:
        stream: the file, which can be sought.
    """
    reader = _Reader(stream)
    start = _after_id3(reader, 0)
    head = reader.at(start, 16)
    finder = next((finder for magic, finder in _FINDERS if head.startswith(magic)), None)
    if finder is None and _Mpeg.of(head) is not None:
        finder = _mpeg_parts
    parts = [] if finder is None else finder(reader, start)
    whole = len(parts) == 1 and parts[0] == Part(((0, reader.size),))
    return [] if whole or len(parts) > _MAX_PARTS else parts


class _Reader:
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


def _after_id3(reader: _Reader, place: int) -> int:
    """Skip the ID3v2 tags at a place."""
    for _ in range(_MAX_PARTS):
        head = reader.at(place, 10)
        if head[:3] != b"ID3" or len(head) < 10 or max(head[6:]) >= 128:
            break
        place += 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + (10 if head[5] & 0x10 else 0)
    return place


def _tag(reader: _Reader, place: int) -> int:
    """Get the number of bytes of the tag (ID3 or APE) at a place; 0 where there is none."""
    if (after := _after_id3(reader, place)) > place:
        return after - place
    head = reader.at(place, 16)
    if head.startswith(b"TAG"):
        return 128
    if head.startswith(b"APETAGEX"):
        return 32 + int.from_bytes(head[12:16], "little")
    return 0


# -- chunks: WAV, AIFF, CAF, W64 --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Chunks:
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

    def starts(self, reader: _Reader, place: int) -> bool:
        """Whether a file of the format begins at a place."""
        head = reader.at(place, self.first)
        return head.startswith(self.magic) and head.startswith(self.kind, self.kind_at)

    def chunk(self, reader: _Reader, place: int) -> tuple[bytes, int] | None:
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
_RIFF = _Chunks(b"RIFF", b"WAVE", 8, 12, b"data")
_RIFX = _Chunks(b"RIFX", b"WAVE", 8, 12, b"data", "big")
_RF64 = _Chunks(b"RF64", b"WAVE", 8, 12, b"data")
_AIFF = _Chunks(b"FORM", b"AIF", 8, 12, b"SSND", "big")
_CAF = _Chunks(b"caff", b"\0\1", 4, 8, b"data", "big", 8, align=1)
_W64 = _Chunks(
    b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000"), b"wave" + _W64_TAIL, 24, 40, b"data" + _W64_TAIL, "little", 8,
    inclusive=True, align=8,
)  # fmt: skip


def _chunk_parts(form: _Chunks) -> Callable[[_Reader, int], list[Part]]:
    def find(reader: _Reader, start: int) -> list[Part]:
        parts: list[Part] = []
        place: int | None = start
        while place is not None and len(parts) <= _MAX_PARTS:
            part, place = _chunked(form, reader, place)
            parts.append(part)
        return parts

    return find


def _chunked(form: _Chunks, reader: _Reader, start: int) -> tuple[Part, int | None]:
    """Return the part that begins at a place, and the place of the next."""
    place, long = start + form.first, None
    chunk = form.chunk(reader, place)
    for _ in range(_MAX_TRIES):
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
        known = claimed < (_STREAMED if form.width == 4 and long is None else 2**40)
        missing = 1 - (reader.size - body) / claimed if known and claimed else 0.0
        whole = Part(((start, reader.size),)) if form.width == 4 else _lengthened(form, reader, start, place)
        return replace(whole, missing=missing, cut=missing > 0), None
    after = _after_chunks(form, reader, body + claimed, start)
    if after is None:  # no chunks: the samples go on
        return _lengthened(form, reader, start, place), None
    return Part(((start, after),)), after if after < reader.size else None


def _after_chunks(form: _Chunks, reader: _Reader, end: int, start: int) -> int | None:
    """Return the place after the chunks that follow the samples: where the next file begins, or the end; None if what
    follows is neither chunks nor a file."""
    place = end
    for _ in range(_MAX_TRIES):
        aligned = start + -(-(place - start) // form.align) * form.align
        for here in (place, aligned):
            if form.starts(reader, here):
                return here
        if reader.size - aligned < form.head or _tag(reader, place) or _tag(reader, aligned):
            return reader.size
        found = form.chunk(reader, aligned)
        if found is None or not 0 <= found[1] <= reader.size - aligned - form.head:
            return None
        if not all(32 <= byte < 127 for byte in found[0][:4]):
            return None
        place = aligned + form.head + found[1]
    return reader.size


def _lengthened(form: _Chunks, reader: _Reader, start: int, place: int) -> Part:
    """Return a part whose samples go on to the file's end, with headers that say so."""
    body = place + form.head
    patches = {place + len(form.audio): form.length(reader.size - body)}
    if form is _AIFF:
        patches |= _aiff_count(reader, start, reader.size - body)
    if form.width == 4:
        patches[start + 4] = form.length(reader.size - start - 8)
    pieces: list[Piece] = []
    here = start
    for at, content in sorted(patches.items()):
        pieces += [(here, at), content]
        here = at + len(content)
    return Part((*pieces, (here, reader.size)))


def _aiff_count(reader: _Reader, start: int, length: int) -> dict[int, bytes]:
    """Return the place and the bytes of the count in an AIFF file's COMM chunk."""
    place = start + _AIFF.first
    while (chunk := _AIFF.chunk(reader, place)) is not None and chunk[0] != b"COMM":
        place = _AIFF.following(place, chunk[1], start)
    if chunk is None:
        return {}
    head = reader.at(place + 8, 8)
    width = int.from_bytes(head[:2], "big") * -(-int.from_bytes(head[6:8], "big") // 8)
    return {place + 10: ((length - 8) // width).to_bytes(4, "big")} if width and length >= 8 else {}


def _au_parts(reader: _Reader, start: int) -> list[Part]:
    parts: list[Part] = []
    order: Any = "big" if reader.at(start, 1) == b"." else "little"
    while len(parts) <= _MAX_PARTS:
        offset, claimed = (int.from_bytes(reader.at(start + at, 4), order) for at in (4, 8))
        end, present = start + offset + claimed, reader.size - start - offset
        if present < 0 or claimed >= present:
            missing = 1 - present / claimed if 0 <= present < claimed < _STREAMED else 0.0
            return [*parts, Part(((start, reader.size),), missing, missing > 0)]
        if reader.at(end, 4) != reader.at(start, 4):
            return [*parts, Part(((start, start + 8), present.to_bytes(4, order), (start + 12, reader.size)))]
        parts.append(Part(((start, end),)))
        start = end
    return parts


# -- Ogg: pages -------------------------------------------------------------------------------------------------------
_PAGE = re.compile(b"OggS")


def _ogg_parts(reader: _Reader, start: int) -> list[Part]:
    """Split a chain of streams where a new one begins, and leave out a last page that is not whole."""
    parts: list[Part] = []
    begin = place = start
    running, ended, streams, tries = False, 0, 0, 0
    while tries < _MAX_TRIES:
        head = reader.at(place, 27)
        if not head.startswith(b"OggS") or len(head) < 27:
            following = reader.find(_PAGE, 4, place + 1) if place < reader.size else None
            if following is None:
                break
            place, tries = following, tries + 1
            continue
        table = reader.at(place + 27, head[26])
        end = place + 27 + head[26] + sum(table)
        if end > reader.size or len(table) < head[26]:
            break
        first, last = head[5] & 2, head[5] & 4
        if first and running:
            parts.append(Part(((begin, place),), cut=ended < streams))
            begin, running, ended, streams = place, False, 0, 0
        running = running or not first
        streams += bool(first)
        ended += bool(last)
        place = end
    stop = reader.size if ended >= streams else place  # libsndfile looks for the last page at the end
    parts.append(Part(((begin, stop),), cut=ended < streams))
    return parts


# -- FLAC: frames with their numbers ----------------------------------------------------------------------------------
_FLAC_HEAD = re.compile(rb"fLaC[\0\x80]\0\0\x22")
#: The bytes at a stream's end, and the frames in them, among which the last whole frame is sought.
_FLAC_TAIL = 2**18
_FLAC_FRAMES = 16
#: The largest count of samples that the header can hold.
_FLAC_UNKNOWN = 2**36 - 1


def _flac_parts(reader: _Reader, start: int) -> list[Part]:
    starts = list(islice(_flac_starts(reader, start), _MAX_PARTS + 1))
    ends = [*starts[1:], reader.size][: len(starts)]
    return [_flac_part(reader, begin, end) for begin, end in zip(starts, ends, strict=True)]


def _flac_starts(reader: _Reader, start: int) -> Iterator[int]:
    place = reader.find(_FLAC_HEAD, 8, start)
    while place is not None:
        yield place
        place = reader.find(_FLAC_HEAD, 8, place + 1)


def _flac_part(reader: _Reader, start: int, end: int) -> Part:
    """Count the samples of a FLAC stream by its last frames; a last frame that is not whole is left out."""
    info = reader.at(start + 8, 34)
    claimed = int.from_bytes(info[13:18], "big") & _FLAC_UNKNOWN
    if reader.at(end - 128, 3) == b"TAG":
        end -= 128
    tail_at = max(start + 42, end - _FLAC_TAIL)
    tail = reader.at(tail_at, end - tail_at)
    found = _last_sample(tail, info)
    if found is None:
        return Part(((start, end),))
    total, stop = found
    cut = stop < len(tail)
    if total == claimed and not cut:
        return Part(((start, end),))
    counted = bytes([info[13] & 0xF0 | total >> 32]) + (total & 0xFFFFFFFF).to_bytes(4, "big")
    missing = max(0.0, 1 - total / claimed) if 0 < claimed < _FLAC_UNKNOWN else 0.0
    return Part(((start, start + 21), counted, (start + 26, tail_at + stop)), missing, cut or missing > 0)


def _last_sample(tail: bytes, info: bytes) -> tuple[int, int] | None:
    """Return the number of samples up to the end of the last whole frame, and where that frame ends in the tail."""
    place = following = len(tail)
    start_of_following: int | None = None
    for _ in range(_FLAC_FRAMES):
        frame = None
        while frame is None:
            if (place := tail.rfind(b"\xff", 0, place)) < 0:
                return None
            frame = _flac_frame(tail[place : place + 17], info)
        if _crc16(tail[place:following]) == 0:
            end = sum(frame) if start_of_following is None else start_of_following
            return (end, following) if end <= _FLAC_UNKNOWN else None
        following, start_of_following = place, frame[0]
    return None


def _flac_frame(head: bytes, info: bytes) -> tuple[int, int] | None:
    """Read the number of a frame's first sample, and its length; None if no frame of the stream begins there."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8:
        return None
    size_code, rate_code, layout = head[2] >> 4, head[2] & 15, head[3] >> 4
    channels = 2 if 8 <= layout <= 10 else layout + 1
    if not size_code or rate_code == 15 or layout > 10 or head[3] & 1 or channels != (info[12] >> 1 & 7) + 1:
        return None
    number, at = _coded_number(head, 4)
    if number is None:
        return None
    if size_code in (6, 7):
        count = int.from_bytes(head[at : at + size_code - 5], "big") + 1
        at += size_code - 5
    else:
        count = 192 if size_code == 1 else 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    return (number if head[1] & 1 else number * int.from_bytes(info[:2], "big")), count


def _coded_number(head: bytes, at: int) -> tuple[int | None, int]:
    """Read a number in the form of UTF-8; returns it and the place after it."""
    ones = 8 - (head[at] ^ 0xFF).bit_length()
    more = max(0, ones - 1)
    rest = head[at + 1 : at + 1 + more]
    if ones in (1, 8) or len(rest) < more or any(byte >> 6 != 2 for byte in rest):
        return None, at
    number = head[at] & (0x7F >> ones)
    for byte in rest:
        number = number << 6 | byte & 63
    return number, at + 1 + more


def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for value in range(256):
        crc = value << bits - 8
        for _ in range(8):
            crc = (crc << 1) ^ (polynomial if crc >> bits - 1 else 0)
            crc &= (1 << bits) - 1
        table.append(crc)
    return table


_TABLE_8, _TABLE_16 = _crc_table(8, 0x07), _crc_table(16, 0x8005)


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = _TABLE_8[crc ^ byte]
    return crc


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _TABLE_16[crc >> 8 ^ byte]
    return crc


# -- MPEG audio: frames -----------------------------------------------------------------------------------------------
_RATES = (44_100, 48_000, 32_000)
_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


@dataclass(frozen=True)
class _Mpeg:
    """A frame of layer III, by its four bytes.

    Attributes:
        head: the bytes.
        length: of the frame, in bytes.
        key: what the frames of one stream have in common: version, sampling rate, mono or not.
    """

    head: int
    length: int
    key: tuple[int, int, bool]

    @classmethod
    def of(cls, head: bytes) -> _Mpeg | None:
        """Read a frame's header; None for other bytes, and for frames that do not say their length."""
        value = int.from_bytes(head[:4], "big")
        version, bits, rate = value >> 19 & 3, value >> 12 & 15, value >> 10 & 3
        if len(head) < 4 or value >> 21 != 0x7FF or version == 1 or value >> 17 & 3 != 1:
            return None
        if bits in (0, 15) or rate == 3 or value & 3 == 2:
            return None
        half = version != 3
        hertz = _RATES[rate] >> (0, 1, 2)[(3, 2, 0).index(version)]
        length = (72 if half else 144) * _KBITS[half][bits] * 1000 // hertz + (value >> 9 & 1)
        return cls(value, length, (version, rate, value >> 6 & 3 == 3))

    @property
    def count_at(self) -> int:
        """Where the frame's own header of a whole stream stands (Xing), after its side information."""
        _, _, mono = self.key
        side = (17 if mono else 32) if self.key[0] == 3 else (9 if mono else 17)
        return 4 + side


class _MpegStream:
    """Frames that belong together, while they are counted."""

    def __init__(self, reader: _Reader, place: int, frame: _Mpeg) -> None:
        self.key, self.first = frame.key, frame
        self.ranges: list[tuple[int, int]] = [(place, place)]
        self.count, self.cut = 0, False
        self.claimed: int | None = None
        self.sized: int | None = None
        self.header = _count_header(reader, place, frame)
        if self.header is not None:
            at, name = self.header
            flags = int.from_bytes(reader.at(at + 4, 4), "big")
            counted = at + 14 if name == b"VBRI" else at + 8 if flags & 1 else None
            self.sized = int.from_bytes(reader.at(at + 12, 4), "big") if name != b"VBRI" and flags & 3 == 3 else None
            self.claimed = None if counted is None else int.from_bytes(reader.at(counted, 4), "big")
            self.count = -1  # the frame of the header has no samples

    def add(self, place: int, length: int) -> None:
        """Add a frame."""
        begin, end = self.ranges[-1]
        if end == place:
            self.ranges[-1] = begin, place + length
        else:
            self.ranges.append((place, place + length))
            self.cut = True  # what lies in between cannot be read
        self.count += 1

    def part(self, reader: _Reader) -> Part:
        """Return the stream with a header that counts its frames."""
        size = sum(end - begin for begin, end in self.ranges)
        missing = 1 - self.count / self.claimed if self.claimed and self.count < self.claimed - 1 else 0.0
        if self.header is None or (self.claimed is None and self.header[1] != b"VBRI"):
            head = _xing_frame(self.first, self.count + (self.header is not None), size)
            return Part((head, *self.ranges), missing, self.cut)
        if self.claimed == self.count and self.sized in (None, size):
            return Part(tuple(self.ranges), missing, self.cut)
        (at, name), (begin, end) = self.header, self.ranges[0]
        counts = self.count.to_bytes(4, "big")
        if name == b"VBRI":
            pieces: tuple[Piece, ...] = (begin, at + 10), size.to_bytes(4, "big") + counts, (at + 18, end)
        else:
            flags = int.from_bytes(reader.at(at + 4, 4), "big")
            if flags & 2:
                counts += size.to_bytes(4, "big")
            pieces = (begin, at + 8), counts, (at + 8 + len(counts), end)
        return Part((*pieces, *self.ranges[1:]), missing, self.cut or missing > 0)


def _count_header(reader: _Reader, place: int, frame: _Mpeg) -> tuple[int, bytes] | None:
    """Find the header of a whole stream in a frame: its place and name; None in a frame of samples."""
    for at in (place + frame.count_at, place + frame.count_at + 2, place + 36):
        name = reader.at(at, 4)
        if name in (b"Xing", b"Info") or (name == b"VBRI" and at == place + 36):
            return at, name
    return None


def _xing_frame(frame: _Mpeg, count: int, size: int) -> bytes:
    """Write a frame that counts the frames after it."""
    for bits in range(1, 15):
        head = frame.head & ~0xF200 | bits << 12 | 0x10000  # without padding and checksum
        sized = _Mpeg.of(head.to_bytes(4, "big"))
        if sized is not None and sized.length >= frame.count_at + 16:
            break
    assert sized is not None
    counts = b"Xing" + (3).to_bytes(4, "big") + count.to_bytes(4, "big") + (size + sized.length).to_bytes(4, "big")
    return (head.to_bytes(4, "big") + bytes(frame.count_at - 4) + counts).ljust(sized.length, b"\0")


def _mpeg_parts(reader: _Reader, start: int) -> list[Part]:
    """Walk over the frames: a header that counts frames, or a tag, begins a new stream."""
    streams: list[_MpegStream] = []
    known: dict[bytes, _Mpeg | None] = {}
    current: _MpegStream | None = None
    place, tries = start, _MAX_TRIES
    while place < reader.size:
        head = reader.at(place, 4)
        frame = known[head] if head in known else known.setdefault(head, _Mpeg.of(head))
        if frame is None or (current is not None and frame.key != current.key and not _follows(reader, place, frame)):
            tag = _tag(reader, place)
            following, tries = (place + tag, tries) if tag else _next_frame(reader, place + 1, current, tries)
            if following is None:
                break
            current = None if tag else current
            place = following
            continue
        if place + frame.length > reader.size:
            if current is not None:
                current.cut = True
            break
        if current is None or frame.key != current.key or _count_header(reader, place, frame):
            current = _MpegStream(reader, place, frame)
            streams.append(current)
        current.add(place, frame.length)
        place += frame.length
    return [stream.part(reader) for stream in streams if stream.count > 0]


def _follows(reader: _Reader, place: int, frame: _Mpeg) -> bool:
    """Whether another frame of the same stream follows."""
    after = _Mpeg.of(reader.at(place + frame.length, 4))
    return after is not None and after.key == frame.key


#: The first bytes of a frame of layer III, or of a tag.
_FRAME_OR_TAG = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]|ID3|TAG|APE", re.DOTALL)


def _next_frame(reader: _Reader, place: int, current: _MpegStream | None, tries: int) -> tuple[int | None, int]:
    """Find the next frame or tag after bytes that are none; returns its place, and how many tries are left."""
    following = reader.find(_FRAME_OR_TAG, 3, place)
    while following is not None and tries > 0:
        tries -= 1
        frame = _Mpeg.of(reader.at(following, 4))
        known = frame is not None and (current is None or frame.key == current.key)
        if (frame is not None and known and _follows(reader, following, frame)) or _tag(reader, following):
            return following, tries
        following = reader.find(_FRAME_OR_TAG, 3, following + 1)
    return None, tries


_FINDERS: tuple[tuple[bytes, Callable[[_Reader, int], list[Part]]], ...] = (
    *((form.magic, _chunk_parts(form)) for form in (_RIFF, _RIFX, _RF64, _AIFF, _CAF, _W64)),
    (b".snd", _au_parts), (b"dns.", _au_parts), (b"OggS", _ogg_parts), (b"fLaC", _flac_parts),
)  # fmt: skip
