"""Node and its packages, which make `npm ci` in this folder; skipped where either is absent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
Answers = Callable[[list[dict[str, Any]]], list[list[Any]]]


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder of transformers.js and ONNX Runtime for JavaScript."""
    if not (HERE / "node_modules/@huggingface/transformers/package.json").is_file():
        pytest.skip("no transformers.js: run `npm ci --ignore-scripts` in tests/elsewhere")
    return HERE / "node_modules"


@pytest.fixture(scope="session")
def node(packages: Path) -> Callable[..., str]:
    """`node(script, *arguments, text="", folder=HERE)`: run a script in a folder; what it printed."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node: install nodejs and npm")

    def run(script: Path, *arguments: str, text: str = "", folder: Path = HERE) -> str:
        done = subprocess.run(
            [program, str(script), *arguments],
            input=text, capture_output=True, text=True, cwd=folder, env={**os.environ, "NODE_NO_WARNINGS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def script(packages: Path) -> Iterator[Path]:
    """A file to write a script to that finds the packages."""
    with tempfile.NamedTemporaryFile(suffix=".mjs", dir=packages) as file:
        yield Path(file.name)


@pytest.fixture
def answers(node: Callable[..., str], tmp_path: Path) -> Answers:
    """`answers(jobs)`: what transformers.js answers in Node; see jobs.mjs."""

    def run(jobs: list[dict[str, Any]]) -> list[list[Any]]:
        node(HERE / "node.mjs", str(tmp_path / "answers.json"), text=json.dumps(jobs))
        found: list[list[Any]] = json.loads((tmp_path / "answers.json").read_text("utf-8"))
        return found

    return run


def job(task: str, folder: Path | str, dtype: str, *calls: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    """What `jobs.mjs` runs: a pipeline (of a folder or an address) with several inputs, each with its options."""
    return {"task": task, "folder": str(folder), "dtype": dtype, "calls": calls}
