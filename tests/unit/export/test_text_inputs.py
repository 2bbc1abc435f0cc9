"""Models that read more than text are not exported as models of text: their graphs would certify, and mean nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from onnxpipe.errors import ExportError  # noqa: E402
from onnxpipe_export import export, tasks  # noqa: E402
from onnxpipe_export.graphs.text_inputs import check_text_suffices  # noqa: E402
from zoo.cache import cached_model  # noqa: E402

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}


def checkpoint(model: Any, given: dict[str, list[int]]) -> Any:
    return SimpleNamespace(model=model, task=tasks.TASKS["fill-mask"], tokenizer=lambda text: given)


def test_a_reader_of_pages_is_no_reader_of_texts(tmp_path: Path) -> None:
    folder = cached_model("layoutlm", "document-question-answering")
    with pytest.raises(
        ExportError, match=r"takes bbox \(a box on the page for each word\).*document-question-answering"
    ):
        export(str(folder), str(tmp_path / "out"), task="feature-extraction")
    assert not (tmp_path / "out").exists()


def test_what_a_tokenizer_gives_beside_ids_is_not_dropped() -> None:
    ids = {"input_ids": [1], "attention_mask": [1], "token_type_ids": [0]}
    check_text_suffices(checkpoint(transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)), ids))
    shapes = transformers.RoCBertForMaskedLM(transformers.RoCBertConfig(**SIZES))
    with pytest.raises(ExportError, match="gives input_pronunciation_ids, input_shape_ids beside the ids"):
        check_text_suffices(checkpoint(shapes, ids | {"input_shape_ids": [1], "input_pronunciation_ids": [1]}))
