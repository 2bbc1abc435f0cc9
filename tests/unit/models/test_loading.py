"""A model of another task, and what its refusal says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

pytest.importorskip("onnx")
from attacks.graphs import embedding, write_folder, write_manifest
from onnxpipe import (
    AutoModelForMaskedLM,
    AutoModelForMaskGeneration,
    AutoModelForObjectDetection,
    AutoModelForSeq2SeqLM,
    pipeline,
)
from onnxpipe.bundle import fetch
from onnxpipe.errors import ExportError, ModelNotFoundError, UnsupportedError
from onnxpipe.models.loading import writing_to_cache


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """A bundle that says it is for text classification."""
    return write_manifest(write_folder(tmp_path, {"onnx/model.onnx": embedding()}), tasks=["text-classification"])


@pytest.mark.parametrize("task", ["object-detection", "token-classification", "text-generation", "mask-generation"])
def test_a_model_of_another_task_says_which_tasks_it_is_for(classifier: Path, task: str) -> None:
    with pytest.raises(UnsupportedError, match=f"is for text-classification, not for {task}") as caught:
        pipeline(task, model=classifier)
    assert "onnxpipe export" not in str(caught.value)


@pytest.mark.parametrize("auto", [AutoModelForObjectDetection, AutoModelForSeq2SeqLM, AutoModelForMaskGeneration])
def test_an_auto_class_says_so_too(classifier: Path, auto: type) -> None:
    with pytest.raises(UnsupportedError, match="is for text-classification, not for "):
        auto.from_pretrained(classifier)


def test_a_graph_without_its_task_s_outputs_has_to_be_exported_again(tmp_path: Path) -> None:
    for tasks in (["fill-mask"], []):
        folder = write_folder(tmp_path, {"onnx/model.onnx": embedding()}, {"model_type": "of a day to come"})
        with pytest.raises(UnsupportedError, match="onnxpipe export MODEL --task fill-mask -o DIR"):
            AutoModelForMaskedLM.from_pretrained(write_manifest(folder, tasks=tasks))


@pytest.mark.parametrize("name", ["a" * 5000, "a/" + "b" * 5000])
def test_names_that_no_file_system_takes(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="cannot be looked up") as error:
        fetch(name)
    assert len(str(error.value)) < 400


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    for code in (errno.EROFS, errno.ENOSPC, errno.EACCES):
        with pytest.raises(ExportError, match="ONNXPIPE_CACHE"), writing_to_cache(tmp_path):
            raise OSError(code, os.strerror(code))
    with pytest.raises(FileNotFoundError), writing_to_cache(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")
