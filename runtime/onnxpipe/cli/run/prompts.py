"""Inputs that are prompts, with images that options name for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.run.answers import InputError
from onnxpipe.cli.run.words import check_columns, expand, json_input
from onnxpipe.processing.tables.files import Table
from onnxpipe.processing.tables.lines import TableError

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import TaskSpec

#: The column of the prompts where none is named.
_COLUMNS = ("prompt", "text")


def prompt_inputs(words: Sequence[str], stdin: Iterable[str], images: Mapping[str, str]) -> Iterator[Any]:
    """Build inputs from the command line's arguments, which are prompts; `-` stands for the lines of stdin.

    Args:
        words: the arguments; one that begins with `{` is JSON.
        stdin: the lines of stdin.
        images: the images that go with every prompt, by their keys in an input.

    Raises:
        click.UsageError: there are no arguments.
    """
    if not words:
        raise click.UsageError("no INPUT: give prompts (- for the lines of stdin), or --input FILE")
    return (with_images(json_input(text), images) for text in expand(words, stdin))


def with_images(prompt: Any, images: Mapping[str, str]) -> Any:
    """Build the input of a prompt, a text or a dict that has one."""
    if isinstance(prompt, InputError):
        return prompt
    return {**images, **(prompt if isinstance(prompt, Mapping) else {"prompt": prompt})}


def prompt_column(spec: TaskSpec, table: Table, column: str | None) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that gets the prompt of a row, or an `InputError` where there is none.

    Raises:
        TableError: no such column; or none was named and none is evident.
    """
    name = column if column is not None else next((each for each in _COLUMNS if each in table.columns), None)
    if name is None and len(table.columns) == 1:
        name = table.columns[0]
    if name is None:
        raise TableError(f"name the column of the prompts for {spec.name}: --column NAME")
    check_columns(table, [name])
    chosen = name

    def prompt(cells: Mapping[str, Any]) -> Any:
        return cells.get(chosen) or InputError(f"nothing in the column {chosen!r}")

    return prompt
