"""Decode data: URLs as browsers do (WHATWG: "data: URL processor" of Fetch, "forgiving-base64 decode" of Infra)."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

_WHITESPACE = str.maketrans("", "", "\t\n\f\r ")
#: What is not part of a URL, wherever it stands.
_BREAKS = str.maketrans("", "", "\t\n\r")
_BASE64 = re.compile(r";[ ]*base64[ ]*", re.IGNORECASE)


def is_data_url(text: str) -> bool:
    """Return whether a string is a data: URL; the scheme may be in capitals."""
    return text[:32].lstrip()[:5].lower() == "data:"


def decode_data_url(url: str) -> bytes:
    """Decode the content of a data: URL, of any type or none: base64, or percent-encoded.

    Args:
        url: begins with `data:`. Line ends in it do not count; base64 may lack its padding, and be percent-encoded.

    Raises:
        ValueError: it has no comma, or its base64 is not valid.
    """
    kind, comma, content = url.strip().translate(_BREAKS).partition("#")[0].partition(",")
    if not comma:
        raise ValueError('it has no comma: expected "data:image/png;base64,…" or the like')
    body = unquote_to_bytes(content)
    if _BASE64.search(kind) is None or not _BASE64.fullmatch(kind[kind.rindex(";") :]):
        return body
    return decode_base64(body.decode("latin-1"))


def decode_base64(text: str) -> bytes:
    """Decode base64 that may be wrapped and may lack its padding.

    Raises:
        ValueError: other characters than those of base64, or padding in the wrong place.
    """
    letters = text.translate(_WHITESPACE)
    if len(letters) % 4 == 0:
        letters = letters[:-2] + letters[-2:].replace("==", "").removesuffix("=")
    if len(letters) % 4 == 1:
        raise ValueError("it is not valid base64: a character is missing")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except ValueError as error:
        raise ValueError(f"it is not valid base64: {error}") from error
