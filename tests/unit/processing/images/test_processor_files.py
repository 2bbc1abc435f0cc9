"""Image processors by name: which file of a folder counts, what older ones mean, and what goes with an image (the
name of a task, texts, points)."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

from onnxpipe.bundle.layout import side_files  # noqa: E402
from onnxpipe.errors import ImageError, ModelNotFoundError, UnknownArgumentError, UnsupportedError  # noqa: E402
from onnxpipe.processing.auto import (  # noqa: E402
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoProcessor,
    AutoVideoProcessor,
)
from onnxpipe.processing.images.classifiers import CLIPImageProcessor, ViTImageProcessor  # noqa: E402
from onnxpipe.processing.images.detr import DetrImageProcessor  # noqa: E402
from onnxpipe.processing.multimodal.image_text import GroundingDinoProcessor, OwlProcessor, SamProcessor  # noqa: E402
from onnxpipe.processing.registry import IMAGE_PROCESSORS as CLASSES  # noqa: E402


def image() -> Any:
    """61 pixels wide, 45 high."""
    return Image.fromarray(np.arange(45 * 61 * 3, dtype=np.uint8).reshape(45, 61, 3))


# -- files ------------------------------------------------------------------------------------------------------------
def folder(path: Path, **files: Any) -> Path:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def test_which_file_counts(tmp_path: Path) -> None:
    nested = {"image_processor": {"image_processor_type": "CLIPImageProcessor"}, "processor_class": "CLIPProcessor"}
    flat = {"image_processor_type": "ViTImageProcessor", "size": 30}
    assert type(AutoImageProcessor.from_pretrained(folder(tmp_path, preprocessor_config=flat))) is ViTImageProcessor
    assert type(AutoImageProcessor.from_pretrained(folder(tmp_path, processor_config=nested))) is CLIPImageProcessor
    folder(tmp_path, processor_config={"processor_class": "CLIPProcessor"})
    assert AutoFeatureExtractor.from_pretrained(tmp_path).size == {"height": 30, "width": 30}
    assert AutoImageProcessor.from_pretrained(tmp_path, size=20).size == {"height": 20, "width": 20}
    assert CLIPImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 30}
    video = {"video_processor_type": "VivitVideoProcessor"}
    found = AutoVideoProcessor.from_pretrained(folder(tmp_path, video_preprocessor_config=video))
    assert type(found).__name__ == "VivitImageProcessor" and found.offset


def test_the_family_where_no_class_is_named(tmp_path: Path) -> None:
    folder(tmp_path, preprocessor_config={"size": 30}, config={"model_type": "resnet"})
    assert AutoImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 30}
    folder(tmp_path, config={"model_type": "bert"})
    with pytest.raises(UnsupportedError, match=r"bert.*ViTImageProcessor"):
        AutoImageProcessor.from_pretrained(tmp_path)
    folder(tmp_path, preprocessor_config={"image_processor_type": "FooImageProcessor"})
    with pytest.raises(UnsupportedError, match=r"FooImageProcessor.*ViTImageProcessor"):
        AutoImageProcessor.from_pretrained(tmp_path)
    with pytest.raises(ModelNotFoundError, match="preprocessor_config"):
        AutoImageProcessor.from_pretrained(folder(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("version", "resample"), [("4.57.6", 2), ("4.9.0.dev0", 2), ("3.1", 2), ("5.0.0", 3), ("5.23.0", 3), (None, 3)]
)
def test_defaults_of_the_version_that_wrote_the_file(version: str | None, resample: int, tmp_path: Path) -> None:
    config = {"model_type": "resnet"} if version is None else {"model_type": "resnet", "transformers_version": version}
    silent = folder(tmp_path, preprocessor_config={"size": 224, "do_rescale": None}, config=config)
    processor = AutoImageProcessor.from_pretrained(silent)
    assert (processor.resample, processor.do_rescale) == (resample, True)
    folder(tmp_path, preprocessor_config={"size": 224, "resample": 1})
    assert AutoImageProcessor.from_pretrained(tmp_path).resample == 1


def test_defaults_of_feature_extractors(tmp_path: Path) -> None:
    folder(tmp_path, preprocessor_config={"feature_extractor_type": "BeitFeatureExtractor"})
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert processor.size == {"height": 256, "width": 256} and processor.do_center_crop


def test_old_names_of_settings() -> None:
    assert CLASSES["SegformerImageProcessor"].from_dict({"reduce_labels": True}).do_reduce_labels is True
    assert DetrImageProcessor.from_dict({"size": 800, "max_size": 1000}).size["longest_edge"] == 1000
    assert DetrImageProcessor.from_dict({"pad_and_return_pixel_mask": False}).do_pad is False
    assert CLASSES["Swin2SRImageProcessor"].from_dict({"pad_size": 16}).size_divisor == 16
    assert CLASSES["MaskFormerImageProcessor"].from_dict({"size_divisibility": 16}).size_divisor == 16


def test_what_is_not_known_is_kept(tmp_path: Path) -> None:
    processor = ViTImageProcessor.from_dict({"size": 8, "image_seq_length": 7, "do_flip_channel_order": True})
    assert processor.image_seq_length == 7
    processor.save_pretrained(tmp_path / "new")
    saved = json.loads((tmp_path / "new" / "preprocessor_config.json").read_text())
    assert saved["image_seq_length"] == 7 and saved["image_processor_type"] == "ViTImageProcessor"
    assert AutoImageProcessor.from_pretrained(tmp_path / "new").size == {"height": 8, "width": 8}


def test_code_of_a_model_is_refused(tmp_path: Path) -> None:
    for loader in (AutoImageProcessor, AutoVideoProcessor, AutoProcessor, ViTImageProcessor):
        with pytest.raises(UnsupportedError, match="trust_remote_code"):
            loader.from_pretrained(tmp_path, trust_remote_code=True)


def test_files_of_a_repository() -> None:
    names = ["config.json", "preprocessor_config.json", "tokenizer.json", "onnx/model.onnx", "processor_config.json"]
    assert side_files(names, "processor") == ["config.json", "preprocessor_config.json", "processor_config.json"]


def test_class_info_of_oneformer(tmp_path: Path) -> None:
    classes = {"0": {"name": "wall", "isthing": 0}, "1": {"name": "cat", "isthing": 1}}
    folder(tmp_path, preprocessor_config={"image_processor_type": "OneFormerImageProcessor",
                                          "class_info_file": "../classes.json"}, classes=classes)  # fmt: skip
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert processor.metadata == {"0": "wall", "1": "cat", "class_names": ["wall", "cat"], "thing_ids": [1]}
    features = processor(image(), "semantic", size={"height": 8, "width": 8})
    assert features.task_inputs == ["the task is semantic"]
    with pytest.raises(UnsupportedError, match="semantic, instance, or panoptic"):
        processor(image(), "depth")


def test_copies() -> None:
    processor = DetrImageProcessor.from_dict({"size": 40, "more": 1})
    for again in (copy.deepcopy(processor), pickle.loads(pickle.dumps(processor))):  # noqa: S301
        assert again.to_dict() == processor.to_dict() and again.more == 1
        again.size = 30
        assert processor.size["shortest_edge"] == 40


# -- texts, points ----------------------------------------------------------------------------------------------------
class Words:
    """A tokenizer of words, as much of one as a processor uses."""

    model_input_names = ("input_ids", "attention_mask")

    def __call__(self, text: Any, **options: Any) -> Any:
        texts = [text] if isinstance(text, str) else text
        rows = [[len(word) for word in each.split()] for each in texts]
        width = options.get("max_length") or 6
        ids = np.array([row + [0] * (width - len(row)) for row in rows])
        data = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "texts": texts, "options": options}
        return type("Encoding", (), {"data": data})

    def decode(self, ids: Any) -> str:
        return " ".join(map(str, ids))


def test_queries_of_several_images() -> None:
    processor = OwlProcessor(CLASSES["OwlViTImageProcessor"](size=8), Words())  # type: ignore[arg-type]
    found = processor(text=[["a cat", "a dog"], ["a remote"]], images=[image(), image()], max_length=3)
    assert found["input_ids"].tolist() == [[1, 3, 0], [1, 3, 0], [1, 6, 0], [0, 0, 0]]
    assert found["pixel_values"].shape == (2, 3, 8, 8) and found.keys() == {
        "input_ids",
        "attention_mask",
        "pixel_values",
    }
    with pytest.raises(UnknownArgumentError, match="max_length"):
        processor(text="a cat", max_lenght=3)
    outputs = {"logits": np.array([[[5.0, -5.0]]]), "pred_boxes": np.array([[[0.5, 0.5, 1, 1]]])}
    grounded = processor.post_process_grounded_object_detection(outputs, text_labels=[["a cat", "a dog"]])
    assert grounded[0]["text_labels"] == ["a cat"]


def test_labels_become_a_sentence() -> None:
    processor = GroundingDinoProcessor(CLASSES["GroundingDinoImageProcessor"](), Words())  # type: ignore[arg-type]
    assert processor(text=["A cat", "dogs "])["texts"] == ["a cat. dogs."]
    assert processor(text=[["A cat"], ["b", "c"]])["texts"] == ["a cat.", "b. c."]
    assert processor(text="A cat. A dog.")["texts"] == ["A cat. A dog."]
    assert processor(text="A cat.")["options"]["return_token_type_ids"] is True


def test_points_where_the_model_sees_them() -> None:
    processor = SamProcessor(CLASSES["SamImageProcessor"](size={"longest_edge": 122}, pad_size=122))
    features = processor(image(), input_points=[[[10, 20], [61, 45]]], input_boxes=[[[0, 0, 61, 45]]])
    assert features["input_points"].tolist() == [[[[20.0, 40.0], [122.0, 90.0]]]]
    assert features["input_boxes"].tolist() == [[[0.0, 0.0, 122.0, 90.0]]]
    assert features["original_sizes"].tolist() == [[45, 61]] and features["reshaped_input_sizes"].tolist() == [
        [90, 122]
    ]
    for wrong in ([10, 20], [[[1, 2, 3]]]):
        with pytest.raises(ImageError):
            processor(image(), input_points=wrong)
