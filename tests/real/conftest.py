"""Labelled data, from the folder that an environment variable names; skipped without it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = "ONNXPIPE_TEST_DATA"


@pytest.fixture(scope="session")
def rows() -> Callable[[str], list[dict[str, Any]]]:
    """`rows(file)`: the lines of a JSONL file of the data folder."""
    root = os.environ.get(DATA)
    if not root:
        pytest.skip(f"no data: set {DATA} to the folder of labelled sets")
    return lambda file: [json.loads(line) for line in (Path(root) / file).read_text("utf-8").splitlines()]
