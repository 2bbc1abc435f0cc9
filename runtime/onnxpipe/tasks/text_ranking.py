"""text-ranking: rank documents by how well they answer a query, with a cross-encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForSequenceClassification
from onnxpipe.processing.scores import sigmoid
from onnxpipe.processing.text.inputs import one_text, text_list
from onnxpipe.tasks.base.call_types import CallOptions, Stream
from onnxpipe.tasks.base.columns import Cells, fixed_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.option_rules import choice_option, number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import InputPart, TaskSpec
from onnxpipe.tasks.base.text_rows import text_row


@dataclass(frozen=True)
class TextRankingOptions:
    """Options of text-ranking.

    Attributes:
        top_k: the number of documents to return, best first; None for all.
        function_to_apply: the function from logits to scores: "sigmoid" or "none"; by default what the model declares,
            else sigmoid.
        return_documents: put each document's text into its entry.
        max_length: the longest pair in tokens; the document is cut.
    """

    top_k: int | None = number_option(None, least=1)
    function_to_apply: str | None = choice_option(None, "sigmoid", "none")
    return_documents: bool = True
    max_length: int | None = number_option(None, least=1)


class TextRankingCallOptions(CallOptions, total=False):
    """The options of a call: see `TextRankingOptions`."""

    top_k: int | None
    function_to_apply: Literal["sigmoid", "none"] | None
    return_documents: bool | None
    max_length: int | None


class RankedDocument(TypedDict):
    """A document's place in the input, its score and its text."""

    index: int
    score: float
    document: NotRequired[str]


class TextRankingPipeline(Pipeline[TextRankingOptions]):
    """Rank documents for a query: `[{"index", "score", "document"}, ...]`, best first.

    It accepts `{"query": str, "documents": [str, ...]}`, the two as arguments, or a list or stream of such dicts.
    """

    Options = TextRankingOptions

    def prepare(self) -> None:
        if self.model.config.num_labels != 1:
            raise UnsupportedError(
                f"text-ranking needs a model with one label, this one has {self.model.config.num_labels}; "
                "for labels use text-classification"
            )

    def parse(self, kwargs: Mapping[str, Any], base: TextRankingOptions | None) -> TextRankingOptions:
        return super().parse(kwargs, base)

    @overload
    def __call__(
        self, inputs: str, documents: Sequence[str], **options: Unpack[TextRankingCallOptions]
    ) -> list[RankedDocument]: ...
    @overload
    def __call__(
        self, inputs: Mapping[str, Any], **options: Unpack[TextRankingCallOptions]
    ) -> list[RankedDocument]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
        self, inputs: list[Any], **options: Unpack[TextRankingCallOptions]
    ) -> list[list[RankedDocument]]: ...
    @overload
    def __call__(
        self, inputs: Stream, **options: Unpack[TextRankingCallOptions]
    ) -> PipelineIterator[list[RankedDocument]]: ...
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`."""
        documents = kwargs.pop("documents", None)
        if documents is None and len(args) == 1:
            documents, args = args[0], ()
        if documents is not None:
            inputs = {"query": inputs, "documents": documents}
        return super().__call__(inputs, *args, **kwargs)

    def encode(self, value: Any, options: TextRankingOptions) -> Iterator[Row]:
        if not isinstance(value, Mapping) or set(value) != {"query", "documents"}:
            raise ValueError(
                'text-ranking takes {"query": str, "documents": [str, ...]} or (query, documents); '
                f"got {value!r:.200}"
            )
        query = one_text(value["query"], "query")
        for i, document in enumerate(text_list(value["documents"], "documents")):
            pair = self.tokenizer(query, document, truncation="longest_first", max_length=options.max_length)
            yield text_row(self.tokenizer, pair, (i, document))

    def decode(self, rows: Answered, options: TextRankingOptions) -> list[RankedDocument]:
        function = options.function_to_apply or self._declared()
        ranked: list[RankedDocument] = []
        for row, outputs in rows:
            logit = outputs["logits"].astype(np.float32)
            index, document = row.extra
            score = float((sigmoid(logit) if function == "sigmoid" else logit)[0])
            entry: RankedDocument = {"index": index, "score": score}
            ranked.append({**entry, "document": document} if options.return_documents else entry)
        ranked.sort(key=lambda entry: -entry["score"])
        return ranked[: options.top_k]

    def _declared(self) -> str:
        """Read the activation that sentence-transformers wrote into the config.json of a cross-encoder."""
        config = self.model.config
        named = (config.get("sentence_transformers") or {}).get("activation_fn")
        named = named or config.get("sbert_ce_default_activation_function") or "Sigmoid"
        return "none" if str(named).endswith("Identity") else "sigmoid"


def _ranking(answer: list[Mapping[str, Any]]) -> Cells:
    if not answer:
        return {"ranking": []}
    ranking = [{"index": entry["index"], "score": entry["score"]} for entry in answer]
    return {**ranking[0], "ranking": ranking}


TASK = TaskSpec(
    name="text-ranking",
    pipeline=TextRankingPipeline,
    auto_classes=(AutoModelForSequenceClassification,),
    help="Rank documents by how well they answer a query.",
    example='"How large is Berlin?", ["Berlin has 3.5 million inhabitants.", "Bears eat berries."]',
    default_model=("cross-encoder/ms-marco-MiniLM-L6-v2", None),
    parts=(InputPart("query", option="query"), InputPart("documents", is_list=True, option="documents")),
    columns=fixed_columns("index", "score", "ranking", cells=_ranking),
)
