"""A batch of rows with its answers, whatever hands the batches around."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe import pipeline
from onnxpipe.errors import UnsupportedError
from onnxpipe.scale import Map
from unit.tasks.test_embedding import folder


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(folder(tmp_path / "tea", "sentence_embedding"))


def test_a_dict_of_columns(model: str) -> None:
    batch = {"id": np.arange(3), "text": np.array(["tea cup", "tea", "cup"])}
    answered = Map("embedding", model, device="cpu", threads=1)(batch)
    assert list(answered) == ["id", "text", "answer", "error"]
    assert answered["answer"].tolist() == [[4, 6], [1, 2], [3, 4]] and answered["error"].tolist() == [None] * 3
    assert answered["id"] is batch["id"]


def test_rows_in_error_keep_their_place(model: str) -> None:
    batch = {"t": ["tea", None, "bad", "cup"]}
    answered = Map("embedding", model, column="t", output="vector", error="why", device="cpu")(batch)
    assert [each is None for each in answered["vector"]] == [False, True, True, False]
    assert answered["why"][1].startswith("ValueError: ") and "NaN" in answered["why"][2]
    assert answered["why"][0] is None and answered["vector"][3].tolist() == [3, 4]


def test_parts_of_an_input(model: str) -> None:
    parts = {"source_sentence": "a", "sentences": "b"}
    batch = {"a": ["tea", "cup"], "b": [["cup"], ["tea", "cup"]]}
    answered = Map("sentence-similarity", model, column=parts, device="cpu")(batch)
    own = pipeline("sentence-similarity", model, device="cpu")
    assert answered["answer"].tolist() == [own("tea", ["cup"]), own("cup", ["tea", "cup"])]


def test_a_data_frame(model: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["tea", None], "n": [1, 2]}, index=[5, 7])
    answered = Map("embedding", model, device="cpu")(frame)
    assert list(answered.columns) == ["text", "n", "answer", "error"] and list(answered.index) == [5, 7]
    assert answered["answer"][5].tolist() == [1, 2] and answered["answer"][7] is None
    assert list(frame.columns) == ["text", "n"]


def test_it_goes_to_other_processes(model: str) -> None:
    there = pickle.loads(pickle.dumps(Map("embedding", model, device="cpu", threads=1)))  # noqa: S301 - our own
    assert there({"text": ["cup"]})["answer"].tolist() == [[3, 4]]
    assert there({"text": []})["answer"].tolist() == []


@pytest.mark.parametrize("batch", [{"texts": ["a"]}, ["a"], "a", None])
def test_other_batches_are_refused(model: str, batch: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"no column 'text'|a batch is"):
        Map("embedding", model, device="cpu")(batch)


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="both 'x'"):
        Map("embedding", "nowhere", output="x", error="x")
