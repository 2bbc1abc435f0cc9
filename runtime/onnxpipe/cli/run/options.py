"""The options of `onnxpipe run`, and the tasks that take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from onnxpipe.cli.run.audio import TRANSCRIPT_FORMATS
from onnxpipe.cli.run.words import InputParts
from onnxpipe.processing.tables.files import FORMATS
from onnxpipe.processing.tables.lines import Remedies

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import TaskSpec

#: The formats of a table that `--format` names.
TABLE_FORMATS = sorted(set(FORMATS.values()))

#: How what is wrong with a table is mended by options.
REMEDIES = Remedies(
    encoding="give the table's encoding, e.g. --encoding {}",
    delimiter="if it is not the delimiter, give --delimiter",
    format="give --format csv, tsv, jsonl or text",
)


@dataclass(frozen=True)
class RunOptions:
    """The options of `onnxpipe run`, which their help texts describe."""

    model: str | None
    dtype: str
    file_name: str | None
    subfolder: str | None
    model_file_name: str | None
    onnx: Literal["community"] | None
    device: str | None
    providers: tuple[str, ...]
    threads: int | None
    run_timeout: float | None
    revision: str | None
    token: str | None
    cache_dir: str | None
    offline: bool
    batch_size: int | None
    on_error: str
    params: tuple[str, ...]
    labels: str | None
    question: str | None
    context: str | None
    query: str | None
    documents: tuple[str, ...]
    src_lang: str | None
    tgt_lang: str | None
    input_image: str | None
    mask: str | None
    seed: int | None
    as_json: bool
    column: str | None
    output: Path | None
    format: str | None
    delimiter: str | None
    encoding: str | None
    resume: bool
    escape_formulas: bool
    overwrite: bool
    overwrite_columns: bool
    prefix: str
    draw: Path | None

    @property
    def place(self) -> dict[str, Any]:
        """Keywords that say where the model's graphs are."""
        return {name: getattr(self, name) for name in ("file_name", "subfolder", "model_file_name", "onnx")}

    @property
    def parts(self) -> InputParts:
        """Parts of inputs that options give."""
        return InputParts(self.question, self.context, self.query, self.documents)

    def images(self, spec: TaskSpec) -> dict[str, str]:
        """Return the images that options name for every input, by their keys in an input of a task.

        Raises:
            click.UsageError: some were named, but not all that the task needs.
        """
        given = {key: getattr(self, option) for option, key in spec.image_options.items()}
        missing = [option for option, key in spec.image_options.items() if given[key] is None]
        if missing and len(missing) < len(given):
            raise click.UsageError(f"{spec.name} needs --{missing[0].replace('_', '-')} too")
        return {} if missing else given

    @property
    def keep(self) -> bool:
        """Whether the error of a bad input stands in the place of its answer."""
        return self.on_error == "return"


def _gives_part(option: str) -> Callable[[TaskSpec], bool]:
    return lambda spec: any(part.option == option for part in spec.parts)


def _has_option(name: str) -> Callable[[TaskSpec], bool]:
    return lambda spec: name in getattr(getattr(spec.pipeline, "Options", None), "__dataclass_fields__", ())


#: Options that only some tasks take, with what tells these tasks. All other options are for every task.
TASK_OPTIONS: Mapping[str, Callable[[TaskSpec], bool]] = {
    "labels": lambda spec: spec.candidate_labels,
    "question": _gives_part("question"),
    "context": _gives_part("context"),
    "query": _gives_part("query"),
    "documents": _gives_part("documents"),
    "src_lang": lambda spec: spec.languages,
    "tgt_lang": lambda spec: spec.languages,
    "input_image": lambda spec: "input_image" in spec.image_options,
    "mask": lambda spec: "mask" in spec.image_options,
    "seed": _has_option("seed"),
    "draw": lambda spec: spec.draws,
}


def check_task_options(spec: TaskSpec, options: RunOptions) -> None:
    """Refuse options that are for other tasks.

    Raises:
        click.UsageError: the task does not take an option.
    """
    for name, applies in TASK_OPTIONS.items():
        if getattr(options, name) not in (None, ()) and not applies(spec):
            tasks = ", ".join(tasks_with(applies))
            raise click.UsageError(f"--{name.replace('_', '-')} is not for {spec.name}; it is only for {tasks}")


def check_file_options(spec: TaskSpec, options: RunOptions) -> None:
    """Refuse options that need `--input FILE`, where the inputs come from the command line.

    Raises:
        click.UsageError: an option is only for tables.
    """
    writes = spec.output is not None
    refused = ["column", "delimiter", "encoding", "overwrite_columns", "prefix", "resume", "escape_formulas"]
    if not (spec.output == "transcript" and options.format in (None, *TRANSCRIPT_FORMATS)):
        refused.append("format")
    if not writes:
        refused.append("output")
    if not writes and options.draw is None:
        refused.append("overwrite")
    for name in refused:
        if getattr(options, name):
            raise click.UsageError(f"--{name.replace('_', '-')} needs --input FILE")


def check_table_options(spec: TaskSpec, options: RunOptions) -> None:
    """Refuse options and tasks that do not go with `--input FILE`.

    Raises:
        click.UsageError: an option is only for inputs from the command line, or the answers do not fit into a table.
    """
    if options.as_json:
        raise click.UsageError("--json is only for INPUTs; for a table give --output FILE.jsonl")
    if options.format in TRANSCRIPT_FORMATS:
        tasks = " and ".join(tasks_with(lambda each: each.output == "transcript"))
        raise click.UsageError(
            f"--format {options.format} is only for INPUTs of {tasks}; for a table: {', '.join(TABLE_FORMATS)}"
        )
    if options.resume and options.output is None:
        raise click.UsageError("--resume needs --output FILE: the finished rows are kept beside it")
    if options.resume and options.draw is not None:
        raise click.UsageError("--resume does not go with --draw: images of new rows could replace those of old ones")
    if spec.output == "audio":
        raise click.UsageError(f"{spec.name} writes recordings: give INPUTs (- for the lines of stdin) and -o DIR")


def tasks_with(applies: Callable[[TaskSpec], bool]) -> list[str]:
    """List the names of the tasks that a predicate selects."""
    from onnxpipe.tasks.registry import all_tasks

    return [spec.name for spec in all_tasks() if applies(spec)]
