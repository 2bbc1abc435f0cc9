"""FLAC: frames with their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from onnxpipe.processing.audio.io.parts.part import MAX_PARTS, Part
from onnxpipe.processing.audio.io.parts.reader import ByteReader

_FLAC_HEAD = re.compile(rb"fLaC[\0\x80]\0\0\x22")
#: The bytes at a stream's end, and the frames in them, among which the last whole frame is sought.
_FLAC_TAIL = 2**18
_FLAC_FRAMES = 16
#: The largest count of samples that the header can hold.
_FLAC_UNKNOWN = 2**36 - 1


def flac_parts(reader: ByteReader, start: int) -> list[Part]:
    starts = list(islice(_flac_starts(reader, start), MAX_PARTS + 1))
    ends = [*starts[1:], reader.size][: len(starts)]
    return [_flac_part(reader, begin, end) for begin, end in zip(starts, ends, strict=True)]


def _flac_starts(reader: ByteReader, start: int) -> Iterator[int]:
    place = reader.find(_FLAC_HEAD, 8, start)
    while place is not None:
        yield place
        place = reader.find(_FLAC_HEAD, 8, place + 1)


def _flac_part(reader: ByteReader, start: int, end: int) -> Part:
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
