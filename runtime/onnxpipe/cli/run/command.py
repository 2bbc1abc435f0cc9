"""`onnxpipe run`: a task's answers for texts or pictures, lines of stdin, or a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import click

from onnxpipe.cli.guard import device_argument, hub_options, traceback_option
from onnxpipe.cli.run.answers import Answers, InputError
from onnxpipe.cli.run.audio import (
    HEARS,
    SPEAKS,
    TRANSCRIPTS,
    Transcripts,
    open_recordings,
    timestamps_for,
    transcript_files,
)  # fmt: skip
from onnxpipe.cli.run.columns import result_columns
from onnxpipe.cli.run.files import picture_columns, picture_words
from onnxpipe.cli.run.images import KINDS, MAKERS, PICTURES, Sinks, open_gallery
from onnxpipe.cli.run.job import Job
from onnxpipe.cli.run.outputs import Files, Sink
from onnxpipe.cli.run.params import parse_params
from onnxpipe.cli.run.plain import printable
from onnxpipe.cli.run.render import Renderer
from onnxpipe.cli.run.streaming import stream, streams
from onnxpipe.cli.run.table import FORMATS, Format, Table, open_table
from onnxpipe.cli.run.words import Given, column_inputs, word_inputs

#: What `--format` may say of a table.
TABLES = sorted(set(FORMATS.values()))


@dataclass(frozen=True)
class RunOptions:
    """The options of `onnxpipe run`; their help texts tell what they are."""

    model: str | None
    dtype: str
    device: str | None
    providers: tuple[str, ...]
    threads: int | None
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
    as_json: bool
    column: str | None
    output: Path | None
    format: str | None
    delimiter: str | None
    encoding: str | None
    overwrite: bool
    overwrite_columns: bool
    prefix: str
    draw: Path | None

    @property
    def given(self) -> Given:
        """Parts of inputs that options name."""
        return Given(self.question, self.context, self.query, self.documents)

    @property
    def keep(self) -> bool:
        """Whether a bad input has its error in the answer's place."""
        return self.on_error == "return"


