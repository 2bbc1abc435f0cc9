"""Inputs that are texts: from the command line, from stdin, or from a table's columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.run.answers import InputError
from onnxpipe.processing.json_text import parse_json
from onnxpipe.processing.tables.files import Table
from onnxpipe.processing.tables.lines import TableError

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class InputParts:
    """Parts of inputs that options name; they are the same for every input.

    Attributes:
        question: a question about every text.
        context: the text that holds the answers to all questions.
        query: the text that others are compared with.
        documents: the texts that `query` is compared with.
    """

    question: str | None = None
    context: str | None = None
    query: str | None = None
    documents: tuple[str, ...] = ()

    def of(self, spec: TaskSpec) -> dict[str, Any]:
        """Return the parts that options name, by the names that the task has for them."""
        values = {
            "question": self.question,
            "context": self.context,
            "query": self.query,
            "documents": list(self.documents) or None,
        }
        parts = {part.name: values[part.option] for part in spec.parts if part.option is not None}
        return {name: value for name, value in parts.items() if value is not None}


def word_inputs(spec: TaskSpec, words: Sequence[str], shared: InputParts, stdin: Iterable[str]) -> Iterator[Any]:
    """Build inputs from the command line's arguments; `-` stands for the lines of stdin.

    With `--context` the arguments are questions, with `--question` contexts, with `--query` documents. An argument
    that begins with `{` is JSON; if it cannot be parsed, an `InputError` stands in its place. Tasks that generate text
    take every argument as it is; those that chat take a chat as JSON too.

    Raises:
        click.UsageError: there is nothing to answer.
    """
    parts = shared.of(spec)
    if not words and len(parts) < 2 and not shared.documents:
        raise click.UsageError("no INPUT: give texts (- for the lines of stdin), or --input FILE")
    texts = expand(words, stdin)
    if spec.text_key is not None:
        return (_chat_or_text(text) for text in texts) if spec.chats else texts
    if not parts:
        return (json_input(text) for text in texts)
    first, second = spec.parts
    if second.is_list:
        if first.name not in parts:
            raise click.UsageError(f"--{second.option} needs --{first.option}")
        return iter([{first.name: parts[first.name], second.name: [*parts.get(second.name, []), *texts]}])
    if len(parts) == 2:
        if words:
            raise click.UsageError(f"--{first.option} and --{second.option} are one input: leave INPUT out")
        return iter([parts])
    (missing,) = {first.name, second.name} - parts.keys()
    return ({**parts, missing: text} for text in texts)


def column_inputs(
    spec: TaskSpec, table: Table, column: str | None, shared: InputParts
) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that builds an input from a row's cells, or an `InputError` where a cell is missing.

    Args:
        spec: the task.
        table: the table; its columns are checked.
        column: the value of `--column`: a column's name, `part=column,...` for an input with several parts, or None
            for the column that is evident.
        shared: parts that are the same for every row.

    Raises:
        TableError: no such column; or none was named and none is evident.
        click.UsageError: `part=column` without a name on one side.
    """
    parts = shared.of(spec)
    columns = _columns(spec, table, column, parts)
    names = [columns] if isinstance(columns, str) else [*columns.values()]
    check_columns(table, names)
    lists = _list_parts()

    def build(cells: Mapping[str, Any]) -> Any:
        missing = [name for name in names if name not in cells]
        if missing:
            return InputError(f"no column {missing[0]!r}")
        unfit = next(filter(None, (_unfit(name, cells[name]) for name in names)), None)
        if unfit is not None:
            return InputError(unfit)
        if isinstance(columns, str):
            return _chat_or_text(cells[columns]) if spec.chats else cells[columns]
        try:
            values = {
                part: parse_list(part, cells[name]) if part in lists else cells[name] for part, name in columns.items()
            }
        except ValueError as error:
            return InputError(str(error))
        return {**parts, **values}

    return build


