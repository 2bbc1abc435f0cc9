"""`onnxpipe run`: a task's answers for texts, lines of stdin, or a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from onnxpipe.cli.answers import Answers, InputError
from onnxpipe.cli.columns import result_columns
from onnxpipe.cli.guard import device_argument, hub_options, traceback_option
from onnxpipe.cli.inputs import Given, column_inputs, word_inputs
from onnxpipe.cli.job import Job
from onnxpipe.cli.params import parse_params
from onnxpipe.cli.plain import plain
from onnxpipe.cli.render import Renderer
from onnxpipe.cli.table import FORMATS, Format, open_table
from onnxpipe.cli.texts import stream, streams


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
    format: Format | None
    delimiter: str | None
    encoding: str | None
    overwrite: bool
    overwrite_columns: bool
    prefix: str

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
@click.option("--labels", help="Candidate labels of zero-shot-classification: a,b,c")
@click.option("--question", help="Asked of each INPUT or row (question-answering).")
@click.option("--context", help="Where the answer is to each INPUT or row (question-answering).")
@click.option("--query", help="What each INPUT or row is compared to (text-ranking, sentence-similarity).")
@click.option("--documents", multiple=True, help="Compared to --query. Repeatable; INPUTs count too.")
@click.option("--src-lang", help="Language of the INPUTs (translation by models of several languages).")
@click.option("--tgt-lang", help="Language to translate to.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
@click.option("--input", "source", type=click.Path(), metavar="FILE", help="A table: CSV, TSV, JSONL or lines of text.")
@click.option("--column", help="The table's column to read: NAME, or KEYWORD=NAME,KEYWORD=NAME.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
              help="The table with the answers: CSV, TSV or JSONL; stdout by default.")  # fmt: skip
@click.option("--format", type=click.Choice(sorted(set(FORMATS.values()))), help="The input's, if not by extension.")
@click.option("--delimiter", help="Of the input's cells; by default the one that fits.")
@click.option("--encoding", help="Of the input; UTF-8 by default.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
@click.option("--overwrite-columns", is_flag=True, help="Replace columns that are named as the result's are.")
@click.option("--prefix", default="", help="Put before the names of the result's columns.")
@traceback_option
def command(task: str, inputs: tuple[str, ...], source: str | None, **options: Any) -> None:
    """Answer INPUTs (texts, or JSON that begins with {; - reads lines of stdin), or every row of a table.

    \b
    onnxpipe run text-classification --model M "We love this"
    onnxpipe run zero-shot-classification --model M --labels sport,art "A goal in extra time"
    onnxpipe run question-answering --model M --context "Ann is 7." "How old is Ann?"
    onnxpipe run text-generation --model M "Once upon a time" -p max_new_tokens=50
    onnxpipe run translation_en_to_fr --model M "How old are you?"
    onnxpipe run text-classification --model M --input reviews.csv --column text --output out.csv

    What text-generation writes appears as it is written; an INPUT of it may be a chat, as JSON:
    '[{"role": "user", "content": "Hello"}]'.

    The table job adds the columns label, score (text-classification; label_1, score_1, ... with top_k above 1),
    entities (token-classification), answer, score, start, end (question-answering), label, score, scores
    (zero-shot-classification), token_str, score (fill-mask), embedding, score (sentence-similarity), index, score,
    ranking (text-ranking), generated_text (text-generation, text2text-generation), summary_text (summarization),
    translation_text (translation; all of these with _1, _2, ... where num_return_sequences is above 1). Cells that are
    no text or number are JSON.
    """
    from onnxpipe.tasks.registry import check_task

    chosen = RunOptions(**options)
    named = task
    task, entry, languages = check_task(named)
    named = task if languages is None else named  # with its languages: translation_en_to_fr
    params = _params(task, entry, chosen)
    if source is None:
        _refuse_table_options(chosen)
        values = word_inputs(task, inputs, chosen.given, sys.stdin)
        _answer_words(task, _pipeline(named, chosen), values, params, chosen)
    elif inputs:
        raise click.UsageError("give INPUTs or --input FILE, not both")
    elif chosen.as_json:
        raise click.UsageError("--json is for INPUTs; of a table name --output FILE.jsonl")
    else:
        _answer_table(task, named, source, params, chosen)


def _answer_words(task: str, pipe: Any, values: Iterable[Any], params: dict[str, Any], options: RunOptions) -> None:
    shown_as_written = task == "text-generation" and not options.as_json and options.batch_size is None
    if shown_as_written and streams(pipe, params):
        stream(pipe, values, params, options.keep)
        return
    renderer = Renderer(_labels(pipe) if task == "text-classification" else ())
    pairs = (((number, value), value) for number, value in enumerate(values, 1))
    for (number, value), answer in Answers(pipe, pairs, _call(params, options), _input_name, options.keep):
        if options.as_json:
            document = {"error": str(answer)} if isinstance(answer, InputError) else plain(answer)
            click.echo(json.dumps(document, ensure_ascii=False))
            continue
        shown = InputError(f"input {number}: {answer}") if isinstance(answer, InputError) else answer
        for line in renderer.lines(value, shown):
            click.echo(line)


def _input_name(key: tuple[int, Any]) -> str:
    return f"input {key[0]}"


def _answer_table(task: str, named: str, source: str, params: dict[str, Any], options: RunOptions) -> None:
    delimiter = "\t" if options.delimiter == "\\t" else options.delimiter
    table = open_table(source, format=options.format, delimiter=delimiter, encoding=options.encoding)
    if task == "fill-mask":
        params.setdefault("top_k", 1)
    job = Job(
        table=table,
        build=column_inputs(task, table, options.column, options.given),
        output=options.output,
        overwrite=options.overwrite,
        overwrite_columns=options.overwrite_columns,
        prefix=options.prefix,
        keep=options.keep,
    )
    job.check(result_columns(task, params, None))
    pipe = _pipeline(named, options)
    job.run(pipe, _call(params, options), result_columns(task, params, len(_labels(pipe)) or None))


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
        if task != "zero-shot-classification":
            raise click.UsageError(f"--labels is for zero-shot-classification, not for {task}")
        params["candidate_labels"] = options.labels
    for name in ("src_lang", "tgt_lang"):
        language = getattr(options, name)
        if language is not None and task != "translation":
            raise click.UsageError(f"--{name.replace('_', '-')} is for translation, not for {task}")
        if language is not None:
            params[name] = language
    if task == "zero-shot-classification" and not params.get("candidate_labels"):
        raise click.UsageError("zero-shot-classification needs --labels a,b,c")
    return params


def _refuse_table_options(options: RunOptions) -> None:
    for name in ("column", "output", "format", "delimiter", "encoding", "overwrite", "overwrite_columns", "prefix"):
        if getattr(options, name):
            raise click.UsageError(f"--{name.replace('_', '-')} needs --input FILE")


def _labels(pipe: Any) -> list[str]:
    """The model's labels, for pipelines that have them."""
    config = getattr(getattr(pipe, "model", None), "config", None)
    return [str(label) for label in (getattr(config, "id2label", None) or {}).values()]
