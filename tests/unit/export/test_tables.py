"""Exports for questions about tables: what is refused, and what a bundle keeps."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from onnxpipe.errors import ExportError, MissingDependencyError
from onnxpipe_export import write
from onnxpipe_export.graphs.tables.tapas import describe
from onnxpipe_export.tokenizers import tables


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "'bert' cannot be exported"),
        ({"model_type": "tapas", "select_one_column": False}, "select_one_column=false"),
    ],
)
def test_what_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        describe(SimpleNamespace(config=SimpleNamespace(**config)))  # type: ignore[arg-type]


def test_without_pandas_the_line_to_install_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    tables.check_pandas(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "tapas"}))
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        tables.check_pandas(tmp_path)


def test_a_bundle_keeps_the_settings_of_decisions(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    for name in ("config.json", "decision.json", "decision_template.jinja"):
        (source / name).write_text("{}")
    write.copy_side_files(source, target)
    assert {"decision.json", "decision_template.jinja"} <= {path.name for path in target.iterdir()}
