"""Graphs that pool by themselves, and graphs that answer with NaN for one input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attacks.graphs import model, onnx, write_folder
from onnxpipe import pipeline
from onnxpipe.engine.scheduler import ItemError
from onnxpipe.errors import UnsupportedError

WORDS = {"[UNK]": 0, "[PAD]": 1, "bad": 2, "tea": 3, "cup": 4}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"},
}
TABLE = np.array([[0, 0], [0, 0], [np.nan, 0], [1, 2], [3, 4]], np.float32)


def folder(path: Path, output: str) -> Path:
    """A folder whose graph adds up the vectors of words: NaN for "bad"."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], [output], keepdims=0),
    ]
    tensors = [onnx.numpy_helper.from_array(TABLE, "table"), onnx.numpy_helper.from_array(np.array([1]), "axis")]
    inputs = [helper.make_tensor_value_info("input_ids", kinds.INT64, ["batch", "sequence"])]
    graph = model(nodes, inputs, [helper.make_tensor_value_info(output, kinds.FLOAT, ["batch", 2])], tensors)
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    settings = {"model_input_names": ["input_ids"], "pad_token": "[PAD]", "tokenizer_class": "PreTrainedTokenizerFast"}
    files = {"model.onnx": graph, "tokenizer.json": json.dumps(TOKENIZER), "tokenizer_config.json": settings}
    return write_folder(path, files, config)


def test_a_graph_that_gives_only_the_embedding(tmp_path: Path) -> None:
    pipe = pipeline("embedding", str(folder(tmp_path, "sentence_embedding")), device="cpu")
    assert [vector.tolist() for vector in pipe(["tea cup", "tea"])] == [[4, 6], [1, 2]]
    assert pipe("tea", truncate_dim=1).tolist() == [1]
    assert pipe("cup", normalize=True).tolist() == pytest.approx([0.6, 0.8])
    with pytest.raises(UnsupportedError, match="pools by itself"):
        pipe("tea", pooling="cls")


def test_sentences_that_are_no_list_of_texts(tmp_path: Path) -> None:
    pipe = pipeline("sentence-similarity", str(folder(tmp_path, "sentence_embedding")), device="cpu")
    assert len(pipe("tea", ["cup", "tea cup"])) == 2
    for sentences in ("cup", None, ["cup", None], {"cup": 1}):
        with pytest.raises(ValueError, match="sentences"):
            pipe({"source_sentence": "tea", "sentences": sentences})


def test_nan_is_the_error_of_its_input(tmp_path: Path) -> None:
    pipe = pipeline("text-classification", str(folder(tmp_path, "logits")), device="cpu")
    with pytest.raises(ValueError, match="'logits' is not a number"):
        pipe("tea bad")
    good, bad, other = pipe(["tea", "bad", "cup"], on_error="return", batch_size=3)
    assert good["label"] == other["label"] == "LABEL_1"
    assert isinstance(bad, ItemError)
