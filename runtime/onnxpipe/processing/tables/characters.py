"""Characters that are no text: halves of surrogate pairs, which stand for bytes that could not be decoded."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def text_problem(text: str, encoding: str = "UTF-8") -> str | None:
    """Tell what makes a text unreadable: a lone surrogate, or a byte that was not in the encoding; None if nothing."""
    found = _SURROGATE.search(text)
    if found is None:
        return None
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"byte 0x{code - 0xDC00:02x} is not {encoding}"
    return f"the text has a lone surrogate, U+{code:04X}, which is no character"


def without_surrogates(text: str) -> str:
    """Replace lone surrogates by U+FFFD, the replacement character."""
    return _SURROGATE.sub("\ufffd", text)
