"""summarization: summarize texts with an encoder-decoder model (semantics of transformers 4.57)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypedDict, Unpack, overload

from onnxpipe.models.auto import AutoModelForSeq2SeqLM
from onnxpipe.tasks.base.call_types import Stream
from onnxpipe.tasks.base.columns import text_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.text2text_generation import (
    Text2TextCallOptions,
    Text2TextGenerationOptions,
    Text2TextGenerationPipeline,
)


class SummaryText(TypedDict):
    """A summary; with `return_tensors` it has `summary_token_ids` instead."""

    summary_text: str


class SummarizationPipeline(Text2TextGenerationPipeline[Text2TextGenerationOptions]):
    """Summarize texts: `[{"summary_text": str}]`. Its options are those of text2text-generation."""

    return_name: ClassVar[str] = "summary"

    @overload  # type: ignore[override] # transformers' name of the first argument; its answers have another key
    def __call__(self, documents: str | list[str], **options: Unpack[Text2TextCallOptions]) -> list[SummaryText]: ...
    @overload
    def __call__(
        self, documents: list[list[str]], **options: Unpack[Text2TextCallOptions]
    ) -> list[list[SummaryText]]: ...
    @overload
    def __call__(
        self, documents: Stream, **options: Unpack[Text2TextCallOptions]
    ) -> PipelineIterator[list[SummaryText]]: ...
    def __call__(self, documents: Any, *args: Any, **options: Any) -> Any:
        """See `Text2TextGenerationPipeline.__call__`."""
        return super().__call__(documents, *args, **options)

    def check(self, length: int, resolved: Mapping[str, Any], options: Text2TextGenerationOptions) -> None:
        limit, least = resolved.get("max_length"), resolved.get("min_length") or 0
        if limit is None or resolved.get("max_new_tokens") is not None:
            return  # only the limit that holds is worth a warning, and only if somebody set it
        if limit < least:
            message = f"Your min_length={least} must be inferior than your max_length={limit}."
            self.warn("min_length", message, options)
        half = length // 2
        if length < limit and half > 1:
            self.warn(
                "max_length",
                f"Your max_length is set to {limit}, but your input_length is only {length}. Since this is a "
                "summarization task, where outputs shorter than the input are typically wanted, you might consider "
                f"decreasing max_length manually, e.g. summarizer('...', max_length={half})",
                options,
            )


TASK = TaskSpec(
    name="summarization",
    pipeline=SummarizationPipeline,
    auto_classes=(AutoModelForSeq2SeqLM,),
    help="Summarize texts.",
    example='"The train to Lyon was late. Nobody knew why, and the passengers waited for an hour.", max_new_tokens=20',
    default_model=("sshleifer/distilbart-cnn-12-6", "a4f8f3e"),
    columns=text_columns("summary_text"),
    text_key="summary_text",
)
