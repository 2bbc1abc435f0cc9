"""What a task is asked: inputs from the command line's words, from stdin, or from a table's columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from onnxpipe.cli.run.answers import InputError
from onnxpipe.cli.run.streaming import TEXT_KEYS
from onnxpipe.cli.run.table import Table, TableError

#: Tasks whose input has two named parts, the second of which is a list in the last two.
PARTS: Mapping[str, tuple[str, str]] = {
    "question-answering": ("question", "context"),
    "text-ranking": ("query", "documents"),
    "sentence-similarity": ("source_sentence", "sentences"),
}
_LISTS = frozenset({"documents", "sentences"})


@dataclass(frozen=True)
class Given:
    """Parts of an input that options name; the same for every input.

    Attributes:
        question, context: of question-answering.
        query: of text-ranking, or the source sentence of sentence-similarity.
        documents: what `query` is compared to.
    """

    question: str | None = None
    context: str | None = None
    query: str | None = None
    documents: tuple[str, ...] = ()

    def parts(self, task: str) -> dict[str, Any]:
        """The parts by the names that the task gives them.

        Raises:
            click.UsageError: an option of another task.
        """
        answering = task == "question-answering"
        if (self.question is not None or self.context is not None) and not answering:
            raise click.UsageError(f"--question and --context are for question-answering, not for {task}")
        if (self.query is not None or self.documents) and (answering or task not in PARTS):
            raise click.UsageError(f"--query and --documents are for text-ranking and sentence-similarity, not {task}")
        if task not in PARTS:
            return {}
        first, second = PARTS[task]
        values = (self.question, self.context) if answering else (self.query, list(self.documents) or None)
        return {name: value for name, value in zip((first, second), values) if value is not None}


def word_inputs(task: str, words: Sequence[str], given: Given, stdin: Iterable[str]) -> Iterator[Any]:
    """Inputs from the command line's words; `-` stands for the lines of stdin.

    With `--context` the words are questions, with `--question` contexts, with `--query` documents. A word that begins
    with `{` is JSON; where it is not, an `InputError` stands in its place. Tasks that write text take every word as it
    is, and text-generation a chat as JSON too.

    Raises:
        click.UsageError: nothing to answer.
    """
    parts = given.parts(task)
    if not words and len(parts) < 2 and not given.documents:
        raise click.UsageError("nothing to answer: give INPUT (- for stdin) or --input FILE")
    texts = expand(words, stdin)
    if task in TEXT_KEYS:
        return (_chat_or_text(text) for text in texts) if task == "text-generation" else texts
    if not parts:
        return (_word(text) for text in texts)
    first, second = PARTS[task]
    if second in _LISTS:
        if first not in parts:
            raise click.UsageError("--documents needs --query")
        return iter([{first: parts[first], second: [*parts.get(second, []), *texts]}])
    if len(parts) == 2:
        if words:
            raise click.UsageError("--question and --context are one input: leave INPUT out")
        return iter([parts])
    (missing,) = {first, second} - parts.keys()
    return ({**parts, missing: text} for text in texts)


def column_inputs(task: str, table: Table, spec: str | None, given: Given) -> Callable[[Mapping[str, Any]], Any]:
    """How a row becomes an input.

    Args:
        task: its own name, no alias.
        table: the table; its columns are checked.
        spec: a column's name, `keyword=column,...` for an input with several parts, or None for the evident one.
        given: parts that every row shares.

    Returns:
        A function from a row's cells to the input, or to an `InputError` where a cell is missing.

    Raises:
        TableError: no such column; or none was named and none is evident.
        click.UsageError: `keyword=column` without a name on one side.
    """
    parts = given.parts(task)
    chosen = _columns(task, table, spec, parts)
    names = [chosen] if isinstance(chosen, str) else [*chosen.values()]
    for name in names:
        if name not in table.columns:
            raise TableError(f"{table.path} has no column {name!r}; its columns: {listed(table.columns)}")

    def build(cells: Mapping[str, Any]) -> Any:
        missing = [name for name in names if name not in cells]
        if missing:
            return InputError(f"no column {missing[0]!r}")
        if isinstance(chosen, str):
            return _chat_or_text(cells[chosen]) if task == "text-generation" else cells[chosen]
        try:
            return {**parts, **{part: _part(part, cells[name]) for part, name in chosen.items()}}
        except ValueError as error:
            return InputError(str(error))

    return build


def _columns(task: str, table: Table, spec: str | None, parts: Mapping[str, Any]) -> str | dict[str, str]:
    """The column of the text, or the column of each part of the input that `parts` does not give."""
    wanted = [part for part in PARTS.get(task, ()) if part not in parts]
    if spec is not None and (spec in table.columns or "=" not in spec):
        return {wanted[0]: spec} if parts and len(wanted) == 1 else spec
    if spec is not None:
        return pairs(spec)
    if wanted and all(part in table.columns for part in wanted):
        return {part: part for part in wanted}
    if task not in PARTS or (parts and len(wanted) == 1):
        (evident,) = table.columns if len(table.columns) == 1 else ("text",)
        if evident in table.columns:
            return {wanted[0]: evident} if wanted else evident
    example = f"{wanted[0]}=NAME,{wanted[1]}=NAME" if len(wanted) == 2 else "NAME"
    raise TableError(f"which column is to be read? --column {example}; {table.path} has {listed(table.columns)}")


def pairs(spec: str) -> dict[str, str]:
    """`keyword=column,keyword=column` as a dict."""
    found: dict[str, str] = {}
    for each in spec.split(","):
        part, equals, name = each.partition("=")
        if not (equals and part.strip() and name):
            raise click.UsageError(f"--column {spec!r}: give NAME, or KEYWORD=NAME,KEYWORD=NAME")
        found[part.strip()] = name
    return found


def _part(part: str, cell: Any) -> Any:
    """A part of an input from its cell; parts that are lists may stand in it as JSON."""
    if part not in _LISTS or not isinstance(cell, str):
        return cell
    if not cell.startswith("["):
        return [cell]
    try:
        return json.loads(cell)
    except ValueError as error:
        raise ValueError(f"{part} begins with '[' and is no JSON list: {error}") from None


def _word(text: str) -> Any:
    if not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        return InputError(f"what begins with '{{' is read as JSON, and this is none: {error}: {text:.80}")


def _chat_or_text(cell: Any) -> Any:
    """A chat, where the text is the JSON of its messages or of one; else what is there."""
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        value = json.loads(cell)
    except ValueError:
        return cell
    messages = value if isinstance(value, list) else [value]
    chat = bool(messages) and all(isinstance(each, dict) and {"role", "content"} <= each.keys() for each in messages)
    return messages if chat else cell


def expand(words: Sequence[str], stdin: Iterable[str]) -> Iterator[str]:
    """The words, `-` replaced by the lines of stdin."""
    for word in words:
        if word == "-":
            yield from (line.rstrip("\r\n") for line in stdin)
        else:
            yield word


def listed(names: Sequence[str]) -> str:
    """Names of columns for an error."""
    return ", ".join(map(repr, names)) or "none"
