"""Refuse the parts of a tokenizer.json that would end the process or fill its memory, which no handler could stop."""

from __future__ import annotations

import base64
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxpipe.errors import BundleError

MAX_TEXT = 1 << 26
"""The most characters of a text, after normalization."""

_MAX_GROWTH = 64
"""The most characters that normalizers, or decoders, may make of one. Real ones make up to four (a tab to blanks)."""

_PREFIX = re.compile(rb'"continuing_subword_prefix"\s*:\s*"[^"]')
_MERGES = re.compile(rb'"merges"\s*:\s*\[')
_ESCAPED = re.compile(rb"\\u00[2-7]")


def check_merges(raw: bytes, path: Path) -> None:
    """Refuse a BPE whose merges are shorter than its prefix, or are cut within a letter by it.

    The library cuts the prefix's bytes off the second part of each merge, whatever is there: it panics, or aborts.

    Args:
        raw: the content of the tokenizer.json.
        path: where it is, for errors.

    Raises:
        BundleError: it is one of those.
    """
    # most files have no merges or no prefix, and need no second reading, unless letters of the names are escaped, which
    # no writer of JSON does
    if not ((_PREFIX.search(raw) and _MERGES.search(raw)) or _ESCAPED.search(raw)):
        return
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError):
        return  # the library says what is wrong
    model = whole.get("model") if isinstance(whole, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("merges"), list):
        return
    prefix = model.get("continuing_subword_prefix")
    size = len(prefix.encode(errors="replace")) if isinstance(prefix, str) else 0
    for i, merge in enumerate(model["merges"] if size else ()):
        second = merge.partition(" ")[2] if isinstance(merge, str) else merge[-1] if merge else ""
        cut = second.encode(errors="replace") if isinstance(second, str) else b""
        # a byte 10xxxxxx is inside a letter
        if len(cut) < size or (len(cut) > size and cut[size] & 0xC0 == 0x80):
            raise BundleError(f"{path}: model.merges[{i}] does not go with continuing_subword_prefix {prefix!r}")


def growth(part: Any) -> int:
    """Compute how many characters the replacements of a normalizer or decoder may make of one, at most.

    Args:
        part: of `tokenizers`, or None.

    Raises:
        OverflowError: more than are allowed.
    """
    weights: dict[str, int] = {}  # what becomes of a character in the steps that follow; `rest` of all others
    rest = 1
    for node in reversed(list(_nodes(part))):
        kind, pattern = node.get("type"), node.get("pattern")
        text = str(node.get("prepend" if kind == "Prepend" else "content"))
        added = sum(weights.get(letter, rest) for letter in text) if kind in ("Prepend", "Replace") else 0
        replaced = pattern.get("String") if isinstance(pattern, dict) else None
        if kind == "Replace" and replaced:
            for letter in replaced:
                weights[letter] = max(weights.get(letter, rest) if len(replaced) > 1 else 1, -(-added // len(replaced)))
        elif kind == "Replace" and (width := _least_width(str((pattern or {}).get("Regex", "")))):
            rest, weights = max(rest, *weights.values(), -(-added // width), 1), {}
        elif kind in ("Replace", "Prepend"):  # an expression that may match nothing inserts between characters
            rest, weights = added + max(rest, *weights.values(), 1), {}
        elif kind == "Precompiled":
            rest, weights = max(rest, *weights.values(), 1), {}
            _check_charsmap(str(node.get("precompiled_charsmap")))
        elif kind not in ("Sequence", None):  # it may make any character of another
            rest, weights = max(rest, *weights.values(), 1), {}
        if max(rest, *weights.values(), 1) > _MAX_GROWTH:
            raise OverflowError(f"it may make more than {_MAX_GROWTH} characters of one")
    return max(rest, *weights.values(), 1)


def _least_width(expression: str) -> int:
    """Compute how many characters an expression matches at least; 0 where that is not known."""
    plain = re.sub(r"\\x{([0-9a-fA-F]{1,6})}", lambda code: f"\\U{int(code[1], 16):08x}", expression)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # widths that the compiler of Python's own expressions computes; a form of Oniguruma's is no error here
            return int(re._parser.parse(plain).getwidth()[0])  # type: ignore[attr-defined]
    except Exception:
        return 0


def _check_charsmap(encoded: str) -> None:
    """Raise OverflowError where the table has a replacement that is long. After its trie they end with null bytes."""
    table = base64.b64decode(encoded)
    trie = int.from_bytes(table[:4], "little")
    if max(map(len, table[4 + trie :].split(b"\0"))) > 4 * _MAX_GROWTH:
        raise OverflowError(f"it may make more than {_MAX_GROWTH} characters of one")


def _nodes(part: Any) -> Iterator[dict[str, Any]]:
    """Walk through a part and the parts in it, in their order."""
    try:
        state = None if part is None else json.loads(part.__getstate__())
    except Exception:  # a part written in Python has no state to read, and does not come from a file
        return
    left = [state]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            node = [child for child in node.values() if isinstance(child, (dict, list))]
        left += reversed(node) if isinstance(node, list) else []
