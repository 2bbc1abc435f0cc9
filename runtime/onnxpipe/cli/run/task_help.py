"""`onnxpipe run TASK --help`: describe a task from its record; `onnxpipe run --help` lists all tasks."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.run.options import TASK_OPTIONS
from onnxpipe.cli.run.params import type_names

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import TaskSpec

_TASK = "onnxpipe.task"
#: An input that is a file.
_FILES = {"image": "an image", "video": "a video", "audio": "a recording", "multimodal": "an image", "table": "a table"}
#: Options and values of an example, by the kind of output.
_EXAMPLE_OUTPUTS = {"image": "-o out.png", "audio": "-o speech.wav", "transcript": "-o out.srt"}
#: Files of an answer, by the kind of output.
_FILE_NAMES = {
    "image": "An image: -o FILE writes it, -o DIR those of several inputs.",
    "audio": "A recording: -o FILE writes it, -o DIR those of several inputs.",
    "transcript": "The text on stdout; with -o FILE (or DIR for several inputs) as text, subtitles (srt, vtt) or JSON.",
}
#: Parameters that change the columns of a table, with a value that shows how.
_COLUMN_PARAMS = {"top_k": 2, "num_return_sequences": 2, "return_timestamps": True, "return_tensors": True}


class TaskCommand(click.Command):
    """A command whose first argument is a task, with a help text for each task."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; the task is kept beforehand, because `--help` ends the parsing."""
        with contextlib.suppress(click.UsageError):  # raised again below
            values, _, _ = self.make_parser(ctx).parse_args(list(args))
            ctx.meta[_TASK] = values.get("task")
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of the task that is named, or of the command.

        Raises:
            KeyError: no such task.
        """
        task = ctx.meta.get(_TASK)
        if not isinstance(task, str):
            super().format_help(ctx, formatter)
            return
        from onnxpipe.tasks.registry import task_spec

        _write_task(ctx, formatter, task, task_spec(task))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of tasks, and the options."""
        from onnxpipe.tasks.registry import all_tasks

        with formatter.section("Tasks (onnxpipe run TASK --help has more)"):
            formatter.write_dl([(spec.name, _with_aliases(spec)) for spec in all_tasks()])
        super().format_options(ctx, formatter)


def example_arguments(spec: TaskSpec) -> str:
    """Write the example of a task as arguments of `onnxpipe run`."""
    arguments, keywords = spec.example_call()
    parts = {part.name: part for part in spec.parts}
    inputs: list[str] = []
    options: list[str] = []
    for value, part in zip(arguments, (*spec.parts, *[None] * len(arguments))):
        if part is not None and part.option is not None and not part.is_list:
            options += [f"--{part.option}", _quoted(value)]
        else:
            values = value if isinstance(value, list) else [value]
            inputs += (_quoted(each if isinstance(each, str) else json.dumps(each)) for each in values)
    for name, value in keywords.items():
        if name == "candidate_labels":
            options += ["--labels", _quoted(",".join(value))]
        elif name in parts:
            options += [f"--{parts[name].option}", _quoted(value)]
        else:
            options += ["-p", _quoted(f"{name}={value if isinstance(value, str) else json.dumps(value)}")]
    if spec.output is not None:
        options.append(_EXAMPLE_OUTPUTS[spec.output])
    elif spec.draws:
        options.append("--draw out.png")
    return " ".join([_example_name(spec), *(["--model MODEL"] if spec.has_model else []), *inputs, *options])


def _example_name(spec: TaskSpec) -> str:
    """Name a task in an example: one of several languages with the first pair of them."""
    if spec.languages and isinstance(spec.default_model, dict):
        source, target = next(iter(spec.default_model))
        return f"{spec.name}_{source}_to_{target}"
    return spec.name


def _quoted(text: str) -> str:
    """Quote an argument for a shell, with double quotes if that is enough."""
    return f'"{text}"' if shlex.quote(text) != text and not set('"$`\\!') & set(text) else shlex.quote(text)


def _with_aliases(spec: TaskSpec) -> str:
    from onnxpipe.tasks.registry import aliases_of

    aliases = aliases_of(spec.name)
    return f"{spec.help} (also: {', '.join(aliases)})" if aliases else spec.help


