"""Mutate bytes, texts and JSON values: small changes at random places, drawn from a seeded generator."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 10_000, 100_000)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 510, 2**31, -(2**31), 2**63, 10**30, 10**400, 0.5, -0.0, 1e-30,
    1e308, float("inf"),
    "", "a", "0", "-1", "1e9", "\0", "\ud800", "\N{FULL BLOCK}" * 300, "..", "/etc/passwd", "../x", "x" * 5000,
    "tokenizer.json",
    "{{ 7 }}", "((((a", "[UNK]", "<s>", "\x1b[2J", [], {}, [[]], [{}], {"": {}}, [0], [None], ["a", 1], {"a": 1},
    {"type": "x"},
    [0] * 1000, {"type": "array"}, {"$ref": "#"},
)  # fmt: skip
_PIECES = ("\0", "\n", "\r", "\r\n", '"', "'", ",", ";", "\t", "|", "\\", "\ufeff", "\u2028", "\u202e", "\x1b[2J",
"{", "}", "[", "]",
           "{%", "%}", "{{", "}}", "é", "\U0001f600", "9" * 400, "(" * 200, "a" * 3000)  # fmt: skip


def mutate_bytes(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change one to eight places of a file: bits, bytes, numbers, pieces cut out, doubled, moved or foreign."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 5, 8))):
        _change(random, out, random.choice(others))
    return bytes(out)


def _change(random: Random, out: bytearray, other: bytes) -> None:
    if not out:
        out += random.randbytes(random.randrange(1, 64))
        return
    # half of the places are in the beginning, where the headers are
    at = random.randrange(min(len(out), 128) if random.random() < 0.5 else len(out))
    size = min(len(out) - at, 1 << random.randrange(10))
    match random.randrange(10):
        case 0 | 1:
            out[at] ^= 1 << random.randrange(8)
        case 2:
            out[at] = random.randrange(256)
        case 3 | 4:
            width = random.choice((1, 2, 4, 8))
            number = random.choice(_NUMBERS) % (1 << 8 * width)
            out[at : at + width] = number.to_bytes(width, random.choice(("little", "big")))
        case 5:
            del out[at : at + size]
        case 6:
            out[at:at] = out[at : at + size] * random.choice((1, 1, 2, 50))
        case 7:
            start = random.randrange(len(other) or 1)
            out[at : at + random.choice((0, size))] = other[start : start + size]
        case 8:
            del out[at:]
        case _:
            out[at:at] = random.randbytes(random.randrange(1, 16))


def mutate_text(random: Random, text: str, pieces: Sequence[str] = ()) -> str:
    """Change one to five places of a text: pieces put in, cut out, doubled, or swapped with one of `pieces`."""
    known = (*_PIECES, *pieces * 3) if pieces else _PIECES
    for _ in range(random.choice((1, 1, 2, 3, 5))):
        at = random.randrange(len(text) + 1)
        size = 1 << random.randrange(7)
        match random.randrange(5):
            case 0 | 1:
                text = text[:at] + random.choice(known) + text[at:]
            case 2:
                text = text[:at] + text[at + size :]
            case 3:
                text = text[:at] + text[at : at + size] * random.choice((2, 3, 40)) + text[at + size :]
            case _:
                text = text[:at] + random.choice(known) + text[at + size :]
    return text[:100_000]


def mutate_json(random: Random, value: Any, others: Sequence[Any] = ()) -> Any:
    """Change one to four places of a JSON value: values swapped for others, keys dropped or renamed."""
    value = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            return random.choice(_VALUES)
        holder, key = random.choice(places)
        match random.randrange(8):
            case 0 | 1 | 2:
                holder[key] = copy.deepcopy(random.choice(_VALUES))
            case 3:
                del holder[key]
            case 4:
                there, name = random.choice(
                    list(_places(random.choice(others) if others else value)) or [(holder, key)]
                )
                holder[key] = copy.deepcopy(there[name])
            case 5:
                holder[key] = _near(random, holder[key])
            case 6 if isinstance(holder, dict):
                holder[random.choice([k for h, k in places if isinstance(h, dict)])] = holder.pop(key)
            case _:
                holder[key] = [holder[key]] if random.random() < 0.5 else {"type": holder[key]}
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """List every (container, key) in a JSON value, outermost first; at most 5,000."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    for holder in todo:
        pairs = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, inner in pairs:
            found.append((holder, key))
            todo.append(inner)
        if len(found) > 5_000:
            break
    return found


def _near(random: Random, value: Any) -> Any:
    """Change a value a little, so that its type stays."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = float(value) if abs(value) < 2**1000 else 0.0
        return random.choice((value + 1, value - 1, -value, value * 2, value * 1000, near, str(value)))
    if isinstance(value, float):
        return random.choice((-value, value * 1e30, int(value) if abs(value) < 1e18 else 0, str(value)))
    if isinstance(value, str):
        return mutate_text(random, value)
    if isinstance(value, (list, tuple)):  # a tuple where a dict has become pairs
        return random.choice((value[:-1], value * 2, value[::-1], {str(i): each for i, each in enumerate(value)}))
    return [value] if value is None else list(value.items())


def dump(value: Any) -> bytes:
    """Write JSON as Python does: with lone surrogates escaped, and Infinity."""
    return json.dumps(value).encode()
