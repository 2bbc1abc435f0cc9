"""feature-extraction: the model's first output, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModel
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.pipeline import Pipeline, text_rows
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class FeatureExtractionOptions:
    """Parameters of feature-extraction.

    Attributes:
        truncation: as in the tokenizer's call; not together with `tokenize_kwargs["truncation"]`.
        tokenize_kwargs: further keywords of the tokenizer's call.
        return_tensors: an array of shape (1, tokens, hidden) instead of nested lists.
    """

    truncation: Any = None
    tokenize_kwargs: Mapping[str, Any] = field(default_factory=dict)
    return_tensors: bool | str = False


class FeatureExtractionPipeline(Pipeline):
    """Features of a text's tokens, nested lists [1][tokens][hidden]. Padding never shows, whatever the batch."""

    Options = FeatureExtractionOptions

    def parse(self, given: Mapping[str, Any], base: FeatureExtractionOptions | None) -> FeatureExtractionOptions:
        options: FeatureExtractionOptions = super().parse(given, base)
        if options.truncation is not None and "truncation" in options.tokenize_kwargs:
            raise ValueError(
                "truncation parameter defined twice (given as keyword argument as well as in tokenize_kwargs)"
            )
        return options

    def encode(self, value: Any, options: FeatureExtractionOptions) -> Iterator[Row]:
        keywords = dict(options.tokenize_kwargs)
        if options.truncation is not None:
            keywords["truncation"] = options.truncation
        yield from text_rows(self.tokenizer, value, keywords)

    def decode(self, rows: Answered, options: FeatureExtractionOptions) -> Any:
        stacked = np.stack([next(iter(outputs.values())) for _, outputs in rows])
        return stacked if options.return_tensors else stacked.tolist()


TASK = TaskSpec(
    name="feature-extraction",
    pipeline=FeatureExtractionPipeline,
    auto_classes=(AutoModel,),
    help="Give the model's features of every token of a text.",
    example='"A cat sits on the mat."',
    default_model=("distilbert/distilbert-base-cased", "6ea8117"),
    columns=one_column("features", lambda answer: answer[0]),
)
