"""What a chat template may cost: work and memory, charged before it is spent.

Templates come with models, so they are untrusted. A unit of work is about a microsecond on a processor of today; it is
counted, not timed, so that the same template ends in the same place everywhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import GeneratorType
from typing import Any

from jinja2.utils import Namespace

from onnxpipe.errors import BundleError

MAX_WORK = 1_000_000
"""The most units of work of one rendering: about a second, a hundred times what a long chat needs."""

MAX_TEXT = 1 << 23
"""The most characters of any text that a template builds, the rendered text included."""

MAX_MEMORY = 1 << 28
"""The most bytes of all that a template builds, together."""

MAX_ITEMS = 1 << 18
"""The most items of a list that a template builds, and the most values that one operation may walk through."""

_MAX_NUMBER = 1 << 16
"""The greatest width, indentation or number of parts."""

_MAX_BITS = 4096
_CODECS = frozenset({"utf8", "utf-8", "ascii", "latin-1", "latin1"})

Span = tuple[int, int]


@dataclass
class Run:
    """The state of one rendering: what it has used, and the spans found."""

    work: int = 0
    memory: int = 0
    length: int = 0
    printed: int = 0
    track: bool = False
    spans: list[Span] = field(default_factory=list)


RUN: ContextVar[Run] = ContextVar("onnxpipe_chat_run")


def stopped(why: str) -> BundleError:
    """Build the error of a template that goes beyond a limit."""
    return BundleError(f"the chat template was stopped: {why}")


def too_large(what: str) -> BundleError:
    """Build the error of a text that is too long."""
    return stopped(f"{what} would have more than {MAX_TEXT} characters")


def charge(work: int) -> None:
    """Count units of work."""
    run = RUN.get()
    run.work += 1 + work
    if run.work > MAX_WORK:
        raise BundleError(f"the chat template was stopped after {MAX_WORK} units of work: it may never end")


def made(value: Any) -> Any:
    """Count the memory of a value that was built, and return it."""
    size = 0
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise too_large("a text of its own")
        size = sys.getsizeof(value)
    elif isinstance(value, (bytes, bytearray)):
        size = len(value)
    elif isinstance(value, (list, tuple, dict, set)):
        if len(value) > MAX_ITEMS:
            raise stopped(f"it builds a list of more than {MAX_ITEMS} items")
        size = 100 * len(value)
    elif isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise stopped(f"it computes integers larger than {_MAX_BITS} bits")
    run = RUN.get()
    run.memory += size
    if run.memory > MAX_MEMORY:
        raise stopped(f"it builds more than {MAX_MEMORY >> 20} MiB of texts and lists")
    return value


def size_of(*values: Any) -> int:
    """Count the characters and items of values, with all that is in them, as often as it is there; charge for them."""
    total = walked = 0
    left = list(values)
    while left:
        value = left.pop()
        walked += 1
        if isinstance(value, (str, bytes, bytearray)):
            total += len(value)
            continue
        if isinstance(value, Namespace):  # its text shows what is in it
            value = object.__getattribute__(value, "_Namespace__attrs")
        if isinstance(value, Mapping):
            items: list[Any] = [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            items = list(value)
        elif isinstance(value, range):
            total, walked = total + 8 * len(value), walked + len(value)
            continue
        else:
            total += len(str(value)) if isinstance(value, (int, float)) else 64
            continue
        total += 8 * len(items)
        left += items
        if walked + len(left) > MAX_ITEMS:
            raise stopped(f"it works on more than {MAX_ITEMS} values at once")
    charge(walked // 2 + total // 512)
    return total


def check_binary(operator: str, left: Any, right: Any) -> None:
    """Charge for an arithmetic operation, and raise if its result would be huge."""
    charge((long_of(left) + long_of(right)) // 512)
    if operator == "+" and _sized(left) and _sized(right):
        _check_length(left, len(left) + len(right))
    elif operator == "*":
        for many, times in ((left, right), (right, left)):
            if _sized(many) and isinstance(times, int):
                _check_length(many, len(many) * times)
    elif operator == "%" and isinstance(left, (str, bytes)):
        _check_format(left, right if isinstance(right, (tuple, dict)) else (right,), "%")
    if isinstance(left, int) and isinstance(right, int) and operator in ("*", "**"):
        bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
        if bits > _MAX_BITS:
            raise stopped(f"it computes integers larger than {_MAX_BITS} bits")


def check_method(owner: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Charge for a method of a text, a list, ... or a filter of that name, and raise if its result would be huge.

    Args:
        owner: the text, the list, ...; of a filter its first argument.
        name: the method or filter.
        args, kwargs: its (further) arguments.

    Returns:
        The arguments, with items that come one by one as a list.
    """
    args = tuple(_listed(value) if isinstance(value, GeneratorType) else value for value in args)
    values = (*args, *kwargs.values())
    if any(isinstance(value, int) and abs(value) > _MAX_NUMBER for value in values) and name in _NUMBERED:
        raise stopped(f"a number given to {name} is larger than {_MAX_NUMBER}")
    if name in _SHALLOW:
        charge(long_of(owner) // (64 if isinstance(owner, (str, bytes)) else 8))
        return args
    size = size_of(owner, *values)
    charge(size // 32)  # slower than a comparison
    escaped = 1 if type(owner) in (str, bytes, bytearray) else 6  # of Markup: what is put in is escaped
    if isinstance(owner, (str, bytes, bytearray)) or name in _ANY_OWNER:
        grows = _GROWTH.get(name)
        longest = escaped * (grows(owner, args, kwargs) if grows else 4 * size)
        if longest > 4 * MAX_TEXT or (grows and longest > MAX_TEXT):
            raise too_large("a text of its own")
    return args


def listed(value: Any) -> Any:
    """Return the items of a generator as a list, and anything else as it is; raise if there are too many."""
    return _listed(value) if isinstance(value, GeneratorType) else value


def long_of(value: Any) -> int:
    """Count a value's own characters or items."""
    return len(value) if isinstance(value, (str, bytes, bytearray, list, tuple, dict, range)) else 1


def _listed(items: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        found.append(item)
        if len(found) > MAX_ITEMS:
            raise stopped(f"it builds a list of more than {MAX_ITEMS} items")
    made(found)
    return found


def _sized(value: Any) -> bool:
    return isinstance(value, (str, bytes, bytearray, list, tuple))


def _check_length(kind: Any, length: int) -> None:
    if isinstance(kind, (list, tuple)) and length > MAX_ITEMS:
        raise stopped(f"it builds a list of more than {MAX_ITEMS} items")
    if length > MAX_TEXT:
        raise too_large("a text of its own")


def _check_format(text: Any, values: Any, mark: str) -> int:
    """Return the most characters of a formatted text, and raise where that is too many.

    Numbers in the text are widths; so are integers among the values, where the text takes widths from them.
    """
    shown = text.decode("latin-1") if isinstance(text, (bytes, bytearray)) else str(text)
    values = values.values() if isinstance(values, Mapping) else values
    numbers = [len(found) > 6 or int(found) for found in re.findall(r"\d+", shown)]
    if any(number is True for number in numbers):
        raise too_large("a formatted text")
    fields = shown.count(mark)
    # !r and !a show a character by up to ten
    most = max((10 * size_of(value) for value in values), default=0) + 64
    if re.search(r"\*|{[^{}]*{", shown):
        most += max((abs(value) for value in values if isinstance(value, int)), default=0)
    longest = len(shown) + sum(numbers) + fields * most
    if longest > 4 * MAX_TEXT:
        raise too_large("a formatted text")
    return min(longest, MAX_TEXT)


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def _padded(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    return max([long_of(owner), *(value for value in (*args, *kwargs.values()) if isinstance(value, int))])


def _replaced(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    old, new = _argument(args, kwargs, 0, "s", ""), _argument(args, kwargs, 1, "new", "")
    text = owner if isinstance(owner, (str, bytes, bytearray)) else str(owner)
    times = text.count(old) if isinstance(old, type(text)) else len(text) + 1  # type: ignore[arg-type]
    return len(text) + times * max(0, long_of(new) - long_of(old))


def _joined(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    # of the method the owner is between the items; of the filter the owner is the items
    text = isinstance(owner, (str, bytes)) and bool(args)
    items, between = (args[0], owner) if text else (owner, _argument(args, kwargs, 0, "d", ""))
    count = long_of(items)
    return size_of(items) + count * long_of(between)


def _indented(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    width = _argument(args, kwargs, 0, "width", 4)
    lines = len(str(owner).splitlines()) + 1
    return long_of(owner) + lines * (width if isinstance(width, int) else long_of(width))


def _expanded(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    return long_of(owner) * max(1, int(_argument(args, kwargs, 0, "tabsize", 8)))


def _translated(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    table = args[0] if args else {}
    values = table.values() if isinstance(table, Mapping) else table if isinstance(table, (list, tuple)) else ()
    return long_of(owner) * max((long_of(value) for value in values), default=1)


def _formatted(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    values = [*args, *kwargs.values()]
    return _check_format(owner, values, "{")


def _percented(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    return _check_format(owner, [*args, *kwargs.values()], "%")


def _pieces(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    between = _argument(args, kwargs, 0, "sep", None)
    count = owner.count(between) if isinstance(between, type(owner)) and between else len(owner) // 2
    if count >= MAX_ITEMS:
        raise stopped(f"it builds a list of more than {MAX_ITEMS} items")
    charge(count // 16)
    made([None] * count)
    return len(owner)


def _searched(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Charge for a search that may compare every character of one text with every character of the other."""
    wanted = args[0] if args else kwargs.get("sep", "")
    charge(len(owner) * (long_of(wanted) if _sized(wanted) else 1) // 1024)
    return len(owner)


def _backwards(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    _searched(owner, args, kwargs)
    return _pieces(owner, args, kwargs)


def _slowly(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Charge for what looks at a text word by word, and keeps the words."""
    charge(long_of(owner) // 4)
    return 3 * long_of(owner)


def _encoded(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    codec = _argument(args, kwargs, 0, "encoding", "utf-8")
    if str(codec).lower() not in _CODECS or _argument(args, kwargs, 1, "errors", "strict") != "strict":
        raise stopped(f"it encodes a text in {str(codec)[:40]!r}, or with a handler of errors")
    return 4 * len(owner)


def _as_json(owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    indent = _argument(args, kwargs, 1, "indent", None)
    step = indent if isinstance(indent, int) else long_of(indent) if indent is not None else 0
    size = 12 * size_of(owner)  # a control character is shown by six, an astral one by twelve
    return size // 6 if step <= 0 else size // 6 + size // 8 * step


_Growth = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], int]

_GROWTH: Mapping[str, _Growth] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    **dict.fromkeys(("find", "index", "count", "strip", "lstrip", "rstrip", "trim", "rfind", "rindex", "rpartition"),
                    _searched),
    **dict.fromkeys(("encode", "decode"), _encoded),
    **dict.fromkeys(("striptags", "title", "urlencode", "wordcount"), _slowly),
    "expandtabs": _expanded,
    "format": _formatted,
    "format_map": _formatted,
    "format filter": _percented,
    "indent": _indented,
    "join": _joined,
    "replace": _replaced,
    "rsplit": _backwards,
    "split": _pieces,
    "splitlines": _pieces,
    "tojson": _as_json,
    "translate": _translated,
}  # fmt: skip
"""The most characters of the result, of methods and filters that may make more than a few times what they get."""

_ANY_OWNER = frozenset({"join", "tojson", "indent", "replace", "center", "format filter", "string", "trim"})
_NUMBERED = frozenset(
    {"batch", "center", "expandtabs", "indent", "ljust", "rjust", "slice", "to_bytes", "tojson", "truncate", "wordwrap",
     "zfill", "round"}
)  # fmt: skip
_SHALLOW = frozenset(
    {"abs", "append", "attr", "batch", "copy", "d", "default", "defined", "endswith", "even", "false", "first",
     "float", "get", "int", "integer", "items", "iterable", "keys", "last", "length", "list", "map", "mapping", "none",
     "number", "odd", "random", "reject", "rejectattr", "reverse", "round", "safe", "select", "selectattr", "sequence",
     "slice", "startswith", "string test", "true", "undefined", "values", "boolean", "filter", "test", "callable",
     "sameas", "lower", "upper", "escaped", "divisibleby"}
)  # fmt: skip
"""Methods, filters and tests that do not look into the items of what they get, or work on a text once."""