def _write_task(ctx: click.Context, formatter: click.HelpFormatter, task: str, spec: TaskSpec) -> None:
    formatter.write_usage(f"{ctx.command_path} {task}", "[OPTIONS] [INPUT]...")
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(_with_aliases(spec))
        if isinstance(spec.default_model, tuple):
            model, revision = spec.default_model
            formatter.write_text(f"Default model: {model}{f' ({revision})' if revision else ''}.")
    if spec.example:
        with formatter.section("Example"):  # in one line, so that it can be copied
            formatter.write(f"{'':>{formatter.current_indent}}{ctx.command_path} {example_arguments(spec)}\n")
    for title, lines in (("Input", _input(spec)), ("Output", _output(spec))):
        with formatter.section(title):
            for line in lines:
                formatter.write_text(line)
    if parameters := list(_parameters(spec)):
        with formatter.section("Parameters (-p NAME=VALUE)"):
            formatter.write_dl(parameters)
    if options := list(_options(ctx, spec)):
        with formatter.section("Options of this task (onnxpipe run --help lists the others)"):
            formatter.write_dl(options)


def _input(spec: TaskSpec) -> Iterator[str]:
    """Describe what an INPUT is, and which columns of a table hold one."""
    names = [part.name for part in spec.parts]
    if spec.image_options:
        given = " and ".join(f"--{option.replace('_', '-')}" for option in spec.image_options)
        keys = ", ".join(("prompt", *spec.image_options.values()))
        yield f"With {given}: a prompt; - for the lines of stdin. Or JSON with {keys}."
        if not spec.takes_files:
            return
    if spec.takes_files and spec.input is not None:
        kind = _FILES[spec.input]
        each = f"{len(names)} INPUTs in a row, each {kind}" if spec.parts_as_list else f"{kind[0].upper()}{kind[1:]}"
        place = "the path of a CSV, TSV or JSONL file" if spec.input == "table" else "a path, a URL or base64"
        yield f"{each}: {place}; - for the lines of stdin."
        if spec.parts and not spec.parts_as_list:
            options = [f"--{part.option}" for part in spec.parts if part.option is not None]
            with_options = f"With {' and '.join(options)} for all of them; or" if options else "Or"
            yield f"{with_options} JSON with {' and '.join(names)}."
    elif spec.parts:
        first, second = spec.parts
        if second.is_list:
            yield f"Texts to compare with --{first.option}; - for the lines of stdin."
        else:
            yield (
                f"A {first.name} with --{second.option}, or a {second.name} with --{first.option}; - for the lines of "
                "stdin."
            )
        yield f"Or JSON with {' and '.join(names)}."
    else:
        yield "A text; - for the lines of stdin."
    if spec.chats:
        yield 'Or a chat, as JSON: \'[{"role": "user", "content": "Hello"}]\'.'
    if spec.parts:
        yield f"Columns of a table: --column {','.join(f'{name}=NAME' for name in names)}."


def _output(spec: TaskSpec) -> Iterator[str]:
    """Describe the files of an answer, and the columns of a table."""
    if spec.output is not None:
        yield _FILE_NAMES[spec.output]
    if spec.streams:
        yield "The text appears while it is generated."
    if spec.output == "audio":
        return
    columns = spec.columns({}, None).names
    if columns:
        yield f"Columns of a table: {', '.join(columns)}."
    if spec.ranked:
        yield "  top_k is 1 there by default"
    parameters = {name.split()[0] for name, _ in _parameters(spec)}
    for name, value in _COLUMN_PARAMS.items():
        others = spec.columns({name: value}, None).names
        if others != columns and (name in parameters or spec.text_key is not None):
            yield f"  with {name}={json.dumps(value)}: {', '.join(others)}"
    if spec.draws:
        yield "With --draw DIR the column image_file: the path of the image."


def _parameters(spec: TaskSpec) -> Iterator[tuple[str, str]]:
    """Describe the parameters that have no option of their own."""
    from onnxpipe.tasks.base.option_docs import option_docs

    options: Any = getattr(spec.pipeline, "Options", None)
    types = type_names(options)
    for option in option_docs(options):
        if option.name in TASK_OPTIONS or (option.name == "candidate_labels" and spec.candidate_labels):
            continue
        if option.text.startswith("every other keyword"):
            yield "...", option.text
            continue
        has_default = option.default not in ("None", "''", "{}", "") and not option.default.startswith("<")
        default = f"  [default: {option.default}]" if has_default else ""
        yield f"{option.name} {types[option.name]}", f"{option.text}{default}"


def _options(ctx: click.Context, spec: TaskSpec) -> Iterator[tuple[str, str]]:
    """Return the help of the options that only some tasks take."""
    names = [name for name, applies in TASK_OPTIONS.items() if applies(spec)]
    names += ["output"] if spec.output is not None else []
    names += ["format"] if spec.output == "transcript" else []
    for option in ctx.command.get_params(ctx):
        record = option.get_help_record(ctx) if option.name in names else None
        if record is not None:
            yield record
