"""Write a count as English words: 1204 is "one thousand, two hundred and four"."""

from __future__ import annotations

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def count_words(count: int) -> str:
    """Write a number from 0 to 999,999 as words."""
    thousands, rest = divmod(count, 1000)
    if not thousands:
        return _below_thousand(rest)
    if not rest:
        return f"{_below_thousand(thousands)} thousand"
    return f"{_below_thousand(thousands)} thousand{' and' if rest < 100 else ','} {_below_thousand(rest)}"


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    if not hundreds:
        return _below_hundred(rest)
    return f"{_SMALL[hundreds]} hundred" + (f" and {_below_hundred(rest)}" if rest else "")


def _below_hundred(number: int) -> str:
    if number < 20:
        return _SMALL[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_SMALL[ones]}" if ones else "")
