"""Tokenize pages: words with their boxes, alone or after a question. For LayoutLM, LiLT and their kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.keywords import TokenizerCallOptions
from onnxpipe.processing.text.tokenizer import Tokenizer

PageBox = list[int]
_NOWHERE, _EVERYWHERE = (0, 0, 0, 0), (1000, 1000, 1000, 1000)
#: Tokenizer class -> the box of its separators, where its file has none. LayoutLM's is that of any other class.
_SEPARATORS: Mapping[str, tuple[int, ...]] = {"LayoutLMv3Tokenizer": _NOWHERE}


@dataclass(frozen=True)
class SpecialBoxes:
    """The boxes of tokens that are no words of a page, in thousandths of it.

    Attributes:
        cls: of the first token.
        sep: of separators.
        pad: of padding and of the question.
    """

    cls: tuple[int, ...] = _NOWHERE
    sep: tuple[int, ...] = _EVERYWHERE
    pad: tuple[int, ...] = _NOWHERE


def special_boxes(tokenizer: Tokenizer) -> SpecialBoxes:
    """Return the boxes of a tokenizer's special tokens: its own, or those that LayoutLM was trained with."""
    return tokenizer.special_boxes if isinstance(tokenizer, PageTokenizer) else SpecialBoxes()


def token_boxes(
    tokenizer: Tokenizer, encoding: BatchEncoding, row: int, boxes: Sequence[Sequence[int]], page: int
) -> list[PageBox]:
    """Give each token of a row its box: that of its word, or a special one.

    Args:
        tokenizer: the tokenizer that made the encoding.
        encoding: what its call returned.
        row: the row of the encoding.
        boxes: of the page's words.
        page: which text of a pair the page is, 0 or 1.
    """
    special, ids = special_boxes(tokenizer), encoding["input_ids"][row]
    found = []
    for token, part, word in zip(ids, encoding.sequence_ids(row), encoding.word_ids(row), strict=True):
        if part == page and word is not None:
            found.append(list(boxes[word]))
        elif part is not None or token == tokenizer.pad_token_id:
            found.append(list(special.pad))
        else:
            found.append(list(special.cls if token == tokenizer.cls_token_id else special.sep))
    return found


class PageTokenizer(Tokenizer):
    """The tokenizer of LayoutLMv2, LayoutLMv3 and LayoutXLM: with `boxes=` a call returns `bbox` as well.

    Attributes:
        cls_token_box, sep_token_box, pad_token_box: boxes of tokens that are no words of the page.
    """

    def __init__(self, backend: Any, settings: TokenizerSettings | None = None, target: Any = None) -> None:
        settings = TokenizerSettings() if settings is None else settings
        super().__init__(backend, settings, target)
        name = (settings.tokenizer_class or "").removesuffix("Fast")
        self.cls_token_box = list(settings.config.get("cls_token_box") or _NOWHERE)
        self.sep_token_box = list(settings.config.get("sep_token_box") or _SEPARATORS.get(name, _EVERYWHERE))
        self.pad_token_box = list(settings.config.get("pad_token_box") or _NOWHERE)

    @property
    def special_boxes(self) -> SpecialBoxes:
        """The boxes of the special tokens."""
        return SpecialBoxes(tuple(self.cls_token_box), tuple(self.sep_token_box), tuple(self.pad_token_box))

    def __call__(  # type: ignore[override] # pages have boxes
        self, text: Any = None, text_pair: Any = None, boxes: Any = None, **options: Unpack[TokenizerCallOptions]
    ) -> BatchEncoding:
        """Encode pages, or questions with pages; without `boxes`, texts as any other tokenizer.

        Args:
            text: the words of a page, or with `text_pair` a question (a text, or its words); a list of either.
            text_pair: the words of a page, or for a list of questions a list of such.
            boxes: the boxes of the page's words (0-1000), as many as words; for a list, a list of such.
            **options: see `Tokenizer.__call__`.

        Returns:
            The rows of any tokenizer, and `bbox`: the box of each token.

        Raises:
            ValueError: as many boxes as words are needed; and see `Tokenizer.__call__`.
        """
        if boxes is None:
            return super().__call__(text, text_pair, **options)
        pages = text if text_pair is None else text_pair
        batched = bool(pages) and isinstance(pages[0], (list, tuple))
        every_text, every_pair, every_box = (
            (text, text_pair, boxes) if batched else ([text], None if text_pair is None else [text_pair], [boxes])
        )
        _check_counts(every_text if every_pair is None else every_pair, every_box)
        if every_pair is not None:
            every_text = [each.split() if isinstance(each, str) else each for each in every_text]
        tensors = options.get("return_tensors")
        kept: Any = {**options, "return_tensors": None, "is_split_into_words": True}
        encoding = super().__call__(every_text, every_pair, **kept)
        samples = encoding.get("overflow_to_sample_mapping", range(len(encoding["input_ids"])))
        page = 0 if every_pair is None else 1
        bbox = [token_boxes(self, encoding, row, every_box[sample], page) for row, sample in enumerate(samples)]
        data = {**encoding.data, "bbox": bbox}
        if not batched and tensors is None and not options.get("return_overflowing_tokens"):
            data = {name: rows[0] for name, rows in data.items()}
        return BatchEncoding(data, encoding.encodings, tensor_type=tensors)


def _check_counts(pages: Sequence[Sequence[str]], boxes: Sequence[Sequence[Any]]) -> None:
    """Raise ValueError unless there is a box for each word of each page."""
    if len(pages) != len(boxes):
        raise ValueError(
            f"there are {len(pages)} pages, and boxes for {len(boxes)}: pass a list of boxes for each page"
        )
    for number, (page, own) in enumerate(zip(pages, boxes)):
        if len(page) != len(own):
            raise ValueError(f"page {number} has {len(page)} words and {len(own)} boxes: pass a box for each word")
