"""The names of padding and truncation strategies, from every form in which a call may pass them."""

from __future__ import annotations

from typing import Any

PADDING = ("longest", "max_length", "do_not_pad")
TRUNCATION = ("only_first", "only_second", "longest_first", "do_not_truncate")


def padding_strategy(value: Any) -> str:
    """Return "longest", "max_length" or "do_not_pad" for the call's `padding`: a bool, a name, or an enum of names."""
    return _strategy(value, "PaddingStrategy", PADDING, "longest")


def truncation_strategy(value: Any) -> str:
    """Return the name of the call's `truncation`: a bool, None, a name, or an enum of names."""
    return _strategy(value, "TruncationStrategy", TRUNCATION, "longest_first")


def _strategy(value: Any, kind: str, names: tuple[str, ...], default: str) -> str:
    if value is None or value is False:
        return names[-1]
    if value is True:
        return default
    name = getattr(value, "value", value)
    if name not in names:
        raise ValueError(f"{name} is not a valid {kind}, please select one of {list(names)}")
    return str(name)
