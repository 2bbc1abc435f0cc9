"""Donut's processor, and the objects that its texts stand for: `<s_total>4.50</s_total>` is `{"total": "4.50"}`."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal.image_text import Processor

_BETWEEN = "<sep/>"
#: Objects inside of each other; a model writes some few.
_DEEPEST = 100


class DonutProcessor(Processor):
    """Donut: pages, the text that a reading of one begins with, and the objects in what is read."""

    def __call__(
        self, images: Any = None, text: Any = None, *, return_tensors: Any = "np", **options: Any
    ) -> BatchFeature:
        """Make the arrays for the model; see `Processor`. A text beside images has no special tokens but its own."""
        if images is not None and text is not None:
            options.setdefault("add_special_tokens", False)
        return super().__call__(images, text, return_tensors=return_tensors, **options)

    def token2json(self, tokens: str) -> Any:
        """Turn a text with tags into the objects, lists and texts that it stands for (the name is transformers').

        Source: `DonutProcessor.token2json` of transformers 5.23.

        Args:
            tokens: a generated text with its tags, without the first token and the end.

        Returns:
            A dict by keys; a list of such where `<sep/>` stands between; `{"text_sequence": tokens}` without a tag.

        Raises:
            UnsupportedError: objects more than 100 deep in each other.
        """
        known = self._tokenizer_or_raise.get_vocab()
        literals = {token for token in known if token.startswith("<") and token.endswith("/>")}
        found, several, rest = _objects(tokens, literals, 0)
        if several:
            return found
        return found[0] if found else {"text_sequence": rest}


def _objects(text: str, literals: Collection[str], depth: int) -> tuple[list[dict[str, Any]], bool, str]:
    """Read objects, with `<sep/>` between them.

    Args:
        text: what is to be read.
        literals: tokens `<name/>` that stand for their name.
        depth: how many objects are around.

    Returns:
        The objects, whether a `<sep/>` came after one, and the text that is left.
    """
    if depth > _DEEPEST:
        raise UnsupportedError(f"the text has objects more than {_DEEPEST} deep in each other")
    objects: list[dict[str, Any]] = []
    several = False
    current: dict[str, Any] = {}
    while (tag := _next_tag(text)) is not None:
        end = re.search(re.escape(f"</{tag[1:]}"), text, re.IGNORECASE)
        if end is None:
            text = text.replace(tag, "")
            continue
        inside = re.search(f"{re.escape(tag)}(.*?){re.escape(end[0])}", text, re.IGNORECASE | re.DOTALL)
        if inside is not None:
            _add(current, tag[3:-1], inside[1].strip(), literals, depth)
        text = text[end.end() :].strip()
        if text.startswith(_BETWEEN):
            objects.append(current)
            current, text, several = {}, text[len(_BETWEEN) :], True
    return ([*objects, current] if current else objects), several, text


def _add(current: dict[str, Any], key: str, content: str, literals: Collection[str], depth: int) -> None:
    """Add the value of a key to an object: objects, or texts."""
    if "<s_" in content and "</s_" in content:
        value: list[Any] = list(_objects(content, literals, depth + 1)[0])
    else:
        leaves = (leaf.strip() for leaf in content.split(_BETWEEN))
        value = [leaf[1:-2] if leaf in literals else leaf for leaf in leaves]
    if value:
        current[key] = value[0] if len(value) == 1 else value


def _next_tag(text: str) -> str | None:
    """Find the first `<s_key>`, in any case of its first letters."""
    start = re.search("<s_", text, re.IGNORECASE)
    end = -1 if start is None else text.find(">", start.start())
    return None if start is None or end < 0 else text[start.start() : end + 1]
