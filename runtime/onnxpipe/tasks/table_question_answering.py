"""table-question-answering: answer questions about a table, by its cells (TAPAS) or by a text (TAPEX)."""

from __future__ import annotations

import logging
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NotRequired, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array, Padding, Row
from onnxpipe.engine.scheduler import Answered, OnError, Outputs
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.models.auto import AutoModelForTableQuestionAnswering
from onnxpipe.processing.tables.text_table import TextTable, text_table
from onnxpipe.processing.text.inputs import one_text, text_list
from onnxpipe.processing.text.tapas.answers import Cell, cell_probabilities, cells_of, mark_answer
from onnxpipe.processing.text.tapas.settings import TapasSettings
from onnxpipe.processing.text.tapas.tokenizer import EncodedQuestion, TapasTokenizer, drops_rows
from onnxpipe.processing.text.tapex import table_text
from onnxpipe.tasks.base.call_types import GenerationCallOptions, Stream
from onnxpipe.tasks.base.columns import Cells, fixed_columns
from onnxpipe.tasks.base.datasets import PipelineIterator, is_dataset
from onnxpipe.tasks.base.generation import GenerationOptions, GenerationPipeline
from onnxpipe.tasks.base.option_rules import choice_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import InputPart, TaskSpec

logger = logging.getLogger("onnxpipe")

#: The options of models that select cells.
_OF_CELLS = ("sequential", "padding", "truncation")


@dataclass(frozen=True)
class TableQuestionAnsweringOptions(GenerationOptions):
    """Options of table-question-answering; with a model that generates every other keyword is `generate()`'s.

    Attributes:
        sequential: the questions about a table follow from each other: each is asked with the answer to the one before
            it (for models that were trained so, on SQA).
        padding: makes no difference: an answer does not depend on padding.
        truncation: "drop_rows_to_fit" (or True) leaves out the rows at the end that do not fit, and says so once;
            "do_not_truncate" (or False) refuses such a table. By default TAPAS drops rows, and TAPEX does not.
    """

    sequential: bool = False
    padding: bool | str = choice_option(True, "longest", "max_length", "do_not_pad")
    truncation: bool | str | None = choice_option(None, "drop_rows_to_fit", "do_not_truncate")
    warned: set[str] = field(default_factory=set, repr=False, compare=False)


class TableQuestionAnsweringCallOptions(GenerationCallOptions, total=False):
    """The options of a call: see `TableQuestionAnsweringOptions`."""

    sequential: bool | None
    padding: bool | str | None
    truncation: bool | str | None


class TableAnswer(TypedDict):
    """An answer; of a model that selects cells also these, their (row, column) from 0, and how they are aggregated."""

    answer: str
    coordinates: NotRequired[list[Cell]]
    cells: NotRequired[list[str]]
    aggregator: NotRequired[str]


@dataclass(frozen=True)
class _Asked:
    """What decoding needs of a row: the table, and the token types of the questions that were asked in it."""

    table: TextTable
    types: tuple[Array, ...] = ()


