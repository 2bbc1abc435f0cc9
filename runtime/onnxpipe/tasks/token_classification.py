"""token-classification (ner): label the tokens of a text, or put entities together from them.

The rules of entities are those of transformers: labels are `B-x`, `I-x` or plain `x` (which counts as `I-x`); a token
joins the group before it if the tag is the same and it is not a `B-`.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal, NotRequired, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForTokenClassification
from onnxpipe.processing.scores import softmax
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.tasks.base.call_types import CallOptions, Stream
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.datasets import PipelineIterator, is_dataset
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.base.text_rows import text_row

Entity = dict[str, Any]
Joined = Callable[[list[str]], str]


class AggregationStrategy(Enum):
    """The way from tokens to entities: none, by label, or by word (its first token, the mean, the best token)."""

    NONE = "none"
    SIMPLE = "simple"
    FIRST = "first"
    AVERAGE = "average"
    MAX = "max"


_BY_WORD = frozenset({AggregationStrategy.FIRST, AggregationStrategy.AVERAGE, AggregationStrategy.MAX})


@dataclass(frozen=True)
class TokenClassificationOptions:
    """Options of token-classification.

    Attributes:
        ignore_labels: labels that are left out of the answer.
        aggregation_strategy: the way from tokens to entities: "none", "simple", "first", "average" or "max".
        stride: cut a long text into windows of the model's length that overlap by so many tokens.
        offset_mapping: the character spans of the tokens, instead of the tokenizer's; one list for each input.
        is_split_into_words: whether an input is a list of words.
        delimiter: the text between the words of an input, for `start` and `end`.
        grouped_entities, ignore_subwords: deprecated; "simple", or "first" with both.
    """

    ignore_labels: Sequence[str] = ("O",)
    aggregation_strategy: AggregationStrategy | str | None = None
    stride: int | None = number_option(None, least=0)
    offset_mapping: Any = None
    is_split_into_words: bool = False
    delimiter: str = " "
    grouped_entities: bool | None = None
    ignore_subwords: bool | None = None


@dataclass(frozen=True)
class _Window:
    """Hold what decoding needs of one window of a text. Spans are character offsets in `sentence`."""

    sentence: str
    special: Sequence[int]
    spans: Sequence[tuple[int, int]]


class TokenClassificationCallOptions(CallOptions, total=False):
    """The options of a call: see `TokenClassificationOptions`."""

    ignore_labels: Sequence[str] | None
    aggregation_strategy: AggregationStrategy | Literal["none", "simple", "first", "average", "max"] | None
    stride: int | None
    offset_mapping: Any
    is_split_into_words: bool | None
    delimiter: str | None
    grouped_entities: bool | None
    ignore_subwords: bool | None


class TaggedText(TypedDict):
    """A token with its `entity` and `index`; with an aggregation strategy a span with its `entity_group`."""

    score: float
    word: str
    start: int | None
    end: int | None
    entity: NotRequired[str]
    index: NotRequired[int]
    entity_group: NotRequired[str]


class TokenClassificationPipeline(Pipeline[TokenClassificationOptions]):
    """Label tokens: a list of dicts, with the `entity` of a token or the `entity_group` of an aggregation strategy."""

    Options = TokenClassificationOptions

    def parse(self, kwargs: Mapping[str, Any], base: TokenClassificationOptions | None) -> TokenClassificationOptions:
        kept = dict(kwargs)
        self._deprecated(kept)
        if base is not None:  # as in transformers, these two hold for the call alone
            base = replace(base, is_split_into_words=False, delimiter=" ")
        options = super().parse(kept, base)
        if kept.get("stride") is not None:
            given = kept.get("aggregation_strategy") is not None  # as in transformers, the two are compared as given
            self._check_stride(options.stride, options.aggregation_strategy if given else None)
        return options

    @staticmethod
    def _deprecated(kept: dict[str, Any]) -> None:
        grouped, subwords = kept.pop("grouped_entities", None), kept.pop("ignore_subwords", None)
        if grouped is None and subwords is None:
            return
        strategy = AggregationStrategy.NONE
        if grouped:
            strategy = AggregationStrategy.FIRST if subwords else AggregationStrategy.SIMPLE
        for name, value in (("grouped_entities", grouped), ("ignore_subwords", subwords)):
            if value is not None:
                warnings.warn(
                    f'`{name}` is deprecated, defaulted to `aggregation_strategy="{strategy.value}"` instead.',
                    UserWarning,
                    stacklevel=5,
                )
        kept["aggregation_strategy"] = strategy

    def _check_stride(self, stride: int | None, strategy: AggregationStrategy | str | None) -> None:
        if stride is not None and stride >= self.tokenizer.model_max_length:
            raise ValueError(
                "`stride` must be less than `tokenizer.model_max_length` (or even lower if the tokenizer adds special "
                "tokens)"
            )
        if strategy is AggregationStrategy.NONE:
            raise ValueError(
                "`stride` was provided to process all the text but `aggregation_strategy="
                f'"{strategy}"`, please select another one instead.'
            )

    @overload
    def __call__(self, inputs: str, **options: Unpack[TokenClassificationCallOptions]) -> list[TaggedText]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
        self, inputs: list[Any] | tuple[str, ...], **options: Unpack[TokenClassificationCallOptions]
    ) -> list[list[TaggedText]]: ...
    @overload
    def __call__(
        self, inputs: Stream, **options: Unpack[TokenClassificationCallOptions]
    ) -> PipelineIterator[list[TaggedText]]: ...
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. With `is_split_into_words=True` one list of words is one input."""
        stream = isinstance(inputs, types.GeneratorType) or is_dataset(inputs)
        if not stream and (not isinstance(inputs, (str, list, tuple)) or (len(inputs) == 0 and inputs != "")):
            raise ValueError("At least one input is required.")
        if not stream and kwargs.get("offset_mapping"):
            spans = kwargs["offset_mapping"]
            spans = [spans] if isinstance(spans, list) and isinstance(spans[0], tuple) else spans
            if len(spans) != (1 if isinstance(inputs, str) else len(inputs)):
                raise ValueError("offset_mapping should have the same batch size as the input")
            if not isinstance(inputs, str):  # each input has its own spans
                return [self(each, *args, **{**kwargs, "offset_mapping": [own]}) for each, own in zip(inputs, spans)]
            kwargs["offset_mapping"] = spans
        if kwargs.get("is_split_into_words") and not stream and not all(isinstance(each, list) for each in inputs):
            return super().__call__([inputs], *args, **kwargs)
        return super().__call__(inputs, *args, **kwargs)

    def encode(self, value: Any, options: TokenClassificationOptions) -> Iterator[Row]:
        if options.is_split_into_words and not isinstance(value, list):
            raise ValueError("When `is_split_into_words=True`, `sentence` must be a list of tokens.")
        if not options.is_split_into_words and not isinstance(value, str):
            raise ValueError("When `is_split_into_words=False`, `sentence` must be an untokenized string.")
        windows = options.stride is not None
        encoding = self.tokenizer(
            value,
            truncation=bool(self.tokenizer.model_max_length and self.tokenizer.model_max_length > 0),
            is_split_into_words=options.is_split_into_words,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
            return_overflowing_tokens=windows,
            stride=options.stride or 0,
        )
        sentence = options.delimiter.join(value) if options.is_split_into_words else value
        for i in range(len(encoding["input_ids"]) if windows else 1):
            one = {name: column[i] for name, column in encoding.items()} if windows else encoding
            spans = options.offset_mapping[0] if options.offset_mapping else one["offset_mapping"]
            if len(spans) < len(one["input_ids"]):
                raise ValueError(
                    f"offset_mapping has {len(spans)} spans, the input {len(one['input_ids'])} tokens: pass one "
                    "(start, end) for each token, special tokens included"
                )
            if options.is_split_into_words:
                spans = _in_sentence(spans, encoding, i, value, len(options.delimiter))
            yield text_row(self.tokenizer, one, _Window(sentence, one["special_tokens_mask"], spans))

    def decode(self, rows: Answered, options: TokenClassificationOptions) -> Any:
        entities = []
        for row, outputs in rows:
            scores = softmax(outputs["logits"].astype(np.float32))
            entities.extend(self._entities(row, scores, options))
        return resolve_overlaps(entities) if len(rows) > 1 else entities

    def _entities(self, row: Row, scores: Any, options: TokenClassificationOptions) -> list[dict[str, Any]]:
        strategy = options.aggregation_strategy or AggregationStrategy.NONE
        tokens = self._tokens(row, scores, by_word=strategy in _BY_WORD)
        labels, joined = self.model.config.id2label, self.tokenizer.convert_tokens_to_string
        if strategy in _BY_WORD:
            entities = words_as_entities(tokens, strategy.value, labels, joined)
        else:
            entities = tokens_as_entities(tokens, labels)
        if strategy is not AggregationStrategy.NONE:
            entities = group(entities, joined)
        ignored = options.ignore_labels
        return [e for e in entities if e.get("entity") not in ignored and e.get("entity_group") not in ignored]

    def _tokens(self, row: Row, scores: Any, by_word: bool) -> list[Token]:
        """List the window's tokens without the special ones."""
        window: _Window = row.extra
        prefix = getattr(self.tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
        if by_word and not prefix:
            warnings.warn("Tokenizer does not support real words, using fallback heuristic", UserWarning, stacklevel=2)
        ids = row.feeds["input_ids"].tolist()
        words, unknown = self.tokenizer.convert_ids_to_tokens(ids), self.tokenizer.unk_token_id
        tokens = []
        for i, word in enumerate(words):
            if window.special[i]:
                continue
            start, end = int(window.spans[i][0]), int(window.spans[i][1])
            surface = window.sentence[start:end]
            if prefix:
                subword = len(word) != len(surface)
            else:
                subword = start > 0 and " " not in window.sentence[start - 1 : start + 1]
            if ids[i] == unknown:
                word, subword = surface, False
            tokens.append(Token(word, scores[i], start, end, i, subword))
        return tokens


def _in_sentence(
    spans: Sequence[tuple[int, int]], encoding: BatchEncoding, window: int, words: Sequence[str], gap: int
) -> list[tuple[int, int]]:
    """Move spans within words to spans in the sentence of the words, with `gap` characters between them."""
    begins, at = [], 0
    for word in words:
        begins.append(at)
        at += len(word) + gap
    ids = encoding.word_ids(window)
    shifts = [0 if i is None else begins[i] for i in ids]
    return [(int(a) + shift, int(b) + shift) for (a, b), shift in zip(spans, shifts)]


# -- from tokens to entities ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Token:
    """A token of a text: its vocabulary form, scores over the labels, span in characters, position, and whether it
    continues the word before it."""

    word: str
    scores: NDArray[Any]
    start: int
    end: int
    index: int
    subword: bool


def tokens_as_entities(tokens: Sequence[Token], labels: Mapping[int, str]) -> list[Entity]:
    """Build one entity for each token, by its best label."""
    best = [int(t.scores.argmax()) for t in tokens]
    return [
        {
            "entity": labels[i],
            "score": float(t.scores[i]),
            "index": t.index,
            "word": t.word,
            "start": t.start,
            "end": t.end,
        }
        for i, t in zip(best, tokens)
    ]


def words_as_entities(
    tokens: Sequence[Token], strategy: str, labels: Mapping[int, str], joined: Joined
) -> list[Entity]:
    """Build one entity for each word; `strategy` ("first", "max", "average") chooses the scores of the word."""
    words: list[list[Token]] = []
    for token in tokens:
        if words and token.subword:
            words[-1].append(token)
        else:
            words.append([token])
    entities = []
    for word in words:
        scores = _word_scores(word, strategy)
        best = int(scores.argmax())
        entities.append(
            {
                "entity": labels[best],
                "score": float(scores[best]),
                "word": joined([t.word for t in word]),
                "start": word[0].start,
                "end": word[-1].end,
            }
        )
    return entities


def _word_scores(word: Sequence[Token], strategy: str) -> NDArray[Any]:
    if strategy == "first":
        return word[0].scores
    if strategy == "max":
        return max(word, key=lambda t: float(t.scores.max())).scores
    return np.asarray(np.nanmean(np.stack([t.scores for t in word]), axis=0))


def group(entities: Sequence[Entity], joined: Joined) -> list[Entity]:
    """Join neighbouring entities of one tag."""
    groups: list[list[Entity]] = []
    for entity in entities:
        begins, tag = _tag(entity["entity"])
        if groups and not begins and tag == _tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(entity)
        else:
            groups.append([entity])
    return [
        {
            "entity_group": members[0]["entity"].split("-", 1)[-1],
            "score": float(np.nanmean([np.float32(e["score"]) for e in members])),
            "word": joined([e["word"] for e in members]),
            "start": members[0]["start"],
            "end": members[-1]["end"],
        }
        for members in groups
    ]


def _tag(label: str) -> tuple[bool, str]:
    """Tell whether a label begins an entity, and its tag."""
    if label.startswith(("B-", "I-")):
        return label[0] == "B", label[2:]
    return False, label


def resolve_overlaps(entities: list[Entity]) -> list[Entity]:
    """Keep one of the entities of overlapping windows at each place: the longer, on equal length the higher score."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda e: e["start"]):
        if not kept or not kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept.append(entity)
            continue
        if _weight(entity) > _weight(kept[-1]):
            kept[-1] = entity
    return kept


def _weight(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]


TASK = TaskSpec(
    name="token-classification",
    pipeline=TokenClassificationPipeline,
    auto_classes=(AutoModelForTokenClassification,),
    help="Label the words of a text: names, places, parts of speech.",
    example='"Sarah lives in London.", aggregation_strategy="simple"',
    default_model=("dbmdz/bert-large-cased-finetuned-conll03-english", "4c53496"),
    columns=one_column("entities"),
)
