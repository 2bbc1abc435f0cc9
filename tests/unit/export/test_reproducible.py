"""An export makes the same files in every process, whatever its hashes of strings are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

EXPORT = """
import sys
from onnxpipe_export import export
for name, target, task in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    export(name, target, task=task)
"""
#: Two kinds of layers that are listed as a set (ModernBERT), a causal model, an image model.
FAMILIES = {("modernbert", "base"): "feature-extraction", ("llama", "causal"): "text-generation",
            ("vit", "image-classification"): "image-classification"}  # fmt: skip


def test_the_same_bytes_in_every_process(models: Callable[[str, str], Path], tmp_path: Path) -> None:
    running = []
    for seed in ("1", "3"):  # with these, set("full_attention", "sliding_attention") has two orders
        arguments = []
        for (family, head), task in FAMILIES.items():
            arguments += [str(models(family, head)), str(tmp_path / seed / family), task]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        running.append(subprocess.Popen([sys.executable, "-c", EXPORT, *arguments], env=environment))
    assert [process.wait(timeout=300) for process in running] == [0, 0]

    for family, _ in FAMILIES:
        one, other = (contents(tmp_path / seed / family) for seed in ("1", "3"))
        assert one.keys() == other.keys() and "onnx/model.onnx" in one
        assert [name for name in one if one[name] != other[name]] == []


def contents(bundle: Path) -> dict[str, object]:
    """The files of a bundle by their names; of the two that say when it was made, only the rest."""
    found: dict[str, object] = {}
    for path in sorted(bundle.rglob("*")):
        if path.is_file():
            found[path.relative_to(bundle).as_posix()] = path.read_bytes()
    certificate = json.loads((bundle / "certificate.json").read_text("utf-8"))
    del certificate["created"]
    manifest = json.loads((bundle / "bundle.json").read_text("utf-8"))
    del manifest["files"]["certificate.json"]
    return {**found, "certificate.json": certificate, "bundle.json": manifest}
