"""Inputs that are files (images, videos, recordings): from the command line, from stdin, or from a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.run.answers import InputError
from onnxpipe.cli.run.words import InputParts, check_columns, expand, json_input, parse_list, parse_pairs, quoted
from onnxpipe.processing.file_kinds import is_video_name
from onnxpipe.processing.tables.characters import text_problem
from onnxpipe.processing.tables.files import Table
from onnxpipe.processing.tables.lines import TableError

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import InputPart, TaskSpec

#: The end of a file's name.
_SUFFIX = re.compile(r"\.\w{2,5}$")
#: Names of columns that are taken for a column of files, the most likely first.
_FILE_COLUMNS = ("image", "video", "audio", "path", "file", "filename", "file_name", "url")


def file_inputs(
    spec: TaskSpec, words: Sequence[str], stdin: Iterable[str], shared: InputParts | None = None
) -> Iterator[Any]:
    """Build inputs from the command line's arguments: paths, URLs or base64; `-` stands for the lines of stdin.

    For a task that compares images, so many arguments as it has parts make one input. For one with other parts, an
    argument that begins with `{` is JSON; parts that options name (a question) go with every file, and so does a text
    behind the files where there is no such option.

    Raises:
        click.UsageError: there are no arguments, or an option that the task needs is missing.
    """
    if not words:
        raise click.UsageError("no INPUT: give a file's path or URL (- for stdin), or --input FILE")
    given = {} if shared is None else shared.of(spec)
    lacking = [part.name for part in spec.parts if part.option is not None and part.name not in given]
    if len(lacking) == 1 and len(words) > 1 and _is_text(words[-1]):
        given, words = {**given, lacking[0]: words[-1]}, words[:-1]
    sources = map(_named, expand(words, stdin))
    if spec.parts_as_list:
        return _in_groups(sources, spec)
    return (_with_parts(source, spec, given) for source in sources)


def _is_text(word: str) -> bool:
    """Tell whether an argument is a text, and names no file: there is none, and it looks neither like one nor a URL."""
    if word.startswith(("{", "-", "data:")) or "://" in word[:16] or _SUFFIX.search(word):
        return False
    try:
        return not Path(word).exists()
    except (OSError, ValueError):  # too long for a path
        return True


def _with_parts(source: str | Path, spec: TaskSpec, given: Mapping[str, Any]) -> Any:
    """Build the input of a file, or of JSON, with the parts that options gave where it has none of its own."""
    value = json_input(source) if spec.parts and isinstance(source, str) else source
    if isinstance(value, Mapping):
        return {**given, **value}
    missing = [part.option for part in spec.parts if part.option is not None and part.name not in given]
    if missing and not isinstance(value, InputError):
        raise click.UsageError(f"{spec.name} needs --{missing[0]}, or INPUTs that are JSON with a {missing[0]}")
    return {_file_part(spec, value): value, **given} if given and not isinstance(value, InputError) else value


def _file_part(spec: TaskSpec, file: Any) -> str:
    """Return the name of the part that a file is: the first, or "video" if it is one and the task takes them."""
    return "video" if spec.takes_videos and is_video_name(file) else spec.parts[0].name


def file_columns(
    spec: TaskSpec, table: Table, column: str | None, shared: InputParts | None = None
) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that builds an input from a row's cells, or an `InputError` where a cell is empty.

    Relative paths are looked for in the table's folder, then in the working directory.

    Args:
        spec: the task.
        table: the table; its columns are checked.
        column: the value of `--column`: a column's name, `part=column,...` for an input with several parts, or None
            for the column that is evident.
        shared: parts that options name, which are the same for every row.

    Raises:
        TableError: no such column; or none was named and none is evident.
        click.UsageError: `part=column` without a name on one side, or of another task.
    """
    given = {} if shared is None else shared.of(spec)
    columns = _columns(spec, table, column, given)
    names = [columns] if isinstance(columns, str) else [*columns.values()]
    check_columns(table, names)
    folder = table.path.parent

    def build(cells: Mapping[str, Any]) -> Any:
        missing = [name for name in names if not cells.get(name)]
        if missing:
            return InputError(f"nothing in the column {missing[0]!r}")
        if isinstance(columns, str):
            file = _find_file(folder, cells[columns])
            return {_file_part(spec, file): file, **given} if given else file
        try:
            parts = {
                part.name: _part(part, folder, cells[columns[part.name]]) for part in spec.parts if part.name in columns
            }
        except ValueError as error:
            return InputError(str(error))
        if spec.parts_as_list:
            return [*parts.values()]
        first = spec.parts[0].name
        return {**given, **{_file_part(spec, file) if name == first else name: file for name, file in parts.items()}}

    return build


def _part(part: InputPart, folder: Path, cell: Any) -> Any:
    """Return the part of an input that a cell holds: a list, a text, or a file."""
    if part.is_list:
        return parse_list(part.name, cell, split=True)
    return cell if part.option is not None else _find_file(folder, cell)


def _columns(spec: TaskSpec, table: Table, column: str | None, given: Mapping[str, Any]) -> str | dict[str, str]:
    """Return the column of the file, or the column of each part of the input that no option gives."""
    parts = [part.name for part in spec.parts if part.name not in given]
    several = spec.parts_as_list or any(part.option is not None for part in spec.parts if part.name not in given)
    example = ",".join(f"{part}=NAME" for part in parts) if several else "NAME"
    if column is not None and (column in table.columns or "=" not in column):
        if several:
            raise click.UsageError(f"--column {column!r}: {spec.name} needs --column {example}")
        return column
    if column is not None:
        columns = parse_pairs(column)
        if set(columns) != set(parts):
            raise click.UsageError(
                f"--column {column!r}: {spec.name} reads {' and '.join(parts) or 'one column: NAME'}"
            )
        return columns
    if parts and all(part in table.columns for part in parts):
        return {part: part for part in parts}
    evident = table.columns if len(table.columns) == 1 else [name for name in _FILE_COLUMNS if name in table.columns]
    if evident and not several:
        return evident[0]
    raise TableError(f"name the column to read: --column {example}; {table.path} has {quoted(table.columns)}")


def _find_file(folder: Path, cell: Any) -> Any:
    """Return the path to open: in the table's folder if the file is there; URLs and base64 as they are."""
    if not isinstance(cell, str) or len(cell) > 4096 or "://" in cell[:16] or "\0" in cell:
        return cell
    near = folder / cell
    return str(near) if near.is_file() else cell


def _named(source: str) -> str | Path:
    """Return the name of a file as a `Path` where it has bytes that are not UTF-8, which an input that is text may not
    have."""
    path = Path(source)
    return path if text_problem(source) and path.is_file() else source


def _in_groups(sources: Iterable[Any], spec: TaskSpec) -> Iterator[Any]:
    """Group the arguments into inputs with one argument for each part."""
    group: list[Any] = []
    for source in sources:
        group.append(source)
        if len(group) == len(spec.parts):
            yield group
            group = []
    if group:
        yield InputError(f"{group[-1]} has no partner: {spec.name} compares images in pairs")
