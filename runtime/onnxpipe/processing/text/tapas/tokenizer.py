"""TAPAS's tokenizer: a question and a table to ids, with seven token types that say where in the table a token is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.arrays import check_tensor_type, to_array
from onnxpipe.processing.tables.text_table import TextTable, text_table
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.inputs import one_text, text_list
from onnxpipe.processing.text.tapas.answers import cells_of
from onnxpipe.processing.text.tapas.features import TableValues
from onnxpipe.processing.text.tapas.fit import Cut, Pieces, fit, word_starts
from onnxpipe.processing.text.tokenizer import Tokenizer

Array = NDArray[Any]

#: The token types, in their order.
TOKEN_TYPES = ("segment", "column", "row", "previous answer", "rank", "inverse rank", "relation")

_EMPTY = frozenset({"n/a", "?", "nan"})


@dataclass(frozen=True)
class TableLimits:
    """What a model takes of a table.

    Attributes:
        length: the most tokens.
        rows, columns: below these are the numbers of rows and columns.
        ranks: the largest rank, and the largest inverse rank; greater ones are lowered to it. None for no limit.
    """

    length: int
    rows: int
    columns: int
    ranks: tuple[int, int] | None = None


@dataclass(frozen=True)
class EncodedQuestion:
    """A question with a table, for the model.

    Attributes:
        ids: int64 (tokens,).
        types: int64 (tokens, 7); the names are `TOKEN_TYPES`.
        rows: the rows of the table that fitted.
    """

    ids: Array
    types: Array
    rows: int


class TapasTokenizer(Tokenizer):
    """Encode questions with tables, and read answers off the model's scores. Threads may share one.

    Attributes:
        max_row_id, max_column_id: tables must have fewer rows and columns; further rows are dropped.
        cell_trim_length: the pieces that cells are cut to at most; -1 for as many as fit.
    """

    def __call__(  # type: ignore[override] # a table is no text
        self,
        table: Any,
        queries: str | Sequence[str],
        *,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: Any = None,
    ) -> BatchEncoding:
        """Encode one question or several with a table.

        Args:
            table: whatever `text_table` takes: a dict of columns, a list of rows, the path of a CSV file, a DataFrame.
            queries: a question, or a list of them.
            padding: False, "do_not_pad"; True, "longest"; or "max_length".
            truncation: True or "drop_rows_to_fit" drops rows from the end, and of long cells the last words, until the
                rest fits; False or "do_not_truncate".
            max_length: the most tokens of a row; None for the model's limit.
            return_tensors: "np" for int64 arrays: ids (batch, tokens), token types (batch, tokens, 7).

        Returns:
            `input_ids`, `attention_mask` and `token_type_ids`: lists for one question, else lists of rows.

        Raises:
            TableError: what is passed is no table.
            ValueError: a question that is empty or no text, or a table of too many rows or columns.
        """
        check_tensor_type(return_tensors)
        single = isinstance(queries, str)
        questions = [queries] if isinstance(queries, str) else text_list(queries, "queries")
        length = max_length or self.model_max_length
        limits = TableLimits(length, self.max_row_id, self.max_column_id)
        drop = drops_rows(truncation)
        encoder = self.encoder(text_table(table), limits, drop)
        rows = [encoder.encode(question) for question in questions]
        width = _padded_length(padding, [len(row.ids) for row in rows], length, return_tensors is not None)
        columns: dict[str, list[Array]] = {"input_ids": [], "attention_mask": [], "token_type_ids": []}
        for row in rows:
            fill = max(0, (width or 0) - len(row.ids))
            columns["input_ids"].append(np.pad(row.ids, (0, fill), constant_values=self.pad_token_id or 0))
            columns["attention_mask"].append(np.pad(np.ones_like(row.ids), (0, fill)))
            columns["token_type_ids"].append(np.pad(row.types, ((0, fill), (0, 0))))
        if return_tensors is not None:
            return BatchEncoding({name: np.stack(arrays) for name, arrays in columns.items()})
        listed = {name: [array.tolist() for array in arrays] for name, arrays in columns.items()}
        return BatchEncoding({name: rows[0] for name, rows in listed.items()} if single else listed)

    def encoder(self, table: TextTable, limits: TableLimits, drop_rows: bool) -> TableEncoder:
        """Prepare a table for questions.

        Args:
            table: the table.
            limits: the model's.
            drop_rows: drop the rows at the end that do not fit.

        Raises:
            UnsupportedError: more columns than the model takes; or more rows, which are not to be dropped.
        """
        if len(table.columns) >= limits.columns:
            raise UnsupportedError(
                f"the table has {len(table.columns)} columns, and the model takes at most {limits.columns - 1}: "
                "leave out those that the question is not about"
            )
        if len(table.rows) >= limits.rows and not drop_rows:
            raise UnsupportedError(
                f"the table has {len(table.rows)} rows, and the model takes at most {limits.rows - 1}: "
                "pass truncation='drop_rows_to_fit', or fewer rows"
            )
        return TableEncoder(self, table, limits, drop_rows)

    def convert_logits_to_predictions(
        self,
        data: Any,
        logits: Any,
        logits_agg: Any = None,
        cell_classification_threshold: float = 0.5,
    ) -> tuple[Any, ...]:
        """Read the cells of each answer off the model's scores.

        Args:
            data: what this tokenizer gave, as arrays.
            logits: a score for each token, (batch, tokens).
            logits_agg: a score for each aggregation, (batch, aggregations).
            cell_classification_threshold: cells whose probability is greater belong to the answer.

        Returns:
            For each row its cells as (row, column), from 0; with `logits_agg` also the number of its aggregation.
        """
        masks, types, scores = (to_array(each) for each in (data["attention_mask"], data["token_type_ids"], logits))
        rows = zip(scores, types, masks, strict=True)
        cells = [cells_of(score, kind, mask, cell_classification_threshold) for score, kind, mask in rows]
        if logits_agg is None:
            return (cells,)
        return cells, to_array(logits_agg).argmax(axis=-1).tolist()

    # -- settings ---------------------------------------------------------------------------------------------------
    @property
    def max_row_id(self) -> int:
        """The number of rows, header included, that tables have at most."""
        return self._limit("max_row_id")

    @property
    def max_column_id(self) -> int:
        """The number that columns, counted from 1, stay below."""
        return self._limit("max_column_id")

    @property
    def cell_trim_length(self) -> int:
        """The pieces that cells are cut to at most; -1 for as many as fit."""
        value = self.settings.config.get("cell_trim_length")
        return -1 if value is None else int(value)

    def _limit(self, name: str) -> int:
        value = self.settings.config.get(name)
        return int(value) if value is not None else self.model_max_length

    def tokenize(self, text: str, *args: Any, **options: Any) -> list[str]:
        """Split a question or a cell into pieces."""
        if args or options:
            raise UnsupportedError("tokenize() of a table's tokenizer takes a text alone: a question or a cell")
        ((ids, _),) = self.cell_pieces([one_text(text, "text")])
        return list(self.convert_ids_to_tokens(list(ids)))

    # -- pieces -----------------------------------------------------------------------------------------------------
    def cell_pieces(self, texts: Sequence[str]) -> list[Pieces]:
        """Split texts into the pieces of the vocabulary; a text of punctuation alone is one [EMPTY]."""
        parts = [self._parts(text) for text in texts]
        plain = list(dict.fromkeys(part for each in parts for part in each if isinstance(part, str)))
        encoded = super().__call__(plain, add_special_tokens=False, split_special_tokens=True) if plain else {}
        known = dict(zip(plain, encoded.get("input_ids", ())))
        found = []
        for each in parts:
            ids = [number for part in each for number in (known[part] if isinstance(part, str) else [part])]
            found.append((tuple(ids), word_starts(self.convert_ids_to_tokens(ids))))
        return found

    def _parts(self, text: str) -> list[str | int]:
        """Split a text at the special tokens that stand in it as words; give their ids, and text as it is."""
        parts: list[str | int] = []
        if not text:
            return parts
        if not re.sub(r"[\W_]+", "", text) or text.lower().strip() in _EMPTY:
            return [self._empty_id]
        for part in self._special.split(text):
            number = self._special_ids.get(part)
            if number is not None:
                parts.append(number)
            elif part.strip():
                parts.append(self._cleaned(part))
        return parts

    def _cleaned(self, text: str) -> str:
        """Remove control characters, and the accents and capitals that the model does not know, as Python does.

        The backend does the same by the tables of another version of Unicode.
        """
        if text.isascii():
            return text
        kept = (each for each in text if each in "\t\n\r" or unicodedata.category(each)[0] != "C")
        text = unicodedata.normalize("NFC", "".join(kept))
        config = self.settings.config
        lower, accents = config.get("do_lower_case", True), config.get("strip_accents")
        text = text.lower() if lower else text
        if accents or (lower and accents is None):
            decomposed = unicodedata.normalize("NFD", text)
            text = "".join(each for each in decomposed if unicodedata.category(each) != "Mn")
        return text

    @cached_property
    def _special_ids(self) -> dict[str, int]:
        return {token: self.convert_tokens_to_ids(token) for token in self.all_special_tokens}

    @cached_property
    def _special(self) -> re.Pattern[str]:
        tokens = sorted(self._special_ids, key=len, reverse=True)
        return re.compile(rf"(?<!\S)({'|'.join(map(re.escape, tokens))})(?!\S)")

    @cached_property
    def _empty_id(self) -> int:
        extra = self._extra[0] if self._extra else "[EMPTY]"
        return int(self.convert_tokens_to_ids(extra))


class TableEncoder:
    """Encode questions about one table.

    Args:
        tokenizer: the model's.
        table: the table.
        limits: what the model takes.
        drop_rows: drop the rows at the end that do not fit.
    """

    def __init__(self, tokenizer: TapasTokenizer, table: TextTable, limits: TableLimits, drop_rows: bool) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._drop_rows = drop_rows
        self.table = table
        self._rows = min(len(table.rows), limits.rows - 1) if drop_rows else len(table.rows)
        self._values = TableValues.of(table)
        self._ranks = self._values.ranks()
        strip = tokenizer.settings.config.get("strip_column_names")
        shown = [[""] * len(table.columns) if strip else table.columns, *table.rows[: self._rows]]
        pieces = iter(tokenizer.cell_pieces([cell for row in shown for cell in row]))
        self._cells = [[next(pieces) for _ in row] for row in shown]

    def encode(self, question: str) -> EncodedQuestion:
        """Encode a question with as much of the table as fits.

        Raises:
            ValueError: the question is no text, or blank.
            UnsupportedError: it leaves no room for the table.
        """
        if not one_text(question, "the question").strip():
            raise ValueError("query is empty: ask a question about the table")
        ((asked, _),) = self._tokenizer.cell_pieces([question])
        cut = self._cut(len(asked))
        rows = [(self._tokenizer.cls_token_id, 0, 0, 0), *((number, 0, 0, 0) for number in asked)]
        rows.append((self._tokenizer.sep_token_id, 0, 0, 0))
        for row, cells in enumerate(self._cells[: cut.rows + 1]):
            for column, (ids, starts) in enumerate(cells, 1):
                kept = (number for number, start in zip(ids, starts) if start < cut.pieces)
                rows += [(number, 1, column, row) for number in kept]
        table = np.array(rows, np.int64)
        types = np.zeros((len(table), len(TOKEN_TYPES)), np.int64)
        types[:, :3] = table[:, 1:]
        types[:, 4:] = self._value_types(question, table)
        return EncodedQuestion(table[:, 0], types, cut.rows)

    def _cut(self, asked: int) -> Cut:
        if not self._drop_rows:
            return Cut(self._rows, max((len(ids) for row in self._cells for ids, _ in row), default=0))
        budget = self._limits.length - asked - 2
        cut = fit(self._cells, self._rows, budget, self._tokenizer.cell_trim_length)
        if cut is None:
            raise UnsupportedError(
                f"the question has {asked} tokens, and the model takes {self._limits.length} in all: they leave no "
                "room for the header and one row; ask a shorter question, or leave columns out"
            )
        return cut

    def _value_types(self, question: str, table: Array) -> Array:
        """The rank, the inverse rank and the relation of each token, (tokens, 3)."""
        relations = self._values.relations(question)
        most = self._limits.ranks
        types = np.zeros((len(table), 3), np.int64)
        for place, (_, _, column, row) in enumerate(table.tolist()):
            if row:
                cell = row - 1, column - 1
                rank, inverse = self._ranks.get(cell, (0, 0))
                types[place] = rank, inverse, relations.get(cell, 0)
        return types if most is None else np.minimum(types, (*most, types.max(initial=0)))


def drops_rows(truncation: bool | str) -> bool:
    """Tell whether a truncation drops rows.

    Raises:
        UnsupportedError: it is none that tables have.
    """
    if truncation in (True, "drop_rows_to_fit"):
        return True
    if truncation in (False, "do_not_truncate"):
        return False
    raise UnsupportedError(f"truncation={truncation!r}: choose 'drop_rows_to_fit' or 'do_not_truncate'")


def _padded_length(padding: bool | str, lengths: Sequence[int], length: int, stacked: bool) -> int | None:
    """Return the length that rows are padded to; None for no padding.

    Raises:
        UnsupportedError: an unknown padding.
        ValueError: rows of different lengths, which are to be an array, are not padded.
    """
    if padding not in (True, False, "longest", "max_length", "do_not_pad"):
        raise UnsupportedError(f"padding={padding!r}: choose 'longest', 'max_length' or 'do_not_pad'")
    if padding == "max_length":
        return length
    if padding in (True, "longest"):
        return max(lengths, default=0)
    if stacked and len(set(lengths)) > 1:
        raise ValueError("the questions have different lengths in tokens: pass padding=True to make arrays of them")
    return None
