"""MPEG audio: frames of layer III."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxpipe.processing.audio.io.parts.part import Part, Piece
from onnxpipe.processing.audio.io.parts.reader import MAX_TRIES, ByteReader, tag_length

_RATES = (44_100, 48_000, 32_000)
_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


@dataclass(frozen=True)
class MpegFrame:
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
    def of(cls, head: bytes) -> MpegFrame | None:
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

    def __init__(self, reader: ByteReader, place: int, frame: MpegFrame) -> None:
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

    def part(self, reader: ByteReader) -> Part:
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


def _count_header(reader: ByteReader, place: int, frame: MpegFrame) -> tuple[int, bytes] | None:
    """Find the header of a whole stream in a frame: its place and name; None in a frame of samples."""
    for at in (place + frame.count_at, place + frame.count_at + 2, place + 36):
        name = reader.at(at, 4)
        if name in (b"Xing", b"Info") or (name == b"VBRI" and at == place + 36):
            return at, name
    return None


def _xing_frame(frame: MpegFrame, count: int, size: int) -> bytes:
    """Write a frame that counts the frames after it."""
    for bits in range(1, 15):
        head = frame.head & ~0xF200 | bits << 12 | 0x10000  # without padding and checksum
        sized = MpegFrame.of(head.to_bytes(4, "big"))
        if sized is not None and sized.length >= frame.count_at + 16:
            break
    assert sized is not None
    counts = b"Xing" + (3).to_bytes(4, "big") + count.to_bytes(4, "big") + (size + sized.length).to_bytes(4, "big")
    return (head.to_bytes(4, "big") + bytes(frame.count_at - 4) + counts).ljust(sized.length, b"\0")


def mpeg_parts(reader: ByteReader, start: int) -> list[Part]:
    """Walk over the frames: a header that counts frames, or a tag, begins a new stream."""
    streams: list[_MpegStream] = []
    known: dict[bytes, MpegFrame | None] = {}
    current: _MpegStream | None = None
    place, tries = start, MAX_TRIES
    while place < reader.size:
        head = reader.at(place, 4)
        frame = known[head] if head in known else known.setdefault(head, MpegFrame.of(head))
        if frame is None or (current is not None and frame.key != current.key and not _follows(reader, place, frame)):
            tag = tag_length(reader, place)
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


def _follows(reader: ByteReader, place: int, frame: MpegFrame) -> bool:
    """Whether another frame of the same stream follows."""
    after = MpegFrame.of(reader.at(place + frame.length, 4))
    return after is not None and after.key == frame.key


#: The first bytes of a frame of layer III, or of a tag.
_FRAME_OR_TAG = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]|ID3|TAG|APE", re.DOTALL)


def _next_frame(reader: ByteReader, place: int, current: _MpegStream | None, tries: int) -> tuple[int | None, int]:
    """Find the next frame or tag after bytes that are none; returns its place, and how many tries are left."""
    following = reader.find(_FRAME_OR_TAG, 3, place)
    while following is not None and tries > 0:
        tries -= 1
        frame = MpegFrame.of(reader.at(following, 4))
        known = frame is not None and (current is None or frame.key == current.key)
        if (frame is not None and known and _follows(reader, following, frame)) or tag_length(reader, following):
            return following, tries
        following = reader.find(_FRAME_OR_TAG, 3, following + 1)
    return None, tries
