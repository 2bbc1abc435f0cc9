"""What a task of pictures or sound is asked: files named by the command line's words, by stdin, or by a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from onnxpipe.cli.run.answers import InputError
from onnxpipe.cli.run.table import Table, TableError
from onnxpipe.cli.run.words import expand, listed, pairs

#: The parts of inputs that have several.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "keypoint-matching": ("image_0", "image_1"),
    "zero-shot-object-detection": ("image", "candidate_labels"),
}
#: Names of a column that is evidently one of files, best first.
_EVIDENT = ("image", "video", "audio", "path", "file", "filename", "file_name", "url")


def picture_words(task: str, words: Sequence[str], stdin: Iterable[str]) -> Iterator[Any]:
    """Inputs from the command line's words: paths, URLs or base64; `-` stands for the lines of stdin.

    Of keypoint-matching every two make a pair. A word of zero-shot-object-detection that begins with `{` is JSON with
    "image" and "candidate_labels".

    Raises:
        click.UsageError: nothing to answer.
    """
    if not words:
        raise click.UsageError("nothing to answer: give INPUT, a file's path or URL (- for stdin), or --input FILE")
    sources = expand(words, stdin)
    if task == "keypoint-matching":
        return _in_pairs(sources)
    return (_asked(source) if task in _PARTS else source for source in sources)


def picture_columns(task: str, table: Table, spec: str | None) -> Callable[[Mapping[str, Any]], Any]:
    """How a row becomes an input. Paths in a table are looked for beside it, then where the command runs.

    Args:
        task: its own name, no alias.
        table: the table; its columns are checked.
        spec: a column's name, `keyword=column,...` for an input with several parts, or None for the evident one.

    Returns:
        A function from a row's cells to the input, or to an `InputError` where a cell is missing.

    Raises:
        TableError: no such column; or none was named and none is evident.
        click.UsageError: `keyword=column` without a name on one side.
    """
    chosen = _columns(task, table, spec)
    names = [chosen] if isinstance(chosen, str) else [*chosen.values()]
    for name in names:
        if name not in table.columns:
            raise TableError(f"{table.path} has no column {name!r}; its columns: {listed(table.columns)}")
    folder = table.path.parent

    def build(cells: Mapping[str, Any]) -> Any:
        missing = [name for name in names if not cells.get(name)]
        if missing:
            return InputError(f"nothing in the column {missing[0]!r}")
        if isinstance(chosen, str):
            return _beside(folder, cells[chosen])
        if task == "keypoint-matching":
            return [_beside(folder, cells[chosen[part]]) for part in _PARTS[task]]
        try:
            labels = _labels(cells[chosen["candidate_labels"]])
        except ValueError as error:
            return InputError(f"candidate_labels begins with '[' and is no JSON list: {error}")
        return {"image": _beside(folder, cells[chosen["image"]]), "candidate_labels": labels}

    return build


def _columns(task: str, table: Table, spec: str | None) -> str | dict[str, str]:
    parts = _PARTS.get(task, ())
    if spec is not None and (spec in table.columns or "=" not in spec):
        if task == "keypoint-matching":
            raise click.UsageError(f"--column {spec!r}: a pair needs --column image_0=NAME,image_1=NAME")
        return spec
    if spec is not None:
        named = pairs(spec)
        if set(named) != set(parts):
            raise click.UsageError(f"--column {spec!r}: {task} reads {' and '.join(parts) or 'one column: NAME'}")
        return named
    if parts and all(part in table.columns for part in parts):
        return {part: part for part in parts}
    evident = table.columns if len(table.columns) == 1 else [name for name in _EVIDENT if name in table.columns]
    if evident and task != "keypoint-matching":
        return evident[0]
    example = "image_0=NAME,image_1=NAME" if task == "keypoint-matching" else "NAME"
    raise TableError(f"which column is to be read? --column {example}; {table.path} has {listed(table.columns)}")


def _beside(folder: Path, cell: Any) -> Any:
    """A path as it is to be opened; URLs and base64 as they are."""
    if not isinstance(cell, str) or len(cell) > 4096 or "://" in cell[:16] or "\0" in cell:
        return cell
    near = folder / cell
    return str(near) if near.is_file() else cell


def _labels(cell: Any) -> Any:
    """Labels from a cell: a list, JSON of one, or `a,b,c`."""
    if not isinstance(cell, str):
        return cell
    return json.loads(cell) if cell.startswith("[") else [label.strip() for label in cell.split(",")]


def _asked(source: str) -> Any:
    if not source.startswith("{"):
        return source
    try:
        return json.loads(source)
    except ValueError as error:
        return InputError(f"what begins with '{{' is read as JSON, and this is none: {error}: {source:.80}")


def _in_pairs(sources: Iterable[str]) -> Iterator[Any]:
    first = None
    for source in sources:
        if first is None:
            first = source
            continue
        yield [first, source]
        first = None
    if first is not None:
        yield InputError(f"{first} has no partner: keypoint-matching compares pictures two by two")
