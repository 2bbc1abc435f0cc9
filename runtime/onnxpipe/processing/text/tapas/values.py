"""Find the numbers and dates in texts, and compare them, as TAPAS was trained with them.

Source: the paper (arXiv:2004.02349) and its authors' code, which transformers' tokenizer follows; so does this module,
with English names of months whatever the locale is.
"""

from __future__ import annotations

import calendar
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

#: Year, month and day, of which some may be None.
Date = tuple[int | None, int | None, int | None]
#: What a text says: a number or a date.
Value = float | Date
SortKey = Callable[[Value], tuple[float, ...]]

_NUMBER = re.compile(r"((^|\s)[+-])?(\.\d+|\d+(,\d\d\d)*(\.\d*)?)")
_WORD = re.compile(r"[^\W_]+")
_ORDINAL_SUFFIXES = ("st", "nd", "rd", "th")
_CARDINALS = "zero one two three four five six seven eight nine ten eleven twelve"
_ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_NUMBER_WORDS = {word: float(n) for words in (_CARDINALS, _ORDINALS) for n, word in enumerate(words.split())}

_MONTH_NAMES = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
]  # fmt: skip
_MONTHS = {name: n for n, full in enumerate(_MONTH_NAMES, 1) for name in (full, full[:3])}
_MONTH = f"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})"
_FULL_MONTH = f"(?P<month>{'|'.join(_MONTH_NAMES)})"
_MONTH_NUMBER = r"(?P<month>1[0-2]|0[1-9]|[1-9])"
_DAY = r"(?P<day>3[01]|[12]\d|0[1-9]|[1-9])"
_YEAR = r"(?P<year>\d{4})"
_WEEKDAY = "(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        _FULL_MONTH,
        f"{_YEAR}s?",
        rf"{_MONTH}\s+{_YEAR}",
        rf"{_MONTH}\s+{_DAY}",
        rf"{_DAY}\s+{_MONTH}",
        rf"{_MONTH}\s+{_DAY},\s+{_YEAR}",
        rf"{_DAY}\s+{_MONTH}\s+{_YEAR}",
        f"{_MONTH_NUMBER}-{_DAY}-{_YEAR}",
        f"{_YEAR}-{_MONTH_NUMBER}(?:-{_DAY})?",
        rf"{_DAY}\.{_MONTH_NUMBER}\.{_YEAR}",
        rf"{_WEEKDAY},\s+{_MONTH}\s+{_DAY}",
    )
)
_DATE_WORDS = 5
_FIRST_YEAR, _LAST_YEAR = 1700, 2016
#: A date without a year is checked as one of this year, which is no leap year.
_SOME_YEAR = 1900

#: The share of a column's cells that must have a value for the column to be comparable.
_MIN_SHARE = 0.7


def values_of(text: str) -> list[Value]:
    """Find the numbers and dates of a text, from left to right; of values within others only the longest."""
    text = " ".join(text.lower().split())
    spans: dict[tuple[int, int], list[Value]] = {}
    for match in _NUMBER.finditer(text):
        number = _number(match[0])
        if number is not None:
            spans[match.span()] = [number]
    words = [match.span() for match in _WORD.finditer(text)]
    for span in words:
        number = _number(text[slice(*span)], _NUMBER_WORDS)
        if number is not None and span not in spans:
            spans[span] = [number]
    for span in _runs(words):
        date = _date(text[slice(*span)])
        if date is not None:
            spans.setdefault(span, []).append(date)
    return [value for span in _outermost(spans) for value in spans[span]]


def column_values(cells: Sequence[str]) -> dict[int, Value]:
    """Find the value of each cell of a column that has one, by its row; empty if too few cells have one.

    All are numbers or all are dates, whatever more cells have.
    """
    found = [values_of(cell) for cell in cells]
    counts = Counter(kind for values in found for kind in {_is_date(value) for value in values})
    most = max(counts.values(), default=0)
    if not most or most < len(cells) * _MIN_SHARE:
        return {}
    dates = counts[True] == most
    firsts = (next((value for value in values if _is_date(value) is dates), None) for values in found)
    return {row: value for row, value in enumerate(firsts) if value is not None}


def sort_key(values: Sequence[Value]) -> SortKey | None:
    """Return a function by which values compare: dates by the parts that all of them have.

    Returns:
        None if they do not compare: numbers with dates, or dates with no part in common.
    """
    kinds = {_is_date(value) for value in values}
    if kinds == {False}:
        return lambda value: (value,) if isinstance(value, float) else ()
    if kinds != {True}:
        return None
    parts = [i for i in range(3) if all(isinstance(value, tuple) and value[i] is not None for value in values)]
    if not parts:
        return None
    return lambda value: tuple(float(value[i] or 0) for i in parts) if isinstance(value, tuple) else ()


def _is_date(value: Value) -> bool:
    return isinstance(value, tuple)


def _number(text: str, words: dict[str, float] | None = None) -> float | None:
    """Read a number: digits, with commas and an ordinal's suffix, or one of `words`; None for any other text."""
    if words is not None and text in words:
        return words[text]
    suffix = next((each for each in _ORDINAL_SUFFIXES if text.endswith(each)), "")
    try:
        number = float(text.removesuffix(suffix).replace(",", ""))
    except ValueError:
        return None
    return None if math.isnan(number) or number == math.inf else number


def _runs(words: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """List the spans of up to five words that follow each other."""
    for last, (_, end) in enumerate(words):
        for first in range(max(0, last + 1 - _DATE_WORDS), last + 1):
            yield words[first][0], end


def _date(text: str) -> Date | None:
    """Read a date of the years 1700 to 2016; None for any other text."""
    for pattern in _DATES:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        groups = match.groupdict()
        year, month, day = (groups.get(name) for name in ("year", "month", "day"))
        date = (
            None if year is None else int(year),
            None if month is None else _MONTHS.get(month) or int(month),
            None if day is None else int(day),
        )
        if _exists(*date):
            return date
    return None


def _exists(year: int | None, month: int | None, day: int | None) -> bool:
    if year is not None and not _FIRST_YEAR <= year <= _LAST_YEAR:
        return False
    return day is None or day <= calendar.monthrange(year or _SOME_YEAR, month or 1)[1]


def _outermost(spans: dict[tuple[int, int], list[Value]]) -> list[tuple[int, int]]:
    """Sort spans from left to right, and leave out those that lie within another."""
    kept: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or end > kept[-1][1]:
            kept.append((start, end))
    return kept
