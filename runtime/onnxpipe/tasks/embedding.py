"""embedding and sentence-similarity: turn texts into vectors, pooled as the model's own files declare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.models.auto import AutoModel
from onnxpipe.processing.text.inputs import one_text, text_list
from onnxpipe.processing.text.pooling import PoolingConfig, l2_normalize, pooling_modes, read_pooling_config
from onnxpipe.tasks.base.call_types import CallOptions, Stream
from onnxpipe.tasks.base.columns import Cells, fixed_columns, one_column
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import InputPart, TaskSpec
from onnxpipe.tasks.base.text_rows import rows_of_texts, text_row


@dataclass(frozen=True)
class EmbeddingOptions:
    """Options of embedding and sentence-similarity.

    Attributes:
        pooling: how token vectors become one: "mean", "cls", "lasttoken", "max", ...; by default as the model declares.
        normalize: scale vectors to length 1; by default as the model declares.
        truncate_dim: keep only so many of the first dimensions (for models trained for it: Matryoshka).
        prompt_name: the name of a prompt that the model declares, e.g. "query".
        prompt: a text put before each input.
        truncation: cut texts that are too long for the model; False raises an error instead.
        max_length: the longest text in tokens; by default as the model declares.
    """

    pooling: str | tuple[str, ...] | None = None
    normalize: bool | None = None
    truncate_dim: int | None = number_option(None, least=1)
    prompt_name: str | None = None
    prompt: str | None = None
    truncation: bool = True
    max_length: int | None = number_option(None, least=1)


class EmbeddingCallOptions(CallOptions, total=False):
    """The options of a call: see `EmbeddingOptions`."""

    pooling: str | tuple[str, ...] | None
    normalize: bool | None
    truncate_dim: int | None
    prompt_name: str | None
    prompt: str | None
    truncation: bool | None
    max_length: int | None


class EmbeddingPipeline(Pipeline[EmbeddingOptions]):
    """Embed texts: a float32 array of shape (dimensions,) for each text.

    Pooling, normalisation, prompts and length come from the model's sentence-transformers files; a model without them
    uses the mean over tokens.
    """

    Options = EmbeddingOptions

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[EmbeddingCallOptions]
        ) -> list[NDArray[np.float32]]: ...
        @overload
        def __call__(self, inputs: str, **options: Unpack[EmbeddingCallOptions]) -> NDArray[np.float32]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[EmbeddingCallOptions]
        ) -> PipelineIterator[NDArray[np.float32]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def prepare(self) -> None:
        folder = self.model.bundle.folder
        self.pooling_config: PoolingConfig = read_pooling_config(folder)
        limit, added = self.pooling_config.max_seq_length, self.tokenizer.num_special_tokens_to_add()
        if limit is not None and limit < added:
            raise BundleError(
                f"{folder / 'sentence_bert_config.json'}: max_seq_length is {limit}, and the tokenizer adds {added} "
                "special tokens to each text"
            )

    def parse(self, kwargs: Mapping[str, Any], base: EmbeddingOptions | None) -> EmbeddingOptions:
        options = super().parse(kwargs, base)
        if options.pooling is not None:
            pooling_modes(options.pooling)
        if options.prompt_name is not None and options.prompt_name not in (self.pooling_config.prompts or {}):
            known = ", ".join(self.pooling_config.prompts or {}) or "none"
            raise UnsupportedError(f"prompt_name={options.prompt_name!r}: the model declares these prompts: {known}")
        return options

    def encode(self, value: Any, options: EmbeddingOptions) -> Iterator[Row]:
        if not isinstance(value, str):
            raise ValueError(f"an input of embedding is a str, got {type(value).__name__}")
        prompt = self._prompt(options)
        encoding = self.tokenizer(prompt + value, **self._tokenizer_keywords(options))
        skip = 0
        if prompt and not self.pooling_config.include_prompt:
            skip = len(self.tokenizer(prompt)["input_ids"])
            if encoding["input_ids"][skip - 1 : skip] != self.tokenizer(prompt)["input_ids"][-1:]:
                skip -= 1  # the prompt alone ends with a special token that the whole text has at its end
        yield text_row(self.tokenizer, encoding, skip)

    def encode_many(self, values: Sequence[Any], options: EmbeddingOptions) -> list[Row] | None:
        if self._prompt(options):
            return None
        return rows_of_texts(self.tokenizer, values, self._tokenizer_keywords(options), extra=0)

    def _tokenizer_keywords(self, options: EmbeddingOptions) -> dict[str, Any]:
        limit = options.max_length or self.pooling_config.max_seq_length
        if limit is not None:
            limit = min(limit, self.tokenizer.model_max_length)
        return {"truncation": options.truncation, "max_length": limit}

    def decode(self, rows: Answered, options: EmbeddingOptions) -> Any:
        ((row, outputs),) = rows
        pooling = (
            self.pooling_config
            if options.pooling is None
            else replace(self.pooling_config, pooling=pooling_modes(options.pooling))
        )
        tokens = _tokens(outputs)
        if tokens.ndim == 1:  # a graph that pools by itself
            if options.pooling is not None:
                raise UnsupportedError(f"pooling={options.pooling!r}: the model's graph pools by itself")
            vector = tokens.astype(np.float32)
        else:
            vector = pooling.embed(tokens, skip=row.extra)
        if options.truncate_dim is not None:
            vector = vector[: options.truncate_dim]
        normalize = pooling.normalize if options.normalize is None else options.normalize
        return l2_normalize(vector) if normalize else vector

    def _prompt(self, options: EmbeddingOptions) -> str:
        if options.prompt is not None:
            return options.prompt
        name = options.prompt_name or self.pooling_config.default_prompt_name
        return (self.pooling_config.prompts or {}).get(name, "") if name else ""


class SentenceSimilarityPipeline(EmbeddingPipeline):
    """Compare sentences with a source: a list of cosine similarities, in the order of `sentences`.

    It accepts `{"source_sentence": str, "sentences": [str, ...]}` (the Hub's form), or the two as arguments; a list or
    stream of such dicts; and a plain `str`, which gives its embedding as `EmbeddingPipeline` does.
    """

    @overload  # type: ignore[override] # a second argument, and answers of another type
    def __call__(
        self, inputs: str, sentences: Sequence[str], **options: Unpack[EmbeddingCallOptions]
    ) -> list[float]: ...
    @overload
    def __call__(self, inputs: Mapping[str, Any], **options: Unpack[EmbeddingCallOptions]) -> list[float]: ...
    @overload
    def __call__(
        self, inputs: list[Mapping[str, Any]], **options: Unpack[EmbeddingCallOptions]
    ) -> list[list[float]]: ...
    @overload
    def __call__(self, inputs: Stream, **options: Unpack[EmbeddingCallOptions]) -> PipelineIterator[list[float]]: ...
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`."""
        sentences = kwargs.pop("sentences", None)
        if sentences is None and len(args) == 1:
            sentences, args = args[0], ()
        if sentences is not None:
            inputs = {"source_sentence": inputs, "sentences": sentences}
        return super().__call__(inputs, *args, **kwargs)

    def encode(self, value: Any, options: EmbeddingOptions) -> Iterator[Row]:
        if isinstance(value, str):
            yield from super().encode(value, options)
            return
        if not isinstance(value, Mapping) or set(value) != {"source_sentence", "sentences"}:
            raise ValueError(
                'sentence-similarity takes {"source_sentence": str, "sentences": [str, ...]} or (source, sentences); '
                f"got {value!r:.200}"
            )
        source = one_text(value["source_sentence"], "source_sentence")
        for text in (source, *text_list(value["sentences"], "sentences")):
            for row in super().encode(text, options):
                yield Row(row.feeds, row.length, (row.extra, "pair"))

    def decode(self, rows: Answered, options: EmbeddingOptions) -> Any:
        if not isinstance(rows[0][0].extra, tuple):
            return super().decode(rows, options)
        single = replace(options, normalize=True)
        vectors = [
            super(SentenceSimilarityPipeline, self).decode([(Row(row.feeds, row.length, row.extra[0]), out)], single)
            for row, out in rows
        ]
        return [float(np.dot(vectors[0], vector)) for vector in vectors[1:]]


def _tokens(outputs: Mapping[str, Array]) -> Array:
    """Select the token vectors: `last_hidden_state`, `token_embeddings` (sentence-transformers), or the first.

    The graph may give one vector a text instead, `sentence_embedding`.
    """
    for name in ("last_hidden_state", "token_embeddings"):
        if name in outputs:
            return outputs[name]
    return next(iter(outputs.values()))


def _similarity(answer: Any) -> Cells:
    return {"score": answer[0] if isinstance(answer, list) and len(answer) == 1 else answer}


EMBEDDING_TASK = TaskSpec(
    name="embedding",
    pipeline=EmbeddingPipeline,
    auto_classes=(AutoModel,),
    help="Turn texts into vectors whose distance says how similar they are.",
    example='["A cat sits on the mat.", "Shares fell on Monday."]',
    default_model=("sentence-transformers/all-MiniLM-L6-v2", None),
    columns=one_column("embedding"),
)
SIMILARITY_TASK = TaskSpec(
    name="sentence-similarity",
    pipeline=SentenceSimilarityPipeline,
    auto_classes=(AutoModel,),
    help="Compare a sentence with others: the cosine similarity of their vectors.",
    example='"A cat sits on the mat.", ["There is a cat on the rug.", "Shares fell on Monday."]',
    default_model=("sentence-transformers/all-MiniLM-L6-v2", None),
    parts=(
        InputPart("source_sentence", option="query"),
        InputPart("sentences", is_list=True, option="documents"),
    ),
    columns=fixed_columns("score", cells=_similarity),
)
