"""A receipt that is drawn here, so that every word and its box are known.

    from zoo.documents import receipt
    page = receipt()            # page.image, page.words: (word, (left, top, right, bottom)) in pixels

Drawn with Pillow's own font, which needs no file. Needs Pillow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

#: Lines of the receipt: what stands at the left, and what stands at the right.
LINES = (
    ("CORNER SHOP", ""),
    ("12 Market Street, Springfield", ""),
    ("Receipt 20417", ""),
    ("Date 2026-11-28", "Till 3"),
    ("Coffee beans 500 g", "12.40"),
    ("Oat milk", "2.35"),
    ("Brown bread", "3.80"),
    ("Apples 1.2 kg", "4.56"),
    ("Dark chocolate", "2.90"),
    ("Subtotal", "26.01"),
    ("Tax 7%", "1.82"),
    ("Total", "27.83"),
    ("Card ending 4821", ""),
    ("Thank you for your visit", ""),
)
TOTAL = "27.83"

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Page:
    """A drawn page: the image, and its words with their boxes in pixels, in reading order."""

    image: Image
    words: tuple[tuple[str, Box], ...]

    @property
    def word_boxes(self) -> list[tuple[str, list[int]]]:
        """The words with their boxes in thousandths of the page."""
        width, height = self.image.size
        sides = (width, height, width, height)
        return [(word, [1000 * edge // side for edge, side in zip(box, sides)]) for word, box in self.words]


def receipt(width: int = 800, height: int = 1000, letters: int = 28) -> Page:
    """Draw the receipt in black on white, with letters of that many pixels."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(letters)
    words = []
    for row, (left, right) in enumerate(LINES):
        top = letters * (2 + 2 * row)
        for text, start in ((left, 2.0 * letters), (right, width - 2 * letters - pen.textlength(right, font=font))):
            place = start
            for word in text.split():
                edges = pen.textbbox((place, top), word, font=font)
                pen.text((place, top), word, font=font, fill="black")
                words.append((word, tuple(int(edge) for edge in edges)))
                place += pen.textlength(f"{word} ", font=font)
    return Page(image, tuple(words))
