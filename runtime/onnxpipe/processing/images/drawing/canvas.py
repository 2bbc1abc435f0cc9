"""Draw labels, legends and bars, in colours that are easy to distinguish and sizes that suit the image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.processing.images.io.pillow import import_pillow

import_pillow()  # if Pillow is missing, this error has the line to install it

from PIL import Image, ImageDraw, ImageFont  # noqa: E402

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
"""left, top, right, bottom"""

#: Colours that are easy to distinguish on most images, the first ones best.
_PALETTE: tuple[Colour, ...] = (
    (255, 59, 92), (0, 178, 255), (255, 182, 18), (43, 205, 105), (170, 96, 255), (255, 122, 26), (24, 214, 196),
    (244, 98, 192), (190, 222, 20), (92, 124, 255), (205, 138, 88), (150, 168, 190),
)  # fmt: skip
_GOLDEN = 0.618033988749895
#: A gradient from dark to light, in which every step is visible (after matplotlib's "inferno").
_HEAT = ((0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51), (249, 140, 10),
         (249, 201, 50), (252, 255, 164))  # fmt: skip
#: A gradient from a low score to a high one.
_CONFIDENCE = ((255, 59, 92), (255, 182, 18), (43, 205, 105))

INK: Colour = (18, 20, 24)
PAPER: Colour = (255, 255, 255)
#: The background of strips.
SLATE: Colour = (27, 30, 36)
_FAINT: Colour = (62, 67, 78)

#: Fonts to try for text beyond ASCII, which Pillow's own font does not have: names on Linux, Windows and macOS.
_FONTS = (
    "NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "msyh.ttc", "seguisym.ttf", "arialuni.ttf",
    "Arial Unicode.ttf", "PingFang.ttc",
)  # fmt: skip
#: Images whose long side is below this are enlarged before anything is drawn.
_SMALL = 480


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes in pixels that suit an image.

    Attributes:
        text: height of a line's letters.
        line: width of a line.
        gap: room around text.
    """

    text: int
    line: int
    gap: int

    @classmethod
    def of(cls, size: tuple[int, int]) -> Scale:
        """Compute the sizes for an image of (width, height)."""
        side = (size[0] * size[1]) ** 0.5
        text = max(12, round(side / 36))
        return cls(text, max(2, round(side / 190)), max(3, round(text * 0.35)))


