"""Archives whose bytes are the same every time: zip and gzip hold the clock, unless it is set."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """Pack `files` (name to content) into a zip archive, all dated 1980."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def gzip_of(content: bytes) -> bytes:
    """Compress `content` as gzip without a date."""
    return gzip.compress(content, mtime=0)