def _columns(spec: TaskSpec, table: Table, column: str | None, shared: Mapping[str, Any]) -> str | dict[str, str]:
    """Return the column of the text, or the columns of the parts that options do not give."""
    missing = [part.name for part in spec.parts if part.name not in shared]
    single = bool(shared) and len(missing) == 1
    if column is not None and (column in table.columns or "=" not in column):
        return {missing[0]: column} if single else column
    if column is not None:
        return parse_pairs(column)
    if missing and all(part in table.columns for part in missing):
        return {part: part for part in missing}
    if not spec.parts or single:
        (evident,) = table.columns if len(table.columns) == 1 else ("text",)
        if evident in table.columns:
            return {missing[0]: evident} if missing else evident
    example = f"{missing[0]}=NAME,{missing[1]}=NAME" if len(missing) == 2 else "NAME"
    raise TableError(f"name the column to read: --column {example}; {table.path} has {quoted(table.columns)}")


def _unfit(name: str, cell: Any) -> str | None:
    """Tell why a cell of JSONL is not text, or a list or object of texts; None if it may be."""
    if cell is None:
        return f"the column {name!r} is null"
    if isinstance(cell, (bool, int, float)):
        return f"the column {name!r} is {json.dumps(cell)}, not text"
    return None


def _list_parts() -> set[str]:
    """Return the names of parts that are lists of texts, of all tasks: those that users register name no parts."""
    from onnxpipe.tasks.registry import all_tasks

    return {part.name for spec in all_tasks() if not spec.takes_files for part in spec.parts if part.is_list}


def check_columns(table: Table, names: Iterable[str]) -> None:
    """Raise a `TableError` where the table lacks a column."""
    for name in names:
        if name not in table.columns:
            raise TableError(f"{table.path} has no column {name!r}; its columns: {quoted(table.columns)}")


def parse_pairs(text: str) -> dict[str, str]:
    """Parse the `part=column,part=column` of `--column`."""
    columns: dict[str, str] = {}
    for pair in text.split(","):
        part, equals, name = pair.partition("=")
        if not (equals and part.strip() and name):
            raise click.UsageError(f"--column {text!r}: give NAME, or KEYWORD=NAME,KEYWORD=NAME")
        columns[part.strip()] = name
    return columns


def parse_list(part: str, cell: Any, split: bool = False) -> Any:
    """Parse a cell that holds a list: as JSON if it begins with `[`, else as one text.

    Args:
        part: the part's name, for the error.
        cell: the cell; what is not text is returned as it is.
        split: split other texts at commas.

    Raises:
        ValueError: it begins with `[` but is not JSON.
    """
    if not isinstance(cell, str):
        return cell
    if not cell.startswith("["):
        return [each.strip() for each in cell.split(",")] if split else [cell]
    try:
        return parse_json(cell)
    except ValueError as error:
        raise ValueError(f"{part} begins with '[' but is not a JSON list: {error}") from None


def json_input(text: str) -> Any:
    """Parse a text that begins with `{` as JSON, to an `InputError` if it is not; return others as they are."""
    if not text.startswith("{"):
        return text
    try:
        return parse_json(text)
    except ValueError as error:
        return InputError(f"an input that begins with '{{' must be JSON: {error}: {text:.80}")


def _chat_or_text(cell: Any) -> Any:
    """Parse a text that is the JSON of a chat's messages, or of one message; return others as they are."""
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        value = parse_json(cell)
    except ValueError:
        return cell
    messages = value if isinstance(value, list) else [value]
    chat = bool(messages) and all(isinstance(each, dict) and {"role", "content"} <= each.keys() for each in messages)
    return messages if chat else cell


def expand(words: Sequence[str], stdin: Iterable[str]) -> Iterator[str]:
    """Replace `-` among the arguments by the lines of stdin."""
    for word in words:
        if word == "-":
            yield from (line.rstrip("\r\n") for line in stdin)
        else:
            yield word


def quoted(names: Sequence[str]) -> str:
    """Join names of columns for an error."""
    return ", ".join(map(repr, names)) or "none"
