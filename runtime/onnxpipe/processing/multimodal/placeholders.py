"""Replace the markers of images and videos in texts by the tokens that these take up."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def expand(texts: Sequence[str], replacements: Mapping[str, Iterable[str]]) -> list[Expanded]:
    """Replace the markers of texts, one after the other; of each marker there must be as many replacements.

    Markers that are marked as ordinary text (`ControlTokens`) stay.

    Args:
        texts: the texts.
        replacements: marker -> what takes its places.
    """
    left = {marker: iter(each) for marker, each in replacements.items()}
    pattern = any_unmarked(left)
    return [_expanded(text, pattern, left) for text in texts]


def any_unmarked(markers: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that matches any of the markers where it is not marked as ordinary text."""
    return re.compile("|".join(unmarked(marker).pattern for marker in markers))


def in_order(texts: Sequence[str], parts: Mapping[str, Iterable[Any]]) -> list[list[Any]]:
    """Return for each text what its markers stand for, in their order.

    Args:
        texts: the texts.
        parts: marker -> what takes its places; of each marker there must be as many.
    """
    left = {marker: iter(each) for marker, each in parts.items()}
    pattern = any_unmarked(left)
    return [[next(left[match.group()]) for match in pattern.finditer(text)] for text in texts]


def _expanded(text: str, pattern: re.Pattern[str], replacements: Mapping[str, Iterator[str]]) -> Expanded:
    parts: list[str] = []
    ends: list[int] = []
    shifts: list[int] = []
    last = shift = 0
    for match in pattern.finditer(text):
        new = next(replacements[match.group()])
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
    texts: Sequence[str],
    marker: str,
    given: Sequence[object] | None,
    nested: Sequence[Sequence[object]] | None,
    noun: str = "images",
) -> list[list[object]]:
    """Return the images, or the videos, of each text.

    Args:
        texts: the texts with markers.
        marker: the marker.
        given: what the markers stand for, in their order; None for nothing.
        nested: instead of `given`, those of each text.
        noun: what they are, for errors.

    Raises:
        ImageError: more markers than images or fewer, in all texts or in one.
    """
    marks = [count(text, marker) for text in texts]
    mend = f"Write one {marker} for each of them into the text, or use a chat whose messages hold the {noun}"
    if nested is not None:
        found = [len(group) for group in nested]
        if marks != found:
            raise ImageError(
                f"The number of {marker} tokens in each prompt should be the same as the number of {noun} passed. "
                f"Found {marks} {marker} tokens and {found} {noun} per sample. {mend}"
            )
        return [list(group) for group in nested]
    flat = list(given or ())
    if sum(marks) != len(flat):
        raise ImageError(
            f"The total number of {marker} tokens in the prompts should be the same as the number of {noun} passed. "
            f"Found total {sum(marks)} {marker} tokens and {len(flat)} {noun}. {mend}"
        )
    rest = iter(flat)
    return [[next(rest) for _ in range(number)] for number in marks]


def check_kept(rows: Any, texts: Sequence[str], token: str, token_id: int, noun: str = "image") -> None:
    """Check that encoding kept all tokens of images, or of videos.

    Args:
        rows: the ids.
        texts: what they are of.
        token, token_id: the token.
        noun: what it is of, for errors.

    Raises:
        ImageError: it did not, as truncation cut some off.
    """
    found = [int(sum(one == token_id for one in row)) for row in rows]
    expected = [count(text, token) for text in texts]
    if found != expected:
        raise ImageError(
            f"Mismatch in `{noun}` token count between text and `input_ids`. Got ids={found} and text={expected}. "
            "Likely due to `truncation='max_length'`. Please disable truncation or increase `max_length`: a prompt "
            f"with {noun}s must not be cut"
        )
