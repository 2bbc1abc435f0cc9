"""`onnxpipe run`: answer inputs from the command line, lines of stdin, or the rows of a table."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from onnxpipe.cli.guard import (
    SOME_FAILED,
    device_argument,
    device_option,
    dtype_option,
    hub_options,
    place_options,
    run_timeout_option,
    traceback_option,
)
from onnxpipe.cli.run.answers import Answers, InputError
from onnxpipe.cli.run.audio import (
    TRANSCRIPT_FORMATS,
    TranscriptOutput,
    open_recordings,
    timestamps_for,
    transcript_files,
)
from onnxpipe.cli.run.files import file_columns, file_inputs
from onnxpipe.cli.run.images import ImageOutput, open_drawings, open_images
from onnxpipe.cli.run.job import Job
from onnxpipe.cli.run.options import (
    REMEDIES,
    TABLE_FORMATS,
    RunOptions,
    check_file_options,
    check_table_options,
    check_task_options,
)
from onnxpipe.cli.run.outputs import AnswerOutput, OutputFiles
from onnxpipe.cli.run.params import parse_params
from onnxpipe.cli.run.prompts import prompt_column, prompt_inputs, with_images
from onnxpipe.cli.run.render import Renderer
from onnxpipe.cli.run.streaming import can_stream, stream
from onnxpipe.cli.run.task_help import TaskCommand
from onnxpipe.cli.run.words import column_inputs, word_inputs
from onnxpipe.cli.terminal import echo, json_text, printable
from onnxpipe.processing.tables.files import Format, Table, open_table
from onnxpipe.processing.tables.lines import Lines

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import TaskSpec


@click.command("run", cls=TaskCommand, short_help="Run a task on texts, files or a table.")
@click.argument("task")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-m", "--model", help="Folder or Hub id; by default the task's default model.")
@dtype_option
@place_options
@device_option
@click.option("--provider", "providers", multiple=True, help="ONNX Runtime provider, instead of --device. Repeatable.")
@click.option("--threads", type=click.IntRange(1), help="Number of threads; by default the CPUs that are available.")
@run_timeout_option
@hub_options
@click.option("--batch-size", type=click.IntRange(1), help="Inputs per batch; by default grouped by length.")
@click.option("--on-error", type=click.Choice(["raise", "return"]), default="raise", show_default=True,
              help="raise: stop at a bad input; return: write its error in place of the answer and go on.")  # fmt: skip
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE",
              help="Parameter of the task. Repeatable; onnxpipe run TASK --help lists them.")  # fmt: skip
@click.option("--labels", metavar="A,B,C", help="Candidate labels of the zero-shot tasks.")
@click.option("--question", help="Question for every INPUT or row.")
@click.option("--context", help="Text that holds the answer, for every INPUT or row.")
@click.option("--query", help="Text that every INPUT or row is compared with.")
@click.option("--documents", multiple=True, help="Text to compare with --query. Repeatable; INPUTs count too.")
@click.option("--src-lang", help="Language of the INPUTs (for models of several languages).")
@click.option("--tgt-lang", help="Language to translate to.")
@click.option("--input-image", help="Image for every INPUT or row, which is then a prompt.")
@click.option("--mask", help="Mask of the --input-image: white where it is painted over.")
@click.option("--seed", type=click.IntRange(0), help="Makes random choices repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document per line.")
@click.option("--input", "source", type=click.Path(), metavar="FILE",
              help="Table to read: CSV, TSV, JSONL or lines of text; - for stdin.")  # fmt: skip
@click.option("--column", help="Column of the table to read: NAME, or KEYWORD=NAME,KEYWORD=NAME.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE|DIR",
              help="With --input: table to write (CSV, TSV or JSONL; by default stdout). Without: file of an answer "
                   "that is an image, a recording or a transcript, or folder for several.")  # fmt: skip
@click.option("--draw", type=click.Path(path_type=Path), metavar="FILE|DIR",
              help="Draw the answers into the images: file to write, or folder for several.")  # fmt: skip
@click.option("--format", type=click.Choice([*TABLE_FORMATS, *TRANSCRIPT_FORMATS]),
              help="Format of the table, by default by its extension; format of a transcript: srt, vtt, json.",
              )  # fmt: skip
@click.option("--delimiter", help="Delimiter of the table's cells; by default found out.")
@click.option("--encoding", help="Encoding of the table; by default UTF-8.")
@click.option("--resume", is_flag=True, help="Go on after the rows that an interrupted job has finished.")
@click.option("--escape-formulas", is_flag=True,
              help="Put ' before text of CSV and TSV that begins with =, +, - or @, which spreadsheets would run.",
              )  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace output files that exist.")
@click.option("--overwrite-columns", is_flag=True, help="Replace columns of the table that the result has too.")
@click.option("--prefix", default="", help="Prefix of the names of the result columns.")
@traceback_option
def command(task: str, inputs: tuple[str, ...], source: str | None, **arguments: Any) -> None:
    """Run TASK on every INPUT (a text; a path or URL of an image, a video or a recording; JSON that begins with {; -
    for the lines of stdin), or on every row of a table.

    \b
    onnxpipe run text-classification --model M "We love this"
    onnxpipe run text-classification --model M --input reviews.csv --column text --output out.csv
    onnxpipe run object-detection --model M photo.jpg --draw boxes.png
    onnxpipe run automatic-speech-recognition --model M talk.mp3 --format srt -o talk.srt
    onnxpipe run text-to-image --model M "a lighthouse at dusk" -o lighthouse.png

    A table job copies the table and adds columns with the answers; cells that are not text or numbers are JSON.
    """
    from onnxpipe.tasks.registry import check_task, task_spec

    options = RunOptions(**arguments)
    _, _, languages = check_task(task)
    spec = task_spec(task)
    pipeline_name = spec.name if languages is None else task  # translation_en_to_fr names the languages too
    params = _params(spec, options)
    if options.draw is not None:
        params = {**spec.drawing_params, **params}
    drawings = open_drawings(options.draw, options.overwrite)
    if source is None:
        check_file_options(spec, options)
        values = _inputs(spec, inputs, options)
        open_output = _output_opener(spec, drawings, params, options)
        pipe = _pipeline(pipeline_name, options)
        failed = _answer_inputs(spec, pipe, values, params, options, open_output(pipe))
    elif inputs:
        raise click.UsageError("give INPUTs or --input FILE, not both")
    else:
        check_table_options(spec, options)
        failed = _answer_table(spec, pipeline_name, source, params, options, drawings)
    if failed:
        raise click.exceptions.Exit(SOME_FAILED)


def _params(spec: TaskSpec, options: RunOptions) -> dict[str, Any]:
    """Collect the parameters of the call from `--param` and the options of the task."""
    params = parse_params(options.params, getattr(spec.pipeline, "Options", None))
    check_task_options(spec, options)
    if options.labels is not None:
        params["candidate_labels"] = [label.strip() for label in options.labels.split(",") if label.strip()]
    for name in ("src_lang", "tgt_lang"):
        language = getattr(options, name)
        if language is not None:
            params[name] = language
    if options.seed is not None:
        if params.get("seed") is not None:
            raise click.UsageError("--seed and -p seed= are the same: give one of them")
        params["seed"] = options.seed
    if spec.needs_labels and not params.get("candidate_labels"):
        raise click.UsageError(f"{spec.name} needs --labels a,b,c")
    return params


def _inputs(spec: TaskSpec, words: tuple[str, ...], options: RunOptions) -> Iterable[Any]:
    if options.images(spec):
        return prompt_inputs(words, _stdin_lines(), options.images(spec))
    if spec.takes_files:
        return file_inputs(spec, words, _stdin_lines(), options.parts)
    return word_inputs(spec, words, options.parts, _stdin_lines())


def _stdin_lines() -> Iterable[str]:
    """Return the lines of stdin: opened when the first is asked for; bytes that are not text become surrogates."""
    return (line for source in (sys.stdin.buffer,) for line in Lines(Path("stdin"), source, "utf-8"))


def _output_opener(
    spec: TaskSpec, drawings: OutputFiles | None, params: dict[str, Any], options: RunOptions
) -> Callable[[Any], AnswerOutput]:
    """Return a function that opens the output for a pipeline; wrong options are refused before one is loaded."""
    if spec.output == "audio":
        recordings = open_recordings(options.output, options.overwrite, spec.name)
        return lambda pipe: recordings
    if spec.output == "transcript":
        format, files = transcript_files(options.format, options.output, options.overwrite)
        return lambda pipe: _open_transcripts(pipe, format, files, params)
    images = ImageOutput(spec, drawings, open_images(options.output, options.overwrite))
    return lambda pipe: images


def _open_transcripts(
    pipe: Any, format: str | None, files: OutputFiles | None, params: dict[str, Any]
) -> TranscriptOutput:
    """Open the output of transcripts, and add to the call's parameters what their format needs."""
    for name, value in timestamps_for(format, pipe).items():
        params.setdefault(name, value)
    params.setdefault("progress", sys.stderr.isatty())
    return TranscriptOutput(format, files, params.get("return_timestamps") == "word")


def _answer_inputs(
    spec: TaskSpec,
    pipe: Any,
    values: Iterable[Any],
    params: dict[str, Any],
    options: RunOptions,
    output: AnswerOutput,
) -> int:
    """Answer inputs one after the other, and write the answers to stdout and to files; return how many failed."""
    if spec.streams and not options.as_json and options.batch_size is None and can_stream(pipe, params):
        return stream(pipe, values, params, options.keep)
    failed = 0
    renderer = Renderer(_labels(pipe))
    pairs = (((number, value), value) for number, value in enumerate(values, 1))
    for (number, value), answer in Answers(pipe, pairs, _call(params, options), _input_name, options.keep):
        if isinstance(answer, InputError):
            failed += 1
            document: Any = {"error": str(answer)}
            lines = renderer.lines(value, InputError(f"input {number}: {answer}"))
        else:
            files = output.write(value, answer)
            document = output.document(answer, files)
            lines = chain(output.lines(renderer, value, answer), (f"  -> {printable(str(file))}" for file in files))
        for line in [json_text(document)] if options.as_json else lines:
            echo(line)
    return failed


def _input_name(key: tuple[int, Any]) -> str:
    return f"input {key[0]}"


def _answer_table(
    spec: TaskSpec,
    pipeline_name: str,
    source: str,
    params: dict[str, Any],
    options: RunOptions,
    drawings: OutputFiles | None,
) -> int:
    """Answer the rows of a table, and write the table with the answers; return how many rows failed."""
    delimiter = "\t" if options.delimiter == "\\t" else options.delimiter
    if spec.ranked:
        params.setdefault("top_k", 1)
    if drawings is None and not spec.columns(params, None).names:
        raise click.UsageError(f"the answers of {spec.name} are images: --draw DIR writes them")
    if drawings is not None and drawings.single:
        raise click.UsageError(f"--draw {drawings.path} is one image: for a table name a folder")
    format = cast("Format | None", options.format)
    table = open_table(source, format=format, delimiter=delimiter, encoding=options.encoding, remedies=REMEDIES)
    with contextlib.closing(table):
        job = Job(
            table=table,
            build=_row_builder(spec, table, options),
            output=options.output,
            overwrite=options.overwrite,
            overwrite_columns=options.overwrite_columns,
            prefix=options.prefix,
            keep=options.keep,
            resume=options.resume,
            identity=repr((pipeline_name, options.model, options.revision, options.dtype, options.place,
                           sorted(params.items()), options.column, options.parts)),
            escape_formulas=options.escape_formulas,
            save_image=ImageOutput(spec, drawings, None).write_row if drawings is not None else None,
        )  # fmt: skip
        job.check(spec.columns(params, None))
        pipe = _pipeline(pipeline_name, options)
        return job.run(pipe, _call(params, options), spec.columns(params, len(_labels(pipe)) or None))


def _row_builder(spec: TaskSpec, table: Table, options: RunOptions) -> Callable[[Mapping[str, Any]], Any]:
    images = options.images(spec)
    if images:
        prompt = prompt_column(spec, table, options.column)
        return lambda cells: with_images(prompt(cells), images)
    if spec.takes_files:
        return file_columns(spec, table, options.column, options.parts)
    return column_inputs(spec, table, options.column, options.parts)


def _pipeline(name: str, options: RunOptions) -> Any:
    from onnxpipe import factory

    return factory.pipeline(
        name,
        options.model,
        dtype=options.dtype,
        **options.place,
        device=device_argument(options.device),
        providers=list(options.providers) or None,
        threads=options.threads,
        run_timeout=options.run_timeout,
        revision=options.revision,
        token=options.token,
        cache_dir=options.cache_dir,
        local_files_only=options.offline,
    )


def _call(params: Mapping[str, Any], options: RunOptions) -> dict[str, Any]:
    """Return the keywords of the pipeline's call."""
    return {**params, "batch_size": options.batch_size} if options.batch_size is not None else dict(params)


def _labels(pipe: Any) -> list[str]:
    """Return the model's labels, for pipelines that have them."""
    config = getattr(getattr(pipe, "model", None), "config", None)
    return [str(label) for label in (getattr(config, "id2label", None) or {}).values()]
