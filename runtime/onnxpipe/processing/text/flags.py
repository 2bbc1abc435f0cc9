"""Apply flags of `tokenizer_config.json` to the parts of a backend: lower-casing, accents, leading spaces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class _Place(NamedTuple):
    """Where a flag is stored: a part of the backend, the types of nodes that have it, and its name there."""

    part: str
    kinds: tuple[str, ...]
    key: str


FLAGS: Mapping[str, tuple[_Place, ...]] = {
    "do_lower_case": (_Place("normalizer", ("BertNormalizer",), "lowercase"),),
    "strip_accents": (_Place("normalizer", ("BertNormalizer",), "strip_accents"),),
    "tokenize_chinese_chars": (_Place("normalizer", ("BertNormalizer",), "handle_chinese_chars"),),
    "add_prefix_space": (
        _Place("pre_tokenizer", ("ByteLevel",), "add_prefix_space"),
        _Place("post_processor", ("RobertaProcessing",), "add_prefix_space"),
    ),
    "trim_offsets": (_Place("post_processor", ("ByteLevel", "RobertaProcessing"), "trim_offsets"),),
}


def apply_flags(backend: Any, flags: Mapping[str, Any]) -> set[str]:
    """Set `flags` in the backend's parts, wherever a part has such a setting; return the flags that were set."""
    states: dict[str, Any] = {}
    placed, changed = set(), set()
    for flag, value in flags.items():
        for part, kinds, key in FLAGS[flag]:
            if part not in states:
                states[part] = _state(getattr(backend, part))
            found, differs = _set(states[part], kinds, key, value)
            if found:
                placed.add(flag)
            if differs:
                changed.add(part)
    for part in changed:
        setattr(backend, part, _built(part, states[part]))
    return placed


def _state(part: Any) -> Any:
    try:
        return None if part is None else json.loads(part.__getstate__())
    except Exception:  # a part written in Python has no state to read: it has no flags either
        return None


def _set(node: Any, kinds: tuple[str, ...], key: str, value: Any) -> tuple[bool, bool]:
    """Set `key` in every node of `kinds`; return whether there was one, and whether any value changed."""
    found = differs = False
    if isinstance(node, dict):
        if node.get("type") in kinds:
            found, differs = True, node.get(key) != value
            node[key] = value
        children = [child for child in node.values() if isinstance(child, (dict, list))]
    else:
        children = node if isinstance(node, list) else []
    for child in children:
        below = _set(child, kinds, key, value)
        found, differs = found or below[0], differs or below[1]
    return found, differs


def _built(part: str, state: Any) -> Any:
    """Build a part from its state: the library reads parts only inside a whole tokenizer."""
    from tokenizers import Tokenizer

    whole = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}, part: state}
    return getattr(Tokenizer.from_str(json.dumps(whole)), part)