class TableQuestionAnsweringPipeline(GenerationPipeline[TableQuestionAnsweringOptions]):
    """Answer questions about tables: `{"answer", "coordinates", "cells", "aggregator"}`, of TAPEX `{"answer"}`.

    It accepts a table and a question (or a list of questions) as two arguments or as `{"table", "query"}`, a list of
    such dicts, or a stream of them. A table is a dict of columns, a list of rows (dicts, or lists of which the first is
    the header), the path of a CSV, TSV or JSONL file, or a DataFrame; see `text_table`.

    Attributes:
        type: "tapas", or None for a model that generates.
    """

    Options = TableQuestionAnsweringOptions
    _load_tokenizer = True
    _load_image_processor = False
    _load_video_processor = False
    input_modalities = "table"
    always_generates = False
    token_budget: ClassVar[int] = 2048

    def prepare(self) -> None:
        super().prepare()
        config = self.model.config
        self.type = None if self.model.can_generate() else "tapas"
        if self.type is None:
            return
        if not isinstance(self._tokenizer, TapasTokenizer):
            raise UnsupportedError(
                f"{self.model.name_or_path} is a TAPAS, and its tokenizer is a {type(self._tokenizer).__name__}: "
                "'tokenizer_class' of its tokenizer_config.json should be TapasTokenizer"
            )
        self._settings = TapasSettings.of(config, self.model.name_or_path)
        if self._settings.aggregations and "logits_aggregation" not in self.model.session.outputs:
            raise UnsupportedError(
                f"the config of {self.model.name_or_path} tells of aggregations, but its graph gives no scores of them"
            )

    def parse(
        self, kwargs: Mapping[str, Any], base: TableQuestionAnsweringOptions | None
    ) -> TableQuestionAnsweringOptions:
        if self.type is None:
            return replace(super().parse(kwargs, base), warned=set())
        for name, value in kwargs.items():
            if name not in _OF_CELLS and value is not None:
                where = f"{type(self).__name__} with a TAPAS, which does not generate,"
                raise UnknownArgumentError.among(where, name, _OF_CELLS)
        return replace(Pipeline.parse(self, kwargs, base), warned=set())

    # -- the call ---------------------------------------------------------------------------------------------------
    @overload
    def __call__(self, table: Any, query: str, **options: Unpack[TableQuestionAnsweringCallOptions]) -> TableAnswer: ...
    @overload
    def __call__(
        self, table: Any, query: Sequence[str], **options: Unpack[TableQuestionAnsweringCallOptions]
    ) -> Any: ...
    @overload
    def __call__(
        self, table: Mapping[str, Any] | list[Mapping[str, Any]], **options: Unpack[TableQuestionAnsweringCallOptions]
    ) -> Any: ...
    @overload
    def __call__(
        self, table: Stream, **options: Unpack[TableQuestionAnsweringCallOptions]
    ) -> PipelineIterator[Any]: ...
    def __call__(self, table: Any = None, query: Any = None, **options: Any) -> Any:
        """Answer questions about a table.

        Args:
            table: a table; or a dict with the keys "table" and "query", a list of such dicts, or a stream of them.
            query: a question, or a list of them.
            **options: see `TableQuestionAnsweringOptions` and `Pipeline.__call__`.

        Returns:
            A dict for one question, a list of them for several; for a list of inputs a list. A list of one is the one
            (as in transformers).
        """
        inputs = _inputs(table, query)
        answers = super().__call__(inputs, **options)
        return answers[0] if isinstance(inputs, list) and len(answers) == 1 else answers

    def dispatch(
        self,
        inputs: Any,
        options: TableQuestionAnsweringOptions,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        if self.type is not None:
            return Pipeline.dispatch(self, inputs, options, num_workers, batch_size, on_error)
        return super().dispatch(inputs, options, num_workers, batch_size, on_error)

    def padding(self) -> Padding:
        """The tokenizer's padding; None for models whose choice of no column depends on it."""
        return Padding(None) if self.model.config.get("allow_empty_column_selection") else super().padding()

    def can_stream(self, **options: Any) -> bool:
        """Whether `stream` can answer with these options: models that select cells have nothing to stream."""
        return False

    # -- questions to rows ------------------------------------------------------------------------------------------
    def encode(self, value: Any, options: TableQuestionAnsweringOptions) -> Iterator[Row]:
        table, questions = _question(value)
        drop = drops_rows(self.type is not None if options.truncation is None else options.truncation)
        if self.type is None:
            yield from (self._text_row(table, question, drop, options) for question in questions)
            return
        tokenizer: Any = self.tokenizer  # a TapasTokenizer, see prepare()
        encoder = tokenizer.encoder(table, self._settings.limits(tokenizer), drop)
        encoded = [encoder.encode(question) for question in questions]
        self._say_dropped(min(each.rows for each in encoded), table, options)
        if options.sequential:
            yield _cell_row(table, encoded)
        else:
            yield from (_cell_row(table, [each]) for each in encoded)

    def _text_row(self, table: TextTable, question: str, drop: bool, options: TableQuestionAnsweringOptions) -> Row:
        written = table_text(self.tokenizer, table, question, drop)
        self._say_dropped(written.rows, table, options)
        encoding = self.tokenizer((self.prefix or "") + written.text)
        limit = self.model.config.get("max_position_embeddings")
        if isinstance(limit, int) and len(encoding["input_ids"]) > limit:
            raise UnsupportedError(
                f"the question and the table have {len(encoding['input_ids'])} tokens, and the model takes at most "
                f"{limit}: pass truncation='drop_rows_to_fit', or fewer rows"
            )
        return self.row(encoding["input_ids"], encoding.get("attention_mask"), _Asked(table), options)

    def _say_dropped(self, kept: int, table: TextTable, options: TableQuestionAnsweringOptions) -> None:
        if kept < len(table.rows) and "rows" not in options.warned:
            options.warned.add("rows")
            logger.warning(
                "A table has %d rows, and only the first %d fit the model: the others are not looked at. "
                "(Said once a call.)", len(table.rows), kept,
            )  # fmt: skip

    # -- rows to answers --------------------------------------------------------------------------------------------
    def run(self, rows: Sequence[Row], options: TableQuestionAnsweringOptions) -> list[Outputs]:
        if self.type is None:
            return super().run(rows, options)
        if options.sequential:
            return [self._run_sequence(row) for row in rows]
        return Pipeline.run(self, rows, options)

    def _run_sequence(self, row: Row) -> Outputs:
        """Run the questions of a row one after the other, each with the cells of the answer before it marked."""
        collected: dict[str, list[Array]] = {}
        start, before = 0, None
        for types_ in row.extra.types:
            part = slice(start, start := start + len(types_))
            feeds = {name: array[part][None] for name, array in row.feeds.items()}
            if before is not None:
                feeds["token_type_ids"] = mark_answer(types_, before)[None]
            outputs = self.model.run(feeds)
            before = cell_probabilities(outputs["logits"][0], types_)
            for name, array in outputs.items():
                collected.setdefault(name, []).append(array[0])
        return {
            name: np.concatenate(arrays) if name in self.model.per_token else np.stack(arrays)
            for name, arrays in collected.items()
        }

    def decode(self, rows: Answered, options: TableQuestionAnsweringOptions) -> Any:
        answers: list[TableAnswer] = []
        for row, outputs in rows:
            asked: _Asked = row.extra
            if self.type is None:
                tokens = outputs["sequences"][0]
                answers.append({"answer": self.tokenizer.decode(tokens[tokens >= 0], **self.decode_kwargs(options))})
                continue
            ends = np.cumsum([len(each) for each in asked.types])[:-1]
            aggregates = bool(self._settings.aggregations)
            aggregated = outputs["logits_aggregation"].reshape(len(asked.types), -1) if aggregates else None
            for number, (logits, types_) in enumerate(zip(np.split(outputs["logits"], ends), asked.types)):
                cells = cells_of(logits, types_)
                answers.append(self._answer(asked.table, cells, None if aggregated is None else aggregated[number]))
        return answers if len(answers) > 1 else answers[0]

    def _answer(self, table: TextTable, coordinates: list[Cell], aggregated: Array | None) -> TableAnswer:
        cells = [table.rows[row][column] for row, column in coordinates]
        answer: TableAnswer = {"answer": ", ".join(cells), "coordinates": coordinates, "cells": cells}
        if aggregated is None:
            return answer
        chosen = int(aggregated.argmax())
        name = self._settings.aggregations[chosen]
        answer["aggregator"] = name
        if chosen != self._settings.none:
            answer["answer"] = f"{name} > {answer['answer']}"
        return answer


def _cell_row(table: TextTable, encoded: Sequence[EncodedQuestion]) -> Row:
    """Build the row of a question, or of questions that are run one after the other."""
    ids = np.concatenate([each.ids for each in encoded])
    kinds = np.concatenate([each.types for each in encoded])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": kinds}
    return Row(feeds, len(ids), _Asked(table, tuple(each.types for each in encoded)))


def _inputs(table: Any, query: Any) -> Any:
    """Sort out the ways in which inputs are passed: one `{"table", "query"}`, a list of them, or a stream."""
    if query is not None:
        return {"table": table, "query": query}
    if isinstance(table, types.GeneratorType) or (is_dataset(table) and not hasattr(table, "columns")):
        return table
    if isinstance(table, list) and any(isinstance(each, Mapping) and "table" in each for each in table):
        return table  # what is no input among them is an error of its own
    if isinstance(table, Mapping) and "table" in table:
        return table
    if table is None:
        raise ValueError("Keyword argument `table` cannot be None.")
    raise ValueError("there is no question: pass query=, or {'table': ..., 'query': ...} or a list of such dicts")


def _question(value: Any) -> tuple[TextTable, list[str]]:
    """Check an input; return the table and the questions."""
    if not isinstance(value, Mapping) or set(value) != {"table", "query"}:
        keys = f"has the keys {sorted(map(str, value))}" if isinstance(value, Mapping) else f"is {type(value).__name__}"
        raise ValueError(f"an input of table-question-answering is {{'table': ..., 'query': ...}}; this one {keys}")
    query = value["query"]
    if query is None or query == "":
        raise ValueError("query is empty")
    questions = [query] if isinstance(query, str) else text_list(query, "query")
    if not questions:
        raise ValueError("query is empty: it is a list without a question")
    for number, question in enumerate(questions):
        if not one_text(question, "query").strip():
            raise ValueError(f"query is empty: question {number} is blank" if len(questions) > 1 else "query is empty")
    return text_table(value["table"]), questions


def _cells(answer: Any) -> Cells:
    if isinstance(answer, list):
        return {name: [each.get(name) for each in answer] for name in ("answer", "aggregator", "cells", "coordinates")}
    return {name: answer[name] for name in ("answer", "aggregator", "cells", "coordinates") if name in answer}


TASK = TaskSpec(
    name="table-question-answering",
    pipeline=TableQuestionAnsweringPipeline,
    auto_classes=(AutoModelForTableQuestionAnswering,),
    help="Answer questions about a table.",
    example='"sales.csv", "How many units were sold in May?"',
    default_model=("google/tapas-base-finetuned-wtq", "e3dde19"),
    input="table",
    parts=(InputPart("table"), InputPart("query", option="question")),
    columns=fixed_columns("answer", "aggregator", "cells", "coordinates", cells=_cells),
)
