"""Replace the markers of images in texts by the tokens that the images take up."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnxpipe.errors import ImageError
from onnxpipe.processing.text.chat.control_tokens import unmarked


@dataclass(frozen=True)
class Expanded:
    """A text in which markers were replaced.

    Attributes:
        text: the new text.
        ends: where each marker ended in the old text.
        shifts: by how many characters the text after each marker moved.
    """

    text: str
    ends: Sequence[int] = field(default=())
    shifts: Sequence[int] = field(default=())

    def place(self, old: int) -> int:
        """Return where a character of the old text is in the new one."""
        count = bisect_right(self.ends, old)
        return old + (self.shifts[count - 1] if count else 0)


def expand(texts: Sequence[str], marker: str, replacements: Iterable[str]) -> list[Expanded]:
    """Replace the markers of texts, one after the other, by the replacements; there must be as many of them.

    Markers that are marked as ordinary text (`ControlTokens`) stay.
    """
    left, pattern = iter(replacements), unmarked(marker)
    return [_expanded(text, pattern, left) for text in texts]


def _expanded(text: str, pattern: re.Pattern[str], replacements: Iterator[str]) -> Expanded:
    parts: list[str] = []
    ends: list[int] = []
    shifts: list[int] = []
    last = shift = 0
    for match in pattern.finditer(text):
        new = next(replacements)
        parts += [text[last : match.start()], new]
        last = match.end()
        shift += len(new) - len(match.group())
        ends.append(last)
        shifts.append(shift)
    return Expanded("".join([*parts, text[last:]]), ends, shifts)


def count(text: str, token: str) -> int:
    """Count a token in a text, where it is not marked as ordinary text."""
    return len(unmarked(token).findall(text))


def groups_of(
    texts: Sequence[str], marker: str, images: Sequence[object] | None, nested: Sequence[Sequence[object]] | None
) -> list[list[object]]:
    """Return the images of each text.

    Args:
        texts: the texts with markers.
        marker: the marker.
        images: images in the order of the markers; None for none.
        nested: instead of `images`, those of each text.

    Raises:
        ImageError: more markers than images or fewer, in all texts or in one.
    """
    marks = [count(text, marker) for text in texts]
    if nested is not None:
        found = [len(group) for group in nested]
        if marks != found:
            raise ImageError(
                f"The number of {marker} tokens in each prompt should be the same as the number of images passed. "
                f"Found {marks} {marker} tokens and {found} images per sample. {_MEND.format(marker)}"
            )
        return [list(group) for group in nested]
    flat = list(images or ())
    if sum(marks) != len(flat):
        raise ImageError(
            f"The total number of {marker} tokens in the prompts should be the same as the number of images passed. "
            f"Found total {sum(marks)} {marker} tokens and {len(flat)} images. {_MEND.format(marker)}"
        )
    rest = iter(flat)
    return [[next(rest) for _ in range(number)] for number in marks]


_MEND = "Write one {} for each image into the text, or use a chat whose messages hold the images"


def check_kept(rows: Any, texts: Sequence[str], token: str, token_id: int) -> None:
    """Check that encoding kept all tokens of images.

    Args:
        rows: the ids.
        texts: what they are of.
        token, token_id: the token.

    Raises:
        ImageError: it did not, as truncation cut some off.
    """
    found = [int(sum(one == token_id for one in row)) for row in rows]
    expected = [count(text, token) for text in texts]
    if found != expected:
        raise ImageError(
            f"Mismatch in `image` token count between text and `input_ids`. Got ids={found} and text={expected}. "
            "Likely due to `truncation='max_length'`. Please disable truncation or increase `max_length`: a prompt "
            "with images must not be cut"
        )
