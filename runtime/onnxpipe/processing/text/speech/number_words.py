"""Spell numbers in a text out as English words: "$5.20" is "five point two zero dollars".

Source: the number normalizer of SpeechT5's tokenizer in transformers 5.23, whose oddities are kept, so that a text
becomes the same tokens. (Thousands are joined by a blank, "hundred" is followed by "and", a lone zero has no word.)
"""

from __future__ import annotations

import re

_SMALL = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_GROUPS = (
    "", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion", "sextillion", "septillion",
    "octillion", "nonillion", "decillion",
)  # fmt: skip
_CURRENCIES = {
    "$": "dollars", "€": "euros", "£": "pounds", "¢": "cents", "¥": "japanese yen", "﷼": "saudi riyal",
    "₹": "indian rupees", "₽": "russian rubles", "฿": "thai baht", "₺": "turkish liras", "₴": "ukrainian hryvnia",
    "₣": "swiss francs", "₡": "costa rican colon", "₱": "philippine peso", "₪": "israeli shekels",
    "₮": "mongolian tögrög", "₩": "south korean won", "₦": "nigerian naira", "₫": "vietnamese Đồng",
}  # fmt: skip
_SYMBOLS = "$€£¢¥₹₽฿₺₴₣₡₱₪₮₩₦₫﷼"
"""The symbols, in the order in which a number may have them."""
_NUMBER = re.compile(r"(?<!\w)(-?" + "".join(f"{re.escape(s)}?" for s in _SYMBOLS) + r"\d+(?:\.\d{1,2})?%?)(?!\w)")


def spell_numbers(text: str) -> str:
    """Replace the numbers of a text by words, and runs of blanks by one blank."""
    text = re.sub(r"\d+,\d+", lambda match: match[0].replace(",", ""), text)
    return re.sub(" +", " ", _NUMBER.sub(lambda match: _spell(match[1]), text))


def _spell(number: str) -> str:
    """Spell a number with its sign, currency and percent sign."""
    whole, point, decimals = number.partition(".")
    decimals = decimals if point else "00"
    currency = ""
    unsigned = whole.removeprefix("-")
    for symbol, name in _CURRENCIES.items():
        if unsigned.startswith(symbol):
            currency = f" {name}"
            whole = whole[: len(whole) - len(unsigned)] + unsigned.removeprefix(symbol)
            break
    minus = "minus " if whole.startswith("-") else ""
    whole = whole.removeprefix("-")
    percent = " percent" if "%" in whole + decimals else ""
    words = _whole(whole.replace("%", ""))
    decimals = decimals.replace("%", "")
    if decimals != "00":
        words += " point " + " ".join(_digit(int(digit)) for digit in decimals)
    return f"{minus}{words}{percent}{currency}"


def _whole(digits: str) -> str:
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = []
    for start in range(0, len(digits), 3):
        value = int(digits[start : start + 3])  # ValueError where there are two currencies, as the original
        if value:
            group = _GROUPS[(len(digits) - start) // 3 - 1]
            parts.append(f"{_hundreds(value)} {group}" if group else _hundreds(value))
    return " ".join(parts)


def _hundreds(value: int) -> str:
    """Spell a number of 1–999."""
    hundreds, rest = divmod(value, 100)
    parts = [f"{_SMALL[hundreds]} hundred"] if hundreds else []
    if rest:
        parts.append(_below_hundred(rest))
    return " and ".join(parts)


def _below_hundred(value: int) -> str:
    if value < 20:
        return _SMALL[value]
    tens, ones = divmod(value, 10)
    return " ".join(filter(None, (_TENS[tens], _SMALL[ones])))


def _digit(digit: int) -> str:
    return _SMALL[digit] or "zero"
