"""`onnxpipe run TASK --help` and the list of tasks: generated from the tasks' records."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner

from onnxpipe.cli import main
from onnxpipe.cli.run.command import command
from onnxpipe.cli.run.options import TASK_OPTIONS
from onnxpipe.cli.run.task_help import example_arguments
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.registry import all_tasks, task_spec

every_task = pytest.mark.parametrize("spec", all_tasks(), ids=lambda spec: spec.name)


def help_of(*args: str) -> str:
    result = CliRunner().invoke(main, ["run", *args, "--help"])
    assert result.exit_code == 0, result.output
    return result.stdout


@every_task
def test_a_task_describes_itself(spec: TaskSpec) -> None:
    text = help_of(spec.name)
    assert text.startswith(f"Usage: main run {spec.name} [OPTIONS] [INPUT]...\n\n  {spec.help.split()[0]}")
    assert f"main run {example_arguments(spec)}\n" in text
    assert all(name in text for name in spec.columns({}, None).names if spec.output != "audio")
    for name, applies in TASK_OPTIONS.items():
        assert (f"--{name.replace('_', '-')} " in text.split("Options of this task")[-1]) == applies(spec)


@every_task
def test_an_example_is_a_call_of_the_command(spec: TaskSpec) -> None:
    context = command.make_context("run", shlex.split(example_arguments(spec)))
    assert task_spec(context.params["task"]) is spec
    given = {name for name in TASK_OPTIONS if context.params[name]}
    assert all(TASK_OPTIONS[name](spec) for name in given)
    assert context.params["inputs"] or given & {"question", "context"}


def test_parameters_have_types_defaults_and_texts() -> None:
    text = " ".join(help_of("ner").split())
    assert "ignore_labels a,b,c" in text and "[default: ('O',)]" in text
    assert "truncate_dim int" in help_of("embedding")
    assert "candidate_labels " not in help_of("zero-shot-classification").split("Parameters")[1]  # --labels


def test_columns_depend_on_parameters() -> None:
    text = help_of("text-classification")
    assert "Columns of a table: label, score." in text
    assert "with top_k=2: label_1, score_1, label_2, score_2" in text


def test_the_command_lists_all_tasks() -> None:
    text = " ".join(help_of().split())
    for spec in all_tasks():
        assert f" {spec.name} {spec.help.split()[0]} " in text


def test_help_wherever_the_task_stands() -> None:
    alias = help_of("sentiment-analysis")
    assert alias.startswith("Usage: main run sentiment-analysis")
    assert CliRunner().invoke(main, ["run", "--help", "sentiment-analysis"]).stdout == alias
    wrong = CliRunner().invoke(main, ["run", "text-classificaton", "--help"])
    assert wrong.exit_code == 1
    assert "did you mean 'text-classification'?" in wrong.stderr


def test_help_needs_no_runtime() -> None:
    code = (
        "import sys; from onnxpipe.cli import main; main(['run', '--help'], standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('onnxruntime', 'tokenizers', 'huggingface_hub', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
