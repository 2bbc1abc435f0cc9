"""Fixtures for every test folder. Nothing heavy is imported here: unit tests run without torch and transformers."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

# Before any library reads them: no telemetry, no warning about forks, one thread a library.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    # Read by tests/conformance/conftest.py; options must be known before that file is loaded.
    parser.addoption("--write-table", action="store_true", help="write the support table of README.md from this run")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name data by its argument: bytes, long or unprintable text and paths are no part of a test's name.

    A name must be the same in every process, and data may hold a clock or a path. pytest numbers what is named alike.
    """
    is_data = isinstance(val, (bytes, bytearray, os.PathLike))
    is_long = isinstance(val, str) and (len(val) > _LONGEST_NAME or not val.isprintable())
    return argname if is_data or is_long else None


_LONGEST_NAME = 60


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
