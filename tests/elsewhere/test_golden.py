"""The golden cases of each kind of bundle in Node, by the script that `onnxpipe verify --with node` prints."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from onnxpipe.bundle import open_bundle
from onnxpipe.cli import main

Node = Callable[..., str]

KINDS = {
    "encoder": ("bert", "base", ("fp32", "fp16", "int8")),
    "grouped attention": ("llama", "causal", ("fp32",)),
    "encoder-decoder": ("t5", "seq2seq", ("fp32",)),
    "translation": ("marian", "seq2seq", ("fp32",)),
    "images": ("resnet", "image-classification", ("fp32",)),
    "objects": ("detr", "object-detection", ("fp32",)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_golden_cases(kind: str, bundles: Callable[..., Path], node: Node, script: Path) -> None:
    family, head, precisions = KINDS[kind]
    folder = bundles(family, head, precisions)
    write(folder, script)
    printed = node(script).splitlines()
    graphs = [(graph, precision) for graph, files in open_bundle(folder).graphs.items() for precision in files]
    assert [line.partition(", ")[0] for line in printed] == [*(f"{g} {p}: ok" for g, p in graphs), "ok"]


def test_a_wrong_graph_fails(bundles: Callable[..., Path], node: Node, script: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundles("bert", "base"), tmp_path / "bundle")
    other = bundles("bert", "base", ("fp32", "fp16", "int8"))
    write(folder, script)
    shutil.copyfile(other / "onnx/model_int8.onnx", folder / "onnx/model.onnx")
    with pytest.raises(AssertionError, match="model fp32: FAILED, 4 cases"):
        node(script)


def test_options_that_mean_nothing_there(bundles: Callable[..., Path]) -> None:
    result = CliRunner().invoke(main, ["verify", "--with", "node", "--device", "cpu", str(bundles("bert", "base"))])
    assert result.exit_code == 2
    assert "leave out" in result.output


def write(folder: Path, script: Path) -> None:
    """Write the script for the bundle in `folder`."""
    result = CliRunner().invoke(main, ["verify", "--with", "node", str(folder)])
    assert result.exit_code == 0, result.output
    script.write_text(result.stdout, "utf-8")
