"""feature-extraction: return the model's features of every token of a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModel
from onnxpipe.tasks.base.call_types import CallOptions, Stream
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.base.text_rows import rows_of_texts, text_rows


@dataclass(frozen=True)
class FeatureExtractionOptions:
    """Options of feature-extraction.

    Attributes:
        truncation: as in the tokenizer's call; not together with `tokenize_kwargs["truncation"]`.
        tokenize_kwargs: further keywords of the tokenizer's call.
        return_tensors: return an array of shape (1, tokens, hidden) instead of nested lists.
    """

    truncation: Any = None
    tokenize_kwargs: Mapping[str, Any] = field(default_factory=dict)
    return_tensors: bool | str = False


class FeatureExtractionCallOptions(CallOptions, total=False):
    """The options of a call: see `FeatureExtractionOptions`."""

    truncation: Any
    tokenize_kwargs: Mapping[str, Any] | None


class FeatureExtractionPipeline(Pipeline[FeatureExtractionOptions]):
    """Return the features of a text's tokens, nested lists [1][tokens][hidden], without padding whatever the batch."""

    Options = FeatureExtractionOptions

    if TYPE_CHECKING:

        @overload
        def __call__(
            self,
            inputs: str,
            *,
            return_tensors: Literal[False] | None = ...,
            **options: Unpack[FeatureExtractionCallOptions],
        ) -> list[list[list[float]]]: ...
        @overload
        def __call__(
            self,
            inputs: str,
            *,
            return_tensors: Literal[True] | str,
            **options: Unpack[FeatureExtractionCallOptions],
        ) -> NDArray[Any]: ...
        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self,
            inputs: list[Any],
            *,
            return_tensors: bool | str | None = ...,
            **options: Unpack[FeatureExtractionCallOptions],
        ) -> list[Any]: ...
        @overload
        def __call__(
            self,
            inputs: Stream,
            *,
            return_tensors: bool | str | None = ...,
            **options: Unpack[FeatureExtractionCallOptions],
        ) -> PipelineIterator[Any]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def parse(self, kwargs: Mapping[str, Any], base: FeatureExtractionOptions | None) -> FeatureExtractionOptions:
        options = super().parse(kwargs, base)
        if options.truncation is not None and "truncation" in options.tokenize_kwargs:
            raise ValueError(
                "truncation parameter defined twice (given as keyword argument as well as in tokenize_kwargs)"
            )
        return options

    def encode(self, value: Any, options: FeatureExtractionOptions) -> Iterator[Row]:
        yield from text_rows(self.tokenizer, value, _tokenizer_keywords(options))

    def encode_many(self, values: Sequence[Any], options: FeatureExtractionOptions) -> list[Row] | None:
        return rows_of_texts(self.tokenizer, values, _tokenizer_keywords(options))

    def decode(self, rows: Answered, options: FeatureExtractionOptions) -> Any:
        stacked = np.stack([next(iter(outputs.values())) for _, outputs in rows])
        return stacked if options.return_tensors else stacked.tolist()


def _tokenizer_keywords(options: FeatureExtractionOptions) -> dict[str, Any]:
    cut = {} if options.truncation is None else {"truncation": options.truncation}
    return {**options.tokenize_kwargs, **cut}


TASK = TaskSpec(
    name="feature-extraction",
    pipeline=FeatureExtractionPipeline,
    auto_classes=(AutoModel,),
    help="Give the model's features of every token of a text.",
    example='"A cat sits on the mat."',
    default_model=("distilbert/distilbert-base-cased", "6ea8117"),
    columns=one_column("features", lambda answer: answer[0]),
)