@click.command("run")
@click.argument("task")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-m", "--model", help="Folder or Hub id; by default the task's own.")
@click.option("--dtype", default="auto", show_default=True, help="Precision: fp32, fp16, int8, q4, ...")
@click.option("--device", help="cpu, cuda, cuda:1, coreml, or an index; by default the first that works.")
@click.option("--provider", "providers", multiple=True, help="ONNX Runtime provider, instead of --device. Repeatable.")
@click.option("--threads", type=click.IntRange(1), help="Threads; by default what the container grants.")
@hub_options
@click.option("--batch-size", type=click.IntRange(1), help="Rows a batch; by default grouped by length.")
@click.option("--on-error", type=click.Choice(["raise", "return"]), default="raise", show_default=True,
              help="Stop at a bad input, or say so in its place and go on.")  # fmt: skip
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the task.")
@click.option("--labels", help="Candidate labels of the zero-shot tasks: a,b,c")
@click.option("--question", help="Asked of each INPUT or row (question-answering).")
@click.option("--context", help="Where the answer is to each INPUT or row (question-answering).")
@click.option("--query", help="What each INPUT or row is compared to (text-ranking, sentence-similarity).")
@click.option("--documents", multiple=True, help="Compared to --query. Repeatable; INPUTs count too.")
@click.option("--src-lang", help="Language of the INPUTs (translation by models of several languages).")
@click.option("--tgt-lang", help="Language to translate to.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
@click.option("--input", "source", type=click.Path(), metavar="FILE", help="A table: CSV, TSV, JSONL or lines of text.")
@click.option("--column", help="The table's column to read: NAME, or KEYWORD=NAME,KEYWORD=NAME.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="The table with the answers: CSV, TSV or JSONL; stdout by default. Of INPUTs whose answers are "
                   "pictures, recordings or transcripts: the file, or a folder for several.")  # fmt: skip
@click.option("--draw", type=click.Path(path_type=Path), metavar="FILE|DIR",
              help="Draw the answers into the pictures: a PNG, or a folder for several.")  # fmt: skip
@click.option(
    "--format",
    type=click.Choice([*TABLES, *TRANSCRIPTS]),
    help="The table's, if not by extension; of automatic-speech-recognition what is written: srt, vtt, json.",
)
@click.option("--delimiter", help="Of the input's cells; by default the one that fits.")
@click.option("--encoding", help="Of the input; UTF-8 by default.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
@click.option("--overwrite-columns", is_flag=True, help="Replace columns that are named as the result's are.")
@click.option("--prefix", default="", help="Put before the names of the result's columns.")
@traceback_option
def command(task: str, inputs: tuple[str, ...], source: str | None, **options: Any) -> None:
    """Answer INPUTs (texts, paths or URLs of pictures or sound, or JSON that begins with {; - reads lines of stdin), or
    every row of a table.

    \b
    onnxpipe run text-classification --model M "We love this"
    onnxpipe run zero-shot-classification --model M --labels sport,art "A goal in extra time"
    onnxpipe run question-answering --model M --context "Ann is 7." "How old is Ann?"
    onnxpipe run text-generation --model M "Once upon a time" -p max_new_tokens=50
    onnxpipe run translation_en_to_fr --model M "How old are you?"
    onnxpipe run text-classification --model M --input reviews.csv --column text --output out.csv
    onnxpipe run object-detection --model M photo.jpg --draw found.png
    onnxpipe run depth-estimation --model M photos/*.jpg -o depths/
    onnxpipe run automatic-speech-recognition --model M film.mp3 --format srt -o film.srt
    onnxpipe run text-to-speech --model M "Good morning." -o speech.wav

    What text-generation writes appears as it is written; an INPUT of it may be a chat, as JSON:
    '[{"role": "user", "content": "Hello"}]'.

    The table job adds the columns label, score (text-classification; label_1, score_1, ... with top_k above 1),
    entities (token-classification), answer, score, start, end (question-answering), label, score, scores
    (zero-shot-classification), token_str, score (fill-mask), embedding, score (sentence-similarity), index, score,
    ranking (text-ranking), generated_text (text-generation, text2text-generation), summary_text (summarization),
    translation_text (translation; all of these with _1, _2, ... where num_return_sequences is above 1). Of pictures:
    label, score (image-classification, video-classification), label, score, scores (zero-shot-image-classification),
    objects (object-detection, zero-shot-object-detection), segments (image-segmentation), masks (mask-generation),
    depth_min, depth_max (depth-estimation), matches (keypoint-matching), features (image-feature-extraction), and with
    --draw DIR picture, the path of a drawing, or of the answer where that is a picture. Of sound: text
    (automatic-speech-recognition), label, score (audio-classification), label, score, scores
    (zero-shot-audio-classification). Cells that are no text or number are JSON.
    """
    from onnxpipe.tasks.registry import check_task

    chosen = RunOptions(**options)
    named = task
    task, entry, languages = check_task(named)
    named = task if languages is None else named  # with its languages: translation_en_to_fr
    params = _params(task, entry, chosen)
    kind = entry.get("type")
    drawn = open_gallery(chosen.draw, task, kind, chosen.overwrite)
    if source is None:
        _refuse_table_options(chosen, MAKERS if kind in KINDS else frozenset(), task)
        values = _values(task, kind, inputs, chosen)
        open_sink = _open_sink(task, drawn, params, chosen)
        pipe = _pipeline(named, chosen)
        _answer_words(task, pipe, values, params, chosen, open_sink(pipe))
    elif inputs:
        raise click.UsageError("give INPUTs or --input FILE, not both")
    elif chosen.as_json:
        raise click.UsageError("--json is for INPUTs; of a table name --output FILE.jsonl")
    else:
        _answer_table(task, named, source, params, chosen, kind, drawn)


def _values(task: str, kind: Any, words: tuple[str, ...], options: RunOptions) -> Iterable[Any]:
    if kind not in KINDS and kind != "audio":
        return word_inputs(task, words, options.given, sys.stdin)
    options.given.parts(task)  # refuses what is for other tasks
    return picture_words(task, words, sys.stdin)


def _open_sink(task: str, drawn: Files | None, params: dict[str, Any], options: RunOptions) -> Callable[[Any], Sink]:
    """What becomes of the answers, once the pipeline is there; what is wrong with the options is told at once."""
    if task == SPEAKS:
        recordings = open_recordings(options.output, options.overwrite)
        return lambda pipe: recordings
    if task == HEARS:
        form, files = transcript_files(options.format, options.output, options.overwrite)
        return lambda pipe: _transcripts(pipe, form, files, params)
    kept = Files(options.output, options.overwrite, "--output", PICTURES) if options.output is not None else None
    sinks = Sinks(task, drawn, kept)
    return lambda pipe: sinks


def _transcripts(pipe: Any, form: str | None, files: Files | None, params: dict[str, Any]) -> Transcripts:
    """As `transcript_files` has it; the parameters of the call are completed."""
    for name, value in timestamps_for(form, pipe).items():
        params.setdefault(name, value)
    params.setdefault("progress", sys.stderr.isatty())
    return Transcripts(form, files, params.get("return_timestamps") == "word")


def _answer_words(
    task: str, pipe: Any, values: Iterable[Any], params: dict[str, Any], options: RunOptions, sink: Sink
) -> None:
    shown_as_written = task == "text-generation" and not options.as_json and options.batch_size is None
    if shown_as_written and streams(pipe, params):
        stream(pipe, values, params, options.keep)
        return
    renderer = Renderer(_labels(pipe) if task == "text-classification" else ())
    pairs = (((number, value), value) for number, value in enumerate(values, 1))
    for (number, value), answer in Answers(pipe, pairs, _call(params, options), _input_name, options.keep):
        if isinstance(answer, InputError):
            document: Any = {"error": str(answer)}
            lines = renderer.lines(value, InputError(f"input {number}: {answer}"))
        else:
            files = sink.write(value, answer)
            document = sink.document(answer, files)
            lines = chain(sink.lines(renderer, value, answer), (f"  -> {printable(str(file))}" for file in files))
        for line in [json.dumps(document, ensure_ascii=False)] if options.as_json else lines:
            click.echo(line)


def _input_name(key: tuple[int, Any]) -> str:
    return f"input {key[0]}"


def _answer_table(
    task: str,
    named: str,
    source: str,
    params: dict[str, Any],
    options: RunOptions,
    kind: Any,
    drawn: Files | None,
) -> None:
    delimiter = "\t" if options.delimiter == "\\t" else options.delimiter
    if options.format in TRANSCRIPTS:
        raise click.UsageError(f"--format {options.format} is of INPUTs of {HEARS}; a table is {', '.join(TABLES)}")
    if task == SPEAKS:
        raise click.UsageError(
            f"the answers of {task} are recordings: give INPUTs (- for the lines of stdin) and -o DIR"
        )
    table = open_table(
        source, format=cast("Format | None", options.format), delimiter=delimiter, encoding=options.encoding
    )
    if task in ("fill-mask", "image-classification", "video-classification", "audio-classification"):
        params.setdefault("top_k", 1)
    if drawn is None and task in ("background-removal", "image-to-image"):
        raise click.UsageError(f"the answers of {task} are pictures: --draw DIR writes them")
    if drawn is not None and drawn.single:
        raise click.UsageError(f"--draw {drawn.path} is one picture: of a table name a folder")
    job = Job(
        table=table,
        build=_build(task, kind, table, options),
        output=options.output,
        overwrite=options.overwrite,
        overwrite_columns=options.overwrite_columns,
        prefix=options.prefix,
        keep=options.keep,
        picture=Sinks(task, drawn, None).write_one if drawn is not None else None,
    )
    job.check(result_columns(task, params, None))
    pipe = _pipeline(named, options)
    job.run(pipe, _call(params, options), result_columns(task, params, len(_labels(pipe)) or None))


def _build(task: str, kind: Any, table: Table, options: RunOptions) -> Any:
    if kind not in KINDS and kind != "audio":
        return column_inputs(task, table, options.column, options.given)
    options.given.parts(task)
    return picture_columns(task, table, options.column)


def _pipeline(task: str, options: RunOptions) -> Any:
    from onnxpipe import factory

    return factory.pipeline(
        task,
        options.model,
        dtype=options.dtype,
        device=device_argument(options.device),
        providers=list(options.providers) or None,
        threads=options.threads,
        revision=options.revision,
        token=options.token,
        cache_dir=options.cache_dir,
        local_files_only=options.offline,
    )


def _call(params: Mapping[str, Any], options: RunOptions) -> dict[str, Any]:
    """Keywords of the pipeline's call."""
    return {**params, "batch_size": options.batch_size} if options.batch_size is not None else dict(params)


def _params(task: str, entry: Mapping[str, Any], options: RunOptions) -> dict[str, Any]:
    params = parse_params(options.params, getattr(entry["impl"], "Options", None))
    if options.labels is not None:
        if not task.startswith("zero-shot-"):
            raise click.UsageError(
                f"--labels is for zero-shot-classification and its like of pictures and sound, not for {task}"
            )
        params["candidate_labels"] = [label.strip() for label in options.labels.split(",") if label.strip()]
    for name in ("src_lang", "tgt_lang"):
        language = getattr(options, name)
        if language is not None and task != "translation":
            raise click.UsageError(f"--{name.replace('_', '-')} is for translation, not for {task}")
        if language is not None:
            params[name] = language
    needy = task.startswith("zero-shot-") and task != "zero-shot-object-detection"  # its INPUTs may bring them
    if needy and not params.get("candidate_labels"):
        raise click.UsageError(f"{task} needs --labels a,b,c")
    return params


def _refuse_table_options(options: RunOptions, makers: frozenset[str], task: str) -> None:
    """Refuses what is for tables alone; `makers` are the tasks whose answers are pictures."""
    writes = task in makers or task in (HEARS, SPEAKS)
    refused = ["column", "delimiter", "encoding", "overwrite_columns", "prefix"]
    refused += [] if task == HEARS and options.format in (None, *TRANSCRIPTS) else ["format"]
    refused += [] if writes else ["output"]
    refused += [] if writes or options.draw is not None else ["overwrite"]
    for name in refused:
        if getattr(options, name):
            raise click.UsageError(f"--{name.replace('_', '-')} needs --input FILE")


def _labels(pipe: Any) -> list[str]:
    """The model's labels, for pipelines that have them."""
    config = getattr(getattr(pipe, "model", None), "config", None)
    return [str(label) for label in (getattr(config, "id2label", None) or {}).values()]
