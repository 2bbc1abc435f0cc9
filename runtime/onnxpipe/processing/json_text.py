"""JSON that users write: rows of tables, inputs of the command line, requests."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str, *, strict: bool = False) -> Any:
    """Parse JSON whose objects have each key once.

    Args:
        text: the JSON.
        strict: refuse NaN and Infinity, which Python reads and JSON lacks.

    Raises:
        ValueError: it is not JSON, nested too deeply, or an object has a key twice, of which Python keeps the last.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number if strict else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice in an object")
    return found
