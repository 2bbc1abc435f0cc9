"""Real models and labelled data, from folders that two environment variables name; skipped without them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

MODELS = "ONNXPIPE_TEST_MODELS"
DATA = "ONNXPIPE_TEST_DATA"


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """`real_model(name)`: the folder of a pretrained model as the Hub has it."""
    root = os.environ.get(MODELS)
    if not root:
        pytest.skip(f"no real models: set {MODELS} to a folder that holds them")

    def find(name: str) -> Path:
        folder = Path(root) / name
        if not folder.is_dir():
            pytest.skip(f"{MODELS} holds no {name}")
        return folder

    return find


@pytest.fixture(scope="session")
def real_bundle(real_model: Callable[[str], Path]) -> Callable[[str], Path]:
    """`real_bundle(name)`: the model exported to fp32 and int8, kept between runs."""
    from zoo.cache import cached_export

    @cache
    def make(name: str) -> Path:
        return cached_export(real_model(name), ("fp32", "int8"))

    return make


@pytest.fixture(scope="session")
def rows() -> Callable[[str], list[dict[str, Any]]]:
    """`rows(file)`: the lines of a JSONL file of the data folder."""
    root = os.environ.get(DATA)
    if not root:
        pytest.skip(f"no data: set {DATA} to the folder of labelled sets")
    return lambda file: [json.loads(line) for line in (Path(root) / file).read_text("utf-8").splitlines()]
