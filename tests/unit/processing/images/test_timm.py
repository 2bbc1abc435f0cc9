"""Images for models of timm: sizes counted by hand from the steps of torchvision that timm takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

from attacks.graphs import model, write_folder  # noqa: E402
from onnxpipe import AutoImageProcessor, pipeline  # noqa: E402
from onnxpipe.errors import BundleError, NotExportedError  # noqa: E402
from onnxpipe.factory import tasks_of  # noqa: E402
from onnxpipe.processing.images.timm import TimmWrapperImageProcessor  # noqa: E402
from tolerances import ELEMENT  # noqa: E402
from unit.processing.images.test_processors import synthetic_image  # noqa: E402

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
#: What timm's files hold of how images are prepared, and more that does not matter here.
PRETRAINED: dict[str, Any] = {
    "tag": "a1_in1k", "custom_load": False, "input_size": [3, 32, 32], "test_input_size": [3, 40, 40],
    "fixed_input_size": False, "interpolation": "bicubic", "crop_pct": 0.9, "test_crop_pct": 1.0,
    "crop_mode": "center", "mean": list(MEAN), "std": list(STD), "num_classes": 3, "pool_size": None,
    "first_conv": "conv1", "classifier": "fc",
}  # fmt: skip
CONFIG: dict[str, Any] = {"architecture": "resnet18", "num_classes": 3, "num_features": 512}

#: Changes of the file -> the size to which the image of 61 x 45 pixels is resized, the filter, and the corner and the
#: size that are cropped, in pixels, width first. With crop_pct 0.9, 32 pixels are cut from floor(32 / 0.9) = 35.
CASES: dict[str, tuple[Mapping[str, Any], tuple[int, int], int, tuple[int, int], tuple[int, int]]] = {
    "center": ({}, (47, 35), Image.BICUBIC, (8, 2), (32, 32)),
    "no mode": ({"crop_mode": None}, (47, 35), Image.BICUBIC, (8, 2), (32, 32)),
    "bilinear": ({"interpolation": "bilinear"}, (47, 35), Image.BILINEAR, (8, 2), (32, 32)),
    "no filter": ({"interpolation": ""}, (47, 35), Image.BICUBIC, (8, 2), (32, 32)),
    "all of it": ({"crop_pct": 1.0}, (43, 32), Image.BICUBIC, (6, 0), (32, 32)),
    "no share": ({"crop_pct": None}, (48, 36), Image.BICUBIC, (8, 2), (32, 32)),
    "squash": ({"crop_mode": "squash"}, (35, 35), Image.BICUBIC, (2, 2), (32, 32)),
    "not a square": ({"input_size": [3, 24, 32], "crop_pct": 1.0}, (33, 24), Image.BILINEAR, (0, 0), (32, 24)),
    "squashed": (
        {"input_size": [3, 24, 32], "crop_pct": 1.0, "crop_mode": "squash"}, (32, 24), Image.BICUBIC, (0, 0), (32, 24)),
}  # fmt: skip


def numbers(image: Any) -> Any:
    """Bytes to the model's numbers, channels first."""
    values = (np.asarray(image, np.float64) / 255 - MEAN) / STD
    return np.moveaxis(values, -1, 0)[None]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_config_says_how_images_are_prepared(case: Any) -> None:
    changes, size, resample, (left, top), (width, height) = case
    expected = synthetic_image().resize(size, resample).crop((left, top, left + width, top + height))
    processor = TimmWrapperImageProcessor.from_dict({**PRETRAINED, **changes})
    found = processor(synthetic_image()).pixel_values
    assert found == pytest.approx(numbers(expected), abs=10 * ELEMENT)
    again = AutoImageProcessor.from_dict(processor.to_dict())
    assert np.array_equal(again(synthetic_image()).pixel_values, found)


def test_an_image_within_borders() -> None:
    """The long side fills 35 pixels, the short one becomes 26, and what is missing to 32 has the mean colour."""
    canvas = Image.new("RGB", (35, 32), tuple(round(255 * value) for value in MEAN))
    canvas.paste(synthetic_image().resize((35, 26), Image.BICUBIC), (0, 3))
    processor = TimmWrapperImageProcessor.from_dict({**PRETRAINED, "crop_mode": "border"})
    found = processor(synthetic_image()).pixel_values
    assert found == pytest.approx(numbers(canvas.crop((2, 0, 34, 32))), abs=10 * ELEMENT)


def classifier() -> Any:
    """A graph of three labels: the means of the three channels."""
    image = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["b", 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 3])
    node = helper.make_node("ReduceMean", ["pixel_values"], ["logits"], axes=[2, 3], keepdims=0)
    return model([node], [image], [logits])


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({**CONFIG, "label_names": ["cat", "dog", "fox"]}, {"cat", "dog", "fox"}),  # of timm, with labels of its own
        (CONFIG, {"LABEL_0", "LABEL_1", "LABEL_2"}),  # of timm, with the labels of ImageNet, which its package has
        ({"model_type": "timm_wrapper", "architectures": ["TimmWrapperForImageClassification"], "num_classes": 3,
          "label_names": ["cat", "dog", "fox"]}, {"cat", "dog", "fox"}),  # of transformers
    ],
)  # fmt: skip
def test_a_folder_of_a_model_of_timm_answers(config: Any, labels: set[str], tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"onnx/model.onnx": classifier()}, {**config, "pretrained_cfg": PRETRAINED})
    assert tasks_of(folder) == ("image-classification",)
    answer = pipeline("image-classification", model=folder)(synthetic_image())
    logits = TimmWrapperImageProcessor.from_dict(PRETRAINED)(synthetic_image()).pixel_values.mean((0, 2, 3))
    shares = np.exp(logits) / np.exp(logits).sum()
    assert {one["label"] for one in answer} == labels
    assert [one["score"] for one in answer] == pytest.approx(sorted(shares, reverse=True), abs=1e-6)


def test_a_model_without_classes_gives_features(tmp_path: Path) -> None:
    config = {**CONFIG, "num_classes": 0, "pretrained_cfg": PRETRAINED}
    assert tasks_of(write_folder(tmp_path, {}, config)) == ("image-feature-extraction",)


def test_a_size_of_another_form(tmp_path: Path) -> None:
    config = {**CONFIG, "pretrained_cfg": {**PRETRAINED, "input_size": [32, 32]}}
    folder = write_folder(tmp_path, {"onnx/model.onnx": classifier()}, config)
    with pytest.raises(BundleError, match=r"config\.json .*input_size must be \[channels, height, width\]"):
        pipeline("image-classification", model=folder)


def test_weights_alone_say_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpipe.bundle.exporter._missing", lambda: ["torch"])
    folder = write_folder(tmp_path, {"model.safetensors": b"x"}, {**CONFIG, "pretrained_cfg": PRETRAINED})
    with pytest.raises(NotExportedError, match=r"onnxpipe export .* a model of timm \(resnet18\).*onnx-community"):
        pipeline("image-classification", model=folder)