def enlarged(image: Image.Image) -> tuple[Image.Image, int]:
    """Enlarge an image so that text in it can be read; return it with the factor."""
    times = max(1, -(-_SMALL // max(image.size)))
    if times == 1:
        return image, 1
    return image.resize((image.width * times, image.height * times), Image.Resampling.BICUBIC), times


def colour(number: int) -> Colour:
    """Return the colour of a number from 0 on."""
    if number < len(_PALETTE):
        return _PALETTE[number]
    # Steps of the golden ratio never come close to an earlier hue; brightness varies as well.
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, (0.55, 0.75, 0.95)[number % 3], (1, 0.85)[number % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


def heat(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Map values (…) from 0 (dark) to 1 (light) to colours (…, 3)."""
    return _gradient(values, _HEAT)


def confidence(score: float) -> Colour:
    """Return the colour of a score from 0 to 1."""
    red, green, blue = (int(part) for part in _gradient(np.asarray(score), _CONFIDENCE))
    return red, green, blue


def _gradient(values: NDArray[Any], stops: Sequence[Colour]) -> NDArray[np.uint8]:
    places = np.clip(np.nan_to_num(values), 0, 1) * (len(stops) - 1)
    parts = [np.interp(places, np.arange(len(stops)), channel) for channel in zip(*stops)]
    return np.asarray(np.rint(np.stack(parts, -1)), np.uint8)


def ink_on(background: Colour) -> Colour:
    """Choose black or white text, whichever is easier to read on a colour (W3C's relative luminance)."""
    red, green, blue = ((part / 255) ** 2.2 for part in background)
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.3 else PAPER


@lru_cache(maxsize=32)
def _font(size: int, plain: bool) -> Any:
    for name in () if plain else _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def font_for(text: str, size: int) -> Any:
    """Find a font that has the letters of a text, as far as this machine has one."""
    return _font(size, text.replace("…", "").isascii())


def width_of(text: str, size: int) -> float:
    """Measure the width of a text in pixels."""
    return float(font_for(text, size).getlength(text))


def fitted(text: str, size: int, room: float) -> str:
    """Put a text on one line, cut to at most `room` pixels."""
    text = " ".join(text.split())
    if width_of(text, size) <= room:
        return text
    while text and width_of(text + "…", size) > room:
        text = text[:-1]
    return text + "…"


def write(canvas: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, fill: Colour) -> None:
    """Write text whose left end is at `place`, with the middle of its capitals at that height."""
    canvas.text(place, text, fill=fill, font=font_for(text, size), anchor="lm")


def chip_size(text: str, scale: Scale) -> tuple[float, float]:
    """Compute the width and height of a label with a background."""
    return width_of(text, scale.text) + 2 * scale.gap, scale.text + 1.3 * scale.gap


def draw_chip(canvas: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, scale: Scale, fill: Colour) -> None:
    """Draw a label with a filled background, its top left at `corner`."""
    wide, high = chip_size(text, scale)
    left, top = corner
    canvas.rounded_rectangle((left, top, left + wide, top + high), radius=scale.gap * 0.7, fill=fill)
    write(canvas, (left + scale.gap, top + high / 2), text, scale.text, ink_on(fill))


class Places:
    """Find room for labels: inside the image, and not over each other if possible."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._taken: list[Box] = []

    def near(self, wanted: Sequence[tuple[float, float]], size: tuple[float, float]) -> tuple[float, float]:
        """Return the first of the corners where a label covers no other, or else the one where it covers least."""
        corners = [self._inside(corner, size) for corner in wanted]
        covered = [sum(_shared((*corner, corner[0] + size[0], corner[1] + size[1]), box) for box in self._taken)
                   for corner in corners]  # fmt: skip
        best = corners[int(np.argmin(covered))]
        self._taken.append((*best, best[0] + size[0], best[1] + size[1]))
        return best

    def _inside(self, corner: tuple[float, float], size: tuple[float, float]) -> tuple[float, float]:
        left, top = (max(0.0, min(at, whole - part)) for at, whole, part in zip(corner, self._size, size))
        return left, top


def _shared(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a legend; without a colour it is a remark."""

    text: str
    colour: Colour | None


def with_legend(image: Image.Image, entries: Sequence[Entry], scale: Scale) -> Image.Image:
    """Add a strip below an image that explains its colours."""
    if not entries:
        return image
    step, swatch = round(scale.text * 1.7), round(scale.text * 0.9)
    margin = scale.text
    places, x, y = [], margin, margin
    texts = [fitted(entry.text, scale.text, image.width - 2 * margin - 1.5 * swatch) for entry in entries]
    for entry, text in zip(entries, texts):
        wide = (1.5 * swatch if entry.colour else 0) + width_of(text, scale.text)
        if x > margin and x + wide > image.width - margin:
            x, y = margin, y + step
        places.append((x, y))
        x += round(wide + 1.4 * scale.text)
    whole, canvas = _with_strip(image, y + swatch + margin)
    for entry, text, (left, top) in zip(entries, texts, places):
        top += image.height
        if entry.colour:
            canvas.rounded_rectangle((left, top, left + swatch, top + swatch), radius=swatch * 0.25, fill=entry.colour)
            left += round(1.5 * swatch)
        write(canvas, (left, top + swatch / 2), text, scale.text, PAPER)
    return whole


def with_bars(image: Image.Image, rows: Sequence[tuple[str, float]], scale: Scale) -> Image.Image:
    """Add a strip below an image: a line for each label, with its score as a bar and as a number."""
    margin, step = scale.text, round(scale.text * 1.75)
    numbers = [percent(score) for _, score in rows]
    number_room = max((width_of(number, scale.text) for number in numbers), default=0)
    room = image.width - 2 * margin - number_room - 2 * scale.gap
    longest = max((width_of(label, scale.text) for label, _ in rows), default=0)
    label_room = min(longest, room * 0.62)
    whole, canvas = _with_strip(image, len(rows) * step + 2 * margin - (step - scale.text))
    left = margin + label_room + 2 * scale.gap
    right = image.width - margin - number_room - 2 * scale.gap
    for place, ((label, score), number) in enumerate(zip(rows, numbers)):
        middle = image.height + margin + place * step + scale.text / 2
        write(canvas, (margin, middle), fitted(label, scale.text, label_room), scale.text, PAPER)
        write(canvas, (image.width - margin - width_of(number, scale.text), middle), number, scale.text, PAPER)
        thick = scale.text * 0.28
        if right - left > 4 * thick:
            bar = (left, middle - thick, right, middle + thick)
            canvas.rounded_rectangle(bar, radius=thick, fill=_FAINT)
            end = left + (right - left) * min(max(score, 0.0), 1.0)
            if end >= left + 1:
                canvas.rounded_rectangle((*bar[:2], end, bar[3]), radius=min(thick, (end - left) / 2), fill=_PALETTE[1])
    return whole


def _with_strip(image: Image.Image, height: float) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    whole = Image.new("RGB", (image.width, image.height + round(height)), SLATE)
    whole.paste(image, (0, 0))
    return whole, ImageDraw.Draw(whole)


def beside(first: Image.Image, second: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
    """Place two images side by side, or one below the other if they are wide; return the second one's corner too."""
    gap = max(2, round(max(first.size) / 160))
    if first.width + second.width > 4.2 * max(first.height, second.height):
        size, corner = (max(first.width, second.width), first.height + gap + second.height), (0, first.height + gap)
    else:
        size, corner = (first.width + gap + second.width, max(first.height, second.height)), (first.width + gap, 0)
    whole = Image.new("RGB", size, SLATE)
    whole.paste(first, (0, 0))
    whole.paste(second, corner)
    return whole, corner


def percent(score: float) -> str:
    """Format a score for people to read."""
    if 0 < score < 0.0005:
        return "<0.1%"
    return f"{score:.1%}" if 0 < score < 0.0995 else f"{score:.0%}"
