"""What a file is, by its first bytes (kinds that are neither images nor audio, and those that only FFmpeg reads) or by
its name."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

#: First bytes, in lower case -> the kind.
_KINDS = (
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file, perhaps an SVG drawing"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"{", "a text"),
    (b"#extm3u", "a playlist"),
    (b"[playlist]", "a playlist"),
    (b"ffconcat", "a playlist"),
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"%!ps", "a PostScript drawing"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript drawing"),
    (b"%pdf", "a PDF"),
    (b"pk\x03\x04", "a zip archive"),
    (b"8bps", "a Photoshop file"),
    (b"\0\0\0\x0cjp  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\0\x0cjxl ", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"icns", "an ICNS icon"),
    (b"dds ", "a DDS texture"),
    (b"qoif", "a QOI image"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?radiance", "a Radiance HDR image"),
    (b"simple  =", "a FITS image"),
)
#: Offset and bytes near the beginning of files in FFmpeg's formats.
_CONTAINERS = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (0, b"\x1aE\xdf\xa3"), (0, b"FLV"), (0, b"0&\xb2u"), (8, b"AVI "),
    (0, b"#!AMR"), (0, b"\xff\xf1"), (0, b"\xff\xf9"), (0, b"wvpk"), (0, b"MAC "), (0, b"\x00\x00\x01\xba"),
    (0, b"OggS"), (0, b"fLaC"), (0, b"\x0bw"), (0, b"\x7f\xfe\x80\x01"), (0, b"TTA1"), (0, b".RMF"),
)  # fmt: skip


def kind_of(head: bytes) -> str | None:
    """Name the kind of a file that is not one of audio or of an image that is read here; None for any other.

    Args:
        head: the file's first bytes, 64 or more.
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower() or head
    return next((kind for magic, kind in _KINDS if start.startswith(magic)), None)


def is_container(head: bytes) -> bool:
    """Whether a file is in one of the formats that FFmpeg's libraries read.

    Args:
        head: the file's first bytes, 64 or more.
    """
    return any(head.startswith(magic, place) for place, magic in _CONTAINERS)


_VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv")
)


def is_video_name(source: Any) -> bool:
    """Whether a path, a URL or a `data:` URL is one of a video, by how it is called."""
    if isinstance(source, PurePath):
        return source.suffix.lower() in _VIDEO_SUFFIXES
    if not isinstance(source, str) or len(source) > 4096:
        return isinstance(source, str) and source.startswith("data:video/")
    try:
        path = urlsplit(source).path if "://" in source[:16] else source
    except ValueError:
        return False
    return source.startswith("data:video/") or PurePath(path).suffix.lower() in _VIDEO_SUFFIXES
