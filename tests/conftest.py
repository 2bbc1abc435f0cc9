"""Fixtures for every test folder. Nothing heavy is imported here: unit tests run without torch and transformers."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

# Before any library reads them: no telemetry, no warning about forks, one thread a library.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    # Read by tests/conformance/conftest.py; options must be known before that file is loaded.
    parser.addoption("--write-table", action="store_true", help="write the tables of docs/models.md from this run")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name data by its argument: bytes, long or unprintable text and paths are no part of a test's name.

    A name must be the same in every process, and data may hold a clock or a path. pytest numbers equal names.
    """
    is_data = isinstance(val, (bytes, bytearray, os.PathLike))
    is_long = isinstance(val, str) and (len(val) > _LONGEST_NAME or not val.isprintable())
    return argname if is_data or is_long else None


_LONGEST_NAME = 60


MODELS = "ONNXPIPE_TEST_MODELS"
"""The environment variable that names a folder of pretrained models."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start every test from the same random numbers, so that none passes or fails by chance."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def models() -> Callable[[str, str], Path]:
    """`models(family, head)`: the folder of a tiny random model in the layout of the Hub (see `zoo`)."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from zoo.cache import cached_model

    return cached_model


@pytest.fixture(scope="session")
def bundles() -> Callable[..., Path]:
    """`bundles(family, head, precisions=("fp32",))`: the same model, exported. Kept between runs (see `zoo.cache`)."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("onnx")
    from zoo.cache import cached_bundle

    def bundle(family: str, head: str, precisions: Iterable[str] = ("fp32",)) -> Path:
        return cached_bundle(family, head, precisions)

    return bundle


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
