"""Ogg: pages."""

from __future__ import annotations

import re

from onnxpipe.processing.audio.io.parts.part import Part
from onnxpipe.processing.audio.io.parts.reader import MAX_TRIES, ByteReader

_PAGE = re.compile(b"OggS")


def ogg_parts(reader: ByteReader, start: int) -> list[Part]:
    """Split a chain of streams where a new one begins, and leave out a last page that is not whole."""
    parts: list[Part] = []
    begin = place = start
    running, ended, streams, tries = False, 0, 0, 0
    while tries < MAX_TRIES:
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
