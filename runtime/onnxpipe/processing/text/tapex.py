"""Write a table as a text, as TAPEX was trained to read it: "question col : a | b row 1 : x | y row 2 : ..."

Source: the paper (arXiv:2107.07653) and the tokenizer that transformers had until 4.x.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.tables.text_table import TextTable
from onnxpipe.processing.text.inputs import one_text
from onnxpipe.processing.text.tokenizer import Tokenizer

_CLASS = "TapexTokenizer"
_LONGEST_CELL = 15
_SPECIAL = 2  # tokens around a text


@dataclass(frozen=True)
class TableText:
    """A question and a table as one text.

    Attributes:
        text: what the model reads.
        rows: the rows of the table that are in it.
    """

    text: str
    rows: int


def table_text(tokenizer: Tokenizer, table: TextTable, question: str, drop_rows: bool = False) -> TableText:
    """Write a question and a table as one text.

    With TAPEX's own tokenizer class cells are cut to its `max_cell_length` (15) tokens, and the text is in lower case
    unless `do_lower_case` is false; with any other class the files may ask for both.

    Args:
        tokenizer: the model's.
        table: the table.
        question: the question.
        drop_rows: leave out the rows at the end that the model's length has no room for.

    Raises:
        ValueError: the question is no text, or blank.
        UnsupportedError: with `drop_rows`, not even one row fits.
    """
    if not one_text(question, "the question").strip():
        raise ValueError("query is empty: ask a question about the table")
    settings = tokenizer.settings
    own = (settings.tokenizer_class or "").removesuffix("Fast") == _CLASS
    longest = settings.config.get("max_cell_length", _LONGEST_CELL if own else None)
    lower = settings.config.get("do_lower_case", own)
    cells = [[_shortened(tokenizer, cell, longest, lower) for cell in row] for row in table.rows]
    head = f"{question} col : {' | '.join(table.columns)}"
    rows = [f"row {number} : {' | '.join(row)}" for number, row in enumerate(cells, 1)]
    if lower:
        head, rows = head.lower(), [row.lower() for row in rows]
    kept = _fitting(tokenizer, head, rows) if drop_rows else len(rows)
    return TableText(" ".join([head, *rows[:kept]]).rstrip(), kept)


def _shortened(tokenizer: Tokenizer, cell: str, longest: Any, lower: bool) -> str:
    """Cut a cell to so many tokens; one that has as many is written as they are, with the blank before the first."""
    # every token has a byte of its own, the blank before the first among them: a short cell needs no tokenizing
    if longest is None or len(cell.encode()) + 1 < longest or not cell.strip():
        return cell
    tokens = tokenizer.tokenize(cell.lower() if lower else cell)
    return cell if len(tokens) < longest else tokenizer.convert_tokens_to_string(tokens[: int(longest)])


def _fitting(tokenizer: Tokenizer, head: str, rows: Iterable[str]) -> int:
    """Count the first rows for which the model has room after the question and the header."""
    room = tokenizer.model_max_length - _SPECIAL - len(tokenizer.tokenize(head))
    kept = 0
    for row in rows:
        room -= len(tokenizer.tokenize(f" {row}"))
        if room < 0:
            break
        kept += 1
    if not kept:
        raise UnsupportedError(
            f"the question, the header and the first row do not fit into the {tokenizer.model_max_length} tokens that "
            "the model takes: ask a shorter question, or leave columns out"
        )
    return kept
