"""A folder of LayoutLMv2 in the Hub's layout loads, though it is not made here: its image has a name of its own."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxpipe
from onnxpipe.errors import UnsupportedError

onnx = pytest.importorskip("onnx")
pytest.importorskip("PIL.Image")
from unit.tasks.test_document_question_answering import QUESTION, words_tokenizer  # noqa: E402
from zoo.documents import TOTAL, receipt  # noqa: E402

NUMBER = 3  # the unknown token, which every number is


def graph(path: Path, image: bool) -> None:
    """Point at numbers on the right half of the page; the lower they stand, the more."""
    from onnx import TensorProto as T
    from onnx import helper

    ids = [
        helper.make_tensor_value_info(n, T.INT64, ["b", "s"]) for n in ("input_ids", "attention_mask", "token_type_ids")
    ]
    boxes = helper.make_tensor_value_info("bbox", T.INT64, ["b", "s", 4])
    pixels = helper.make_tensor_value_info("image", T.FLOAT, ["b", 3, 8, 8])
    outputs = [helper.make_tensor_value_info(n, T.FLOAT, ["b", "s"]) for n in ("start_logits", "end_logits")]
    constants = {
        "top": np.array([1], np.int64), "left": np.array([0], np.int64), "two": np.array([2], np.int64),
        "one": np.array([1], np.int64), "axis": np.array([2], np.int64), "number": np.array(NUMBER, np.int64),
        "half": np.array(500, np.int64), "scale": np.array(0.02, np.float32), "axes": np.array([1, 2, 3], np.int64),
        "zero": np.array(0, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["bbox", "top", "two", "axis"], ["tops"]),
        helper.make_node("Slice", ["bbox", "left", "one", "axis"], ["lefts"]),
        helper.make_node("Squeeze", ["tops", "axis"], ["y"]),
        helper.make_node("Squeeze", ["lefts", "axis"], ["x"]),
        helper.make_node("Equal", ["input_ids", "number"], ["is_number"]),
        helper.make_node("Greater", ["x", "half"], ["is_right"]),
        helper.make_node("And", ["is_number", "is_right"], ["fits"]),
        helper.make_node("Cast", ["fits"], ["fits_float"], to=T.FLOAT),
        helper.make_node("Cast", ["y"], ["y_float"], to=T.FLOAT),
        helper.make_node("Mul", ["y_float", "scale"], ["lower"]),
        helper.make_node("Mul", ["lower", "fits_float"], ["points"]),
    ]
    if image:  # the image is read, so that the graph keeps its input
        nodes += [
            helper.make_node("ReduceMax", ["image", "axes"], ["bright"], keepdims=0),
            helper.make_node("Mul", ["bright", "zero"], ["nothing"]),
            helper.make_node("Unsqueeze", ["nothing", "one"], ["column"]),
            helper.make_node("Add", ["points", "column"], ["start_logits"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["points"], ["start_logits"]))
    nodes.append(helper.make_node("Identity", ["start_logits"], ["end_logits"]))
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    inputs = [*ids, boxes, *([pixels] if image else [])]
    model = helper.make_model(
        helper.make_graph(nodes, "pages", inputs, outputs, tensors), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 9
    path.parent.mkdir(parents=True)
    onnx.save(model, path)


def folder(path: Path, kind: str = "LayoutLMv2", image: bool = True) -> Path:
    graph(path / "onnx" / "model.onnx", image)
    config = {"model_type": kind.lower(), "architectures": [f"{kind}ForQuestionAnswering"]}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words_tokenizer().save_pretrained(path)
    tokenizer = json.loads((path / "tokenizer_config.json").read_text("utf-8"))
    (path / "tokenizer_config.json").write_text(
        json.dumps({**tokenizer, "tokenizer_class": f"{kind}Tokenizer"}), "utf-8"
    )
    if image:
        processor = {"image_processor_type": "LayoutLMv2ImageProcessor", "size": {"height": 8, "width": 8}}
        (path / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return path


def test_a_folder_of_layoutlmv2_answers(tmp_path: Path) -> None:
    page = receipt()
    qa = onnxpipe.pipeline(model=str(folder(tmp_path / "model")))
    assert qa.task == "document-question-answering" and type(qa.tokenizer).__name__ == "PageTokenizer"
    (answer,) = qa(page.image, QUESTION, page.word_boxes)
    assert answer["answer"] == TOTAL
    model = onnxpipe.AutoModelForDocumentQuestionAnswering.from_pretrained(tmp_path / "model")
    assert "image" in model.session.inputs
    for twin in (pickle.loads(pickle.dumps(qa)),):  # noqa: S301 - our own
        assert twin(page.image, QUESTION, page.word_boxes) == [answer]
    with pytest.raises(UnsupportedError, match="document-question-answering"):
        onnxpipe.pipeline("fill-mask", model=str(tmp_path / "model"))


def test_a_folder_of_layoutlm_answers(tmp_path: Path) -> None:
    qa: Any = onnxpipe.pipeline("document-question-answering", model=str(folder(tmp_path / "model", "LayoutLM", False)))
    assert qa(None, QUESTION, receipt().word_boxes)[0]["answer"] == TOTAL


def test_a_reader_survives_pickle() -> None:
    reader = onnxpipe.pipeline("ocr", ocr="rapidocr")
    twin = pickle.loads(pickle.dumps(reader))  # noqa: S301 - our own
    assert twin.options == reader.options and twin.task == "ocr"
    with pytest.raises(TypeError, match="options is in memory only"):
        pickle.dumps(onnxpipe.pipeline("ocr", ocr=lambda image: []))
