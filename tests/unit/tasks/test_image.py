"""The image tasks over fake models: their inputs, and what becomes of their outputs."""

from __future__ import annotations

import base64
import gc
import io
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpipe import (
    BackgroundRemovalPipeline,
    Config,
    DepthEstimationPipeline,
    ImageClassificationPipeline,
    ImageFeatureExtractionPipeline,
    ImageProcessor,
    ImageSegmentationPipeline,
    ImageToImagePipeline,
    ItemError,
    KeyDataset,
    KeypointMatchingPipeline,
    MaskGenerationPipeline,
    ObjectDetectionPipeline,
    PipelineIterator,
    VideoClassificationPipeline,
    ZeroShotImageClassificationPipeline,
    ZeroShotObjectDetectionPipeline,
)
from onnxpipe.components import ComponentSource, PassedComponents, load_components
from onnxpipe.errors import BundleError, UnknownArgumentError, UnsupportedError
from unit.fakes import tokenizer

Image = pytest.importorskip("PIL.Image")

SIDE = 8
LABELS = {0: "dark", 1: "grey", 2: "bright"}
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class FakeModel:
    """Answers with a function of the pixels, and remembers the shapes of its batches."""

    def __init__(
        self,
        answer: Callable[[Mapping[str, Any]], dict[str, Any]],
        inputs: Sequence[str] = ("pixel_values",),
        **config: Any,
    ) -> None:
        self.answer = answer
        self.config = Config({"id2label": LABELS, "model_type": "fake", **config})
        self.session = SimpleNamespace(inputs=dict.fromkeys(inputs))
        self.device = SimpleNamespace(type="cpu")
        self.dtype = "float32"
        self.name_or_path = "fake"
        self.per_token: frozenset[str] = frozenset()
        self.batches: list[dict[str, tuple[int, ...]]] = []

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        assert feeds.keys() <= self.session.inputs.keys()
        self.batches.append({name: np.shape(array) for name, array in feeds.items()})
        return self.answer(feeds)

    def can_generate(self) -> bool:
        return False


class Processor(ImageProcessor):
    """Images of 8 x 8, numbers of 0 to 1."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"size": {"height": SIDE, "width": SIDE}, "do_resize": True, "do_rescale": True, **settings})


def means(feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Logits of three labels: the images' mean brightness."""
    brightness = feeds["pixel_values"].mean(axis=tuple(range(1, feeds["pixel_values"].ndim)))
    return {"logits": np.stack([1 - brightness, 0 * brightness, brightness], -1).astype(np.float32) * 10}


def plain(colour: Any, size: tuple[int, int] = (12, 9)) -> Any:
    return Image.new("RGB", size, colour)


def classifier(processor: Any = None, **config: Any) -> Any:
    return ImageClassificationPipeline(
        FakeModel(means, **config), image_processor=processor or Processor(), task="image-classification"
    )


def best(answer: list[dict[str, Any]]) -> str:
    return str(answer[0]["label"])


# -- inputs ---
def test_every_form_of_an_image(tmp_path: Path) -> None:
    white = plain("white")
    white.save(tmp_path / "white.png")
    data = (tmp_path / "white.png").read_bytes()
    text = base64.b64encode(data).decode()
    pipe = classifier()
    expected = pipe(white)
    assert best(expected) == "bright"
    array = np.asarray(white)
    for form in (tmp_path / "white.png", str(tmp_path / "white.png"), data, text, f"data:image/png;base64,{text}",
                 array, array.astype(np.float32) / 255, np.moveaxis(array, -1, 0)):  # fmt: skip
        assert pipe(form) == expected
    assert pipe(images=white) == pipe(image=white) == pipe(inputs=white) == expected


def test_shapes_of_answers() -> None:
    pipe = classifier()
    images = [plain("black"), plain("white"), plain("black", (5, 30))]
    expected = [pipe(image) for image in images]
    assert list(expected[0][0]) == ["label", "score"]
    assert [best(answer) for answer in expected] == ["dark", "bright", "dark"]
    assert pipe(images) == expected
    assert pipe(images, batch_size=2) == expected
    assert pipe(images, num_workers=2) == expected
    assert pipe([]) == []
    lazy = pipe(image for image in images)
    assert isinstance(lazy, PipelineIterator)
    assert list(lazy) == expected
    data = KeyDataset([{"p": image} for image in images], "p")
    assert list(pipe(data)) == expected
    assert len(pipe(data, batch_size=2)) == 2


def test_a_bad_image_takes_no_other_down(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    pipe = classifier()
    answers = pipe([plain("white"), str(tmp_path / "text.png"), 7, plain("black")], on_error="return")
    assert [best(a) if isinstance(a, list) else type(a.error).__name__ for a in answers] == [
        "bright", "ImageError", "TypeError", "dark"
    ]  # fmt: skip
    assert isinstance(answers[1], ItemError)
    with pytest.raises(ValueError, match=r"text\.png"):
        pipe([plain("white"), str(tmp_path / "text.png")])


def test_what_is_not_an_input() -> None:
    pipe = classifier()
    with pytest.raises(ValueError, match="without an inputs argument"):
        pipe(None)
    with pytest.raises(ValueError, match="without an inputs argument"):
        pipe()
    with pytest.raises(TypeError, match="twice"):
        pipe(plain("white"), images=plain("black"))
    with pytest.raises(TypeError):
        pipe((plain("white"), plain("black")))  # a tuple is one input, as in transformers


def test_rows_of_one_shape_share_a_batch() -> None:
    pipe = classifier(Processor(size={"shortest_edge": SIDE}))
    images = [plain("white", (16, 8)), plain("black", (8, 8)), plain("black", (16, 8)), plain("white", (8, 8))]
    together = pipe(images)
    assert sorted(batch["pixel_values"] for batch in pipe.model.batches) == [(2, 3, 8, 8), (2, 3, 8, 16)]
    assert together == [pipe(image) for image in images]
    pipe.model.batches.clear()
    assert pipe(images, batch_size=4) == together
    assert sorted(batch["pixel_values"] for batch in pipe.model.batches) == [(2, 3, 8, 8), (2, 3, 8, 16)]


def test_streams_hold_few_images() -> None:
    pipe = classifier()
    seen: list[weakref.ref[Any]] = []

    def stream() -> Iterator[Any]:
        for number in range(12):
            image = np.full((6, 6, 3), number, np.uint8)
            seen.append(weakref.ref(image))
            yield image
            del image

    most = ahead = 0
    for number, _ in enumerate(pipe(stream())):
        gc.collect()
        most = max(most, sum(ref() is not None for ref in seen))
        ahead = max(ahead, len(seen) - number)
    assert most <= 2
    assert ahead <= pipe.window + 1


# -- image-classification ---
def test_scores() -> None:
    pipe = classifier()
    answer = pipe(plain("white"))
    assert sum(entry["score"] for entry in answer) == pytest.approx(1)
    assert [entry["score"] for entry in answer] == sorted((entry["score"] for entry in answer), reverse=True)
    assert pipe(plain("white"), top_k=2) == answer[:2]
    assert pipe(plain("white"), top_k=99) == pipe(plain("white"), top_k=None) == answer
    raw = pipe(plain("white"), function_to_apply="NONE")
    assert raw[0] == {"label": "bright", "score": pytest.approx(10)}
    assert pipe(plain("white"), function_to_apply="sigmoid")[1]["score"] == pytest.approx(0.5)
    assert classifier(problem_type="regression")(plain("white")) == raw
    several = classifier(problem_type="multi_label_classification")(plain("white"))
    assert several == pipe(plain("white"), function_to_apply="sigmoid")
    pipe = classifier()
    pipe.options = pipe.parse({"top_k": 1}, pipe.options)
    assert len(pipe(plain("white"))) == 1


def test_wrong_parameters() -> None:
    pipe = classifier()
    with pytest.raises(ValueError, match="x is not a valid ClassificationFunction"):
        pipe(plain("white"), function_to_apply="x")
    with pytest.raises(UnknownArgumentError, match="did you mean 'top_k'"):
        pipe(plain("white"), topk=2)
    with pytest.raises(UnknownArgumentError, match="treshold"):
        ObjectDetectionPipeline(FakeModel(means), image_processor=WithBoxes())(plain("white"), treshold=1)
    with pytest.raises(ValueError, match=r"no preprocessor_config\.json"):
        ImageClassificationPipeline(FakeModel(means))
    with pytest.raises(BundleError, match="reads pixels, mask"):
        ImageClassificationPipeline(FakeModel(means, ["pixels", "mask"]), image_processor=Processor())(plain("white"))


def test_the_processor_by_its_old_name_and_in_a_processor() -> None:
    processor = Processor()
    old = ImageClassificationPipeline(FakeModel(means), feature_extractor=processor)
    assert old.image_processor is processor
    whole = SimpleNamespace(tokenizer=None, image_processor=processor)
    assert ImageClassificationPipeline(FakeModel(means), processor=whole).image_processor is processor
    assert "'input_modalities': 'image'" in repr(old)


# -- image-feature-extraction ---
def features(feeds: Mapping[str, Any]) -> dict[str, Any]:
    pooled = feeds["pixel_values"].mean((2, 3))
    return {"last_hidden_state": np.repeat(pooled[:, None], 4, 1), "pooler_output": pooled}


def test_features() -> None:
    pipe = ImageFeatureExtractionPipeline(FakeModel(features), image_processor=Processor())
    answer = pipe(plain(RED))
    assert np.shape(answer) == (1, 4, 3)
    assert isinstance(answer, list)
    assert answer[0][0] == [1.0, 0.0, 0.0]
    assert pipe(plain(RED), pool=True) == [[1.0, 0.0, 0.0]]
    arrays = pipe([plain(RED), plain(BLUE)], return_tensors=True)
    assert [array.shape for array in arrays] == [(1, 4, 3)] * 2
    pipe(plain(RED), image_processor_kwargs={"size": {"height": 4, "width": 6}})
    assert pipe.model.batches[-1]["pixel_values"] == (1, 3, 4, 6)
    bare = ImageFeatureExtractionPipeline(
        FakeModel(lambda feeds: {"features": feeds["pixel_values"]}), image_processor=Processor()
    )
    assert np.shape(bare(plain(RED))) == (1, 3, SIDE, SIDE)
    with pytest.raises(ValueError, match="No pooled output"):
        bare(plain(RED), pool=True)


# -- object-detection ---
class WithBoxes(Processor):
    @staticmethod
    def post_process_object_detection(outputs: Any, threshold: float = 0.5, target_sizes: Any = None) -> Any:
        height, width = target_sizes[0]
        scores = outputs.logits[0].max(-1)
        keep = scores > threshold
        return [{"scores": scores[keep], "labels": outputs.logits[0].argmax(-1)[keep],
                 "boxes": outputs.pred_boxes[0][keep] * [width, height, width, height]}]  # fmt: skip


def boxes(feeds: Mapping[str, Any]) -> dict[str, Any]:
    count = len(feeds["pixel_values"])
    logits = np.tile(np.float32([[0.3, 0.1, 0.2], [0.2, 0.1, 0.9], [0.6, 0.1, 0.2]]), (count, 1, 1))
    return {"logits": logits, "pred_boxes": np.tile(np.float32([-0.01, 0.25, 0.5, 0.999]), (count, 3, 1))}


def test_detection() -> None:
    pipe = ObjectDetectionPipeline(FakeModel(boxes), image_processor=WithBoxes(), task="object-detection")
    box = {"xmin": -1, "ymin": 10, "xmax": 100, "ymax": 39}  # cut towards zero
    expected = [
        {"score": pytest.approx(0.9), "label": "bright", "box": {**box}},
        {"score": pytest.approx(0.6), "label": "dark", "box": {**box}},
    ]
    answer = pipe(plain("white", (200, 40)))
    assert answer == expected
    assert list(answer[0]) == ["score", "label", "box"]
    assert pipe([plain("white", (200, 40))] * 2) == [expected] * 2
    assert len(pipe(plain("white"), threshold=0.1)) == 3
    assert pipe(plain("white"), threshold=1) == []
    with pytest.raises(UnsupportedError, match="post_process_object_detection"):
        ObjectDetectionPipeline(FakeModel(boxes), image_processor=Processor())


# -- image-segmentation ---
class Panoptic(Processor):
    @staticmethod
    def post_process_panoptic_segmentation(outputs: Any, target_sizes: Any, **settings: Any) -> Any:
        segmentation = np.zeros(target_sizes[0], np.int32)
        segmentation[:, : target_sizes[0][1] // 2] = 1
        Panoptic.options = settings
        return [{"segmentation": segmentation, "segments_info": [{"id": 1, "label_id": 2, "score": 0.987654}]}]


class Semantic(Processor):
    @staticmethod
    def post_process_semantic_segmentation(outputs: Any, target_sizes: Any) -> Any:
        segmentation = np.zeros(target_sizes[0], np.int64)
        segmentation[:2] = 2
        return [segmentation]


class Both(Panoptic, Semantic):
    pass


class Cutting(Processor):
    """Cut an image in two, as EoMT's processor does with long ones."""

    def __call__(self, images: Any, **keywords: Any) -> Any:
        whole = super().__call__(images, **keywords)["pixel_values"]
        return {"pixel_values": np.concatenate([whole, whole]), "patch_offsets": np.array([[0, 0, 8], [0, 4, 12]])}

    @staticmethod
    def post_process_semantic_segmentation(outputs: Any, target_sizes: Any) -> Any:
        assert outputs["patch_offsets"].tolist() == [[0, 0, 8], [0, 4, 12]]
        assert len(outputs["logits"]) == 2
        return [np.zeros(target_sizes[0], np.int64)]


def test_pieces_of_an_image_come_back_together() -> None:
    pipe = ImageSegmentationPipeline(FakeModel(means), image_processor=Cutting(), task="image-segmentation")
    first, second = pipe([plain("white"), plain("black", (4, 4))], batch_size=3)
    assert first[0]["mask"].size == (12, 9) and second[0]["mask"].size == (4, 4)
    assert pipe.model.batches == [{"pixel_values": (3, 3, 8, 8)}, {"pixel_values": (1, 3, 8, 8)}]


def test_segmentation() -> None:
    pipe = ImageSegmentationPipeline(FakeModel(features), image_processor=Both(), task="image-segmentation")
    (segment,) = pipe(plain("white", (10, 6)))
    assert list(segment) == ["score", "label", "mask"]
    assert (segment["score"], segment["label"]) == (0.987654, "bright")
    mask = segment["mask"]
    assert (mask.mode, mask.size) == ("L", (10, 6))
    assert np.unique(np.asarray(mask)[:, :5]) == [255]
    assert np.unique(np.asarray(mask)[:, 5:]) == [0]
    assert Panoptic.options == {"threshold": 0.9, "mask_threshold": 0.5, "overlap_mask_area_threshold": 0.5}
    pipe(plain("white"), threshold=0.2, mask_threshold=0.3, overlap_mask_area_threshold=0.4)
    assert Panoptic.options == {"threshold": 0.2, "mask_threshold": 0.3, "overlap_mask_area_threshold": 0.4}
    semantic = pipe(plain("white", (10, 6)), subtask="semantic")
    assert [(each["score"], each["label"]) for each in semantic] == [(None, "dark"), (None, "bright")]
    assert [int((np.asarray(each["mask"]) > 0).sum()) for each in semantic] == [40, 20]
    with pytest.raises(ValueError, match=r"Subtask instance is not supported .*panoptic, semantic"):
        pipe(plain("white"), subtask="instance")
    assert (
        ImageSegmentationPipeline(FakeModel(features), image_processor=Semantic())(plain("white"))[0]["score"] is None
    )


class OneFormerLike(Panoptic):
    def __call__(self, images: Any, return_tensors: Any = "np", task_inputs: Any = None, **overrides: Any) -> Any:
        found = super().__call__(images, return_tensors=return_tensors, **overrides)
        found["task_inputs"] = [f"the task is {task}" for task in task_inputs or ["panoptic"]]
        return found


def test_oneformer_takes_its_task_as_tokens() -> None:
    model = FakeModel(features, ["pixel_values", "task_inputs"], model_type="oneformer", task_seq_len=40)
    letters = tokenizer()
    pipe = ImageSegmentationPipeline(model, tokenizer=letters, image_processor=OneFormerLike())
    tasks: list[Any] = []
    model.answer = lambda feeds: tasks.append(feeds["task_inputs"]) or features(feeds)
    pipe(plain("white"))
    assert tasks[0].shape == (1, 40)
    assert letters.decode(tasks[0][0], skip_special_tokens=True) == "the task is panoptic"


# -- depth-estimation, image-to-image ---
class WithDepth(Processor):
    @staticmethod
    def post_process_depth_estimation(outputs: Any, target_sizes: Any = None) -> Any:
        return [{"predicted_depth": np.resize(outputs.predicted_depth[0], target_sizes[0])}]


def test_depth() -> None:
    model = FakeModel(lambda feeds: {"predicted_depth": np.float32([[[1, 2], [3, 5]]])})
    pipe = DepthEstimationPipeline(model, image_processor=WithDepth(), task="depth-estimation")
    answer = pipe(plain("white", (4, 3)))
    assert list(answer) == ["predicted_depth", "depth"]
    assert answer["predicted_depth"].shape == (3, 4)
    assert (answer["depth"].mode, answer["depth"].size) == ("L", (4, 3))
    assert np.asarray(answer["depth"])[0].tolist() == [0, 63, 127, 255]
    assert pipe([plain("white")], parameters={"timeout": 3})[0]["depth"].size == (12, 9)
    assert pipe.parse({"parameters": {"timeout": 3}}, pipe.options).timeout == 3
    with pytest.raises(UnknownArgumentError, match="size"):
        pipe(plain("white"), parameters={"size": 3})
    model.answer = lambda feeds: {"predicted_depth": np.ones((1, 2, 2), np.float32)}
    assert np.unique(np.asarray(pipe(plain("white"))["depth"])) == [0]


def test_image_to_image() -> None:
    def brighter(feeds: Mapping[str, Any]) -> dict[str, Any]:
        return {"reconstruction": np.repeat(np.repeat(feeds["pixel_values"] + 0.2, 2, 2), 2, 3)}

    pipe = ImageToImagePipeline(FakeModel(brighter), image_processor=Processor())
    image = pipe(plain((100, 0, 255)))
    assert (image.mode, image.size) == ("RGB", (2 * SIDE, 2 * SIDE))
    assert image.getpixel((0, 0)) == (151, 51, 255)
    assert [each.size for each in pipe([plain(RED), plain(BLUE)])] == [(16, 16)] * 2
    with pytest.raises(UnsupportedError, match="head_mask"):
        pipe(plain(RED), head_mask=[1])


# -- background-removal ---
def test_background_removal() -> None:
    def left_half(feeds: Mapping[str, Any]) -> Any:
        matte = np.zeros((1, 1, SIDE, SIDE), np.float32)
        matte[..., : SIDE // 2] = 1
        return matte

    image = plain(RED, (16, 16))
    pipe = BackgroundRemovalPipeline(
        FakeModel(lambda feeds: {"output": left_half(feeds)}, ["input"]), image_processor=Processor()
    )
    cut = pipe(image)
    assert (cut.mode, cut.size) == ("RGBA", (16, 16))
    assert image.mode == "RGB"  # the user's own is left alone
    assert pipe.model.batches[0] == {"input": (1, 3, SIDE, SIDE)}
    alpha = np.asarray(cut.getchannel("A"))
    assert (alpha[:, :7].min(), alpha[:, 9:].max()) == (255, 0)
    pipe.model.answer = lambda feeds: {"logits": left_half(feeds)[:, 0] * 40 - 20}
    assert np.abs(np.asarray(pipe(image).getchannel("A")).astype(int) - alpha).max() <= 1

    labels = {0: "Background", 1: "a", 2: "cat"}
    semantic = FakeModel(lambda feeds: {"logits": np.zeros((1, 3, 4, 4), np.float32)}, id2label=labels)
    cut = BackgroundRemovalPipeline(semantic, image_processor=Semantic())(image)
    assert np.asarray(cut.getchannel("A"))[:, 0].tolist() == [255] * 2 + [0] * 14
    semantic.config = Config({"id2label": LABELS})
    with pytest.raises(UnsupportedError, match="background"):
        BackgroundRemovalPipeline(semantic, image_processor=Semantic())(image)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_background_removal_brings_nothing_transparent_back(mode: str, tmp_path: Path) -> None:
    from PIL import Image

    matte = np.full((1, 1, SIDE, SIDE), 0.5, np.float32)
    pipe = BackgroundRemovalPipeline(FakeModel(lambda feeds: {"output": matte}, ["input"]), image_processor=Processor())
    image = plain(RED, (16, 16))
    before = np.full((16, 16), 255, np.uint8)
    if mode in ("P", "L", "RGB"):  # one colour is transparent
        image.paste((0, 0, 0), (0, 0, 16, 4))
        image = image.convert(mode)
        image.info["transparency"] = image.getpixel((0, 0))
        before[:4] = 0
    else:
        before[:4], before[4:8] = 0, 60
        image.putalpha(Image.fromarray(before))
        image = image.convert(mode)
    image.save(tmp_path / "image.png")
    for source in (image, tmp_path / "image.png"):
        alpha = np.asarray(pipe(source).getchannel("A"))
        assert (alpha == np.minimum(before, 127)).all()


# -- mask-generation ---
class Crops(Processor):
    """Two crops; masks are the points' own pixels."""

    def __call__(self, images: Any, return_tensors: Any = "np", **overrides: Any) -> Any:
        found = super().__call__(images, return_tensors=return_tensors, **overrides)
        found["original_sizes"] = np.array([np.shape(images)[:2]])
        return found

    @staticmethod
    def generate_crop_boxes(image: Any, side: int, layers: int, overlap: float, points: int, factor: int) -> Any:
        array = np.asarray(image)
        crops = [array, array[:4, :4]][: layers + 1]
        boxes = np.float32([[0, 0, array.shape[1], array.shape[0]], [0, 0, 4, 4]])[: layers + 1]
        grid = np.arange(points, dtype=float)[None, :, None, None] * np.ones((1, 1, len(crops), 2))
        return boxes, grid, crops, np.ones(grid.shape[:3], np.int64)

    @staticmethod
    def post_process_masks(masks: Any, original_sizes: Any, mask_threshold: float, binarize: bool) -> Any:
        assert not binarize
        return [masks[0]]

    @staticmethod
    def filter_masks(masks: Any, scores: Any, full: Any, box: Any, *thresholds: float) -> Any:
        assert thresholds == (0.88, 0.95, 0, 1)
        keep = scores[:, 0] > 0
        assert full[0] > 4
        return [mask[0] for mask in masks[keep]], scores[keep, 0], np.tile(box, (keep.sum(), 1))

    @staticmethod
    def post_process_for_mask_generation(masks: Any, scores: Any, boxes: Any, threshold: float) -> Any:
        order = np.argsort(-scores)
        return [masks[i] > 0 for i in order], scores[order], [{"size": 1} for _ in order], boxes[order]


class FakeSam(FakeModel):
    def __init__(self) -> None:
        super().__init__(features)
        self.embedded = 0
        self.counts: list[int] = []

    def get_image_embeddings(self, pixels: Any) -> Any:
        self.embedded += 1
        return {"image_embeddings": pixels}

    def decode_masks(self, embeddings: Any, points: Any, labels: Any) -> dict[str, Any]:
        assert embeddings["image_embeddings"].shape == (1, 3, SIDE, SIDE)
        assert points.shape == (*labels.shape, 2)
        self.counts.append(points.shape[1])
        scores = points[:, :, :1, 0] - 1
        return {"iou_scores": scores, "pred_masks": np.ones((1, points.shape[1], 1, 4, 4), np.float32)}


def masker() -> Any:
    return MaskGenerationPipeline(FakeSam(), image_processor=Crops(), task="mask-generation")


def test_masks() -> None:
    pipe = masker()
    answer = pipe(plain("white", (20, 10)), points_per_crop=7, points_per_batch=3)
    assert list(answer) == ["masks", "scores"]
    assert pipe.model.counts == [3, 3, 1]
    assert pipe.model.embedded == 1
    assert answer["scores"].tolist() == [5, 4, 3, 2, 1]
    assert answer["masks"][0].dtype == bool
    more = pipe(plain("white", (20, 10)), points_per_crop=7, points_per_batch=None, crops_n_layers=1,
                output_rle_mask=True, output_bboxes_mask=True)  # fmt: skip
    assert pipe.model.counts[3:] == [7, 7]
    assert pipe.model.embedded == 3
    assert list(more) == ["masks", "scores", "rle_mask", "bounding_boxes"]
    assert more["bounding_boxes"].shape == (10, 4)
    assert len(pipe([plain("white")] * 3, points_per_crop=7, points_per_batch=3, batch_size=4)) == 3
    assert pipe(plain("white"), points_per_crop=1)["masks"] == []


def test_embeddings_are_dropped_with_their_last_row() -> None:
    pipe = masker()
    options = pipe.parse({"points_per_crop": 7, "points_per_batch": 3, "crops_n_layers": 1}, pipe.options)
    rows = list(pipe.encode(plain("white"), options))
    assert pipe.model.embedded == 0
    pipe.run(rows[:2], options)
    assert rows[0].extra.embeddings is not None
    assert rows[0].extra.processed == {}
    pipe.run(rows[2:], options)
    assert {row.extra.embeddings for row in rows} == {None}


def test_wrong_masks() -> None:
    pipe = masker()
    with pytest.raises(ValueError, match="points_per_batch=0: pass a whole number, at least 1"):
        pipe(plain("white"), points_per_batch=0)
    with pytest.raises(UnsupportedError, match="max_hole_area"):
        pipe(plain("white"), max_hole_area=3)
    with pytest.raises(UnknownArgumentError, match="points_per_crop"):
        pipe(plain("white"), points_per_crops=3)


# -- keypoint-matching ---
class Matcher(Processor):
    def __call__(self, images: Any, return_tensors: Any = "np", **overrides: Any) -> Any:
        found = super().__call__(images, return_tensors=return_tensors, **overrides)
        found["pixel_values"] = found["pixel_values"][None]
        return found

    @staticmethod
    def post_process_keypoint_matching(outputs: Any, target_sizes: Any, threshold: float = 0.0) -> Any:
        Matcher.sizes = target_sizes
        scores = np.float32([0.2, 0.9, 0.5])
        keep = scores > threshold
        points = np.int32([[1, 2], [3, 4], [5, 6]])[keep]
        return [{"keypoints0": points, "keypoints1": points + 1, "matching_scores": scores[keep]}]


def test_keypoint_matching() -> None:
    pipe = KeypointMatchingPipeline(
        FakeModel(lambda feeds: {"matches": feeds["pixel_values"]}),
        image_processor=Matcher(),
        task="keypoint-matching",
    )
    pair = (plain("white", (20, 10)), plain("black", (8, 6)))
    answer = pipe(pair)
    assert Matcher.sizes == [[(20, 10), (8, 6)]]
    assert pipe.model.batches[0] == {"pixel_values": (1, 2, 3, SIDE, SIDE)}
    assert [match["score"] for match in answer] == pytest.approx([0.9, 0.5, 0.2])
    assert answer[0]["keypoint_image_1"] == {"x": 4, "y": 5}
    assert type(answer[0]["keypoint_image_0"]["x"]) is int
    assert pipe(list(pair)) == pipe([pair]) == answer
    assert pipe([pair, pair]) == [answer, answer]
    assert list(pipe(each for each in (pair, pair))) == [answer, answer]
    assert len(pipe(pair, threshold=0.4)) == 2
    bad = pipe([pair, (plain("white"),), pair], on_error="return")
    assert [type(each) for each in bad] == [list, ItemError, list]
    for wrong in (plain("white"), [plain("white")], "a.jpg", [pair, "a.jpg"]):
        with pytest.raises(ValueError, match="Input images must be"):
            pipe(wrong)


# -- video-classification ---
def test_an_image_model_is_not_a_video_model() -> None:
    model = FakeModel(means)
    model.session.inputs["pixel_values"] = SimpleNamespace(shape=("b", 3, SIDE, SIDE))
    with pytest.raises(UnsupportedError, match="single images"):
        VideoClassificationPipeline(model, image_processor=Clips(), task="video-classification")


def test_video(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[Any, ...]] = []

    def read_frames(source: Any, count: int, rate: int = 1, timeout: float | None = None) -> Any:
        reads.append((source, count, rate))
        return np.full((count, 6, 6, 3), 255 if source == "day.mp4" else 0, np.uint8)

    monkeypatch.setattr("onnxpipe.processing.video.read.read_frames", read_frames)
    pipe = VideoClassificationPipeline(
        FakeModel(means, num_frames=4), image_processor=Clips(), task="video-classification"
    )
    answer = pipe("day.mp4")
    assert list(answer[0]) == ["score", "label"]
    assert answer[0]["label"] == "bright"
    assert pipe.model.batches[0] == {"pixel_values": (1, 4, 3, SIDE, SIDE)}
    assert [a[0]["label"] for a in pipe(["night.mp4", "day.mp4"], num_frames=2, frame_sampling_rate=3)] == [
        "dark", "bright"
    ]  # fmt: skip
    assert reads == [("day.mp4", 4, 1), ("night.mp4", 2, 3), ("day.mp4", 2, 3)]
    assert len(pipe("day.mp4", top_k=2)) == 2
    assert pipe(videos="day.mp4") == answer
    assert pipe("day.mp4", function_to_apply="none")[0]["score"] == pytest.approx(10)
    for wrong in ({"function_to_apply": "SOFTMAX"}, {"num_frames": 0}, {"frame_sampling_rate": 0}):
        with pytest.raises(ValueError, match=r"function_to_apply|at least 1"):
            pipe("day.mp4", **wrong)
    with pytest.raises(ValueError, match="either a video processor or an image processor"):
        VideoClassificationPipeline(FakeModel(means))
    silent = VideoClassificationPipeline(FakeModel(means), image_processor=Clips(), task="video-classification")
    with pytest.raises(BundleError, match="has no num_frames: pass num_frames="):
        silent("day.mp4")
    assert silent("day.mp4", num_frames=2)[0]["label"] == "bright"


class Clips(Processor):
    def __call__(self, images: Any, return_tensors: Any = "np", **overrides: Any) -> Any:
        found = super().__call__(images, return_tensors=return_tensors, **overrides)
        found["pixel_values"] = found["pixel_values"][None]
        return found


# -- zero-shot-image-classification ---
class FakeDual(FakeModel):
    joint = False
    text_inputs = ("input_ids", "attention_mask")

    def __init__(self, **config: Any) -> None:
        super().__init__(features, **config)
        self.texts: list[tuple[int, ...]] = []

    def run_other(self, feeds: Mapping[str, Any]) -> Any:
        return self.run(feeds)["pooler_output"]

    def run_texts(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.texts.append(feeds["input_ids"].shape)
        colours = {ord(c) - ord("a") + 3: i for i, c in enumerate("rgb")}
        rows = [[next((colours[t] for t in row if t in colours), 0)] for row in feeds["input_ids"].tolist()]
        return {"text_embeds": np.eye(3, dtype=np.float32)[np.ravel(rows)]}

    def similarity(self, image_embeds: Any, text_embeds: Any) -> Any:
        return image_embeds @ text_embeds.T * 5


class JointDual(FakeDual):
    joint = True

    def run_joint(self, feeds: Mapping[str, Any]) -> Any:
        images = self.run_other({"pixel_values": feeds["pixel_values"]})
        return self.similarity(images, self.run_texts(feeds)["text_embeds"])


def zero_shot(model: Any = None) -> Any:
    return ZeroShotImageClassificationPipeline(
        model or FakeDual(), tokenizer=tokenizer(), image_processor=Processor(), task="zero-shot-image-classification"
    )


def test_zero_shot_image_classification() -> None:
    pipe = zero_shot()
    options = {"candidate_labels": ["r", "g", "b"], "hypothesis_template": "{}"}
    answer = pipe(plain(GREEN), **options)
    assert list(answer[0]) == ["score", "label"]
    assert [entry["label"] for entry in answer] == ["g", "r", "b"]
    assert sum(entry["score"] for entry in answer) == pytest.approx(1)
    assert pipe(plain(GREEN), ["r", "g", "b"], hypothesis_template="{}") == answer
    images = [plain(RED), plain(GREEN, (30, 5)), plain(BLUE)]
    assert [best(each) for each in pipe(images, **options)] == ["r", "g", "b"]
    assert [best(each) for each in pipe((p for p in images), **options)] == ["r", "g", "b"]
    assert len(pipe.model.texts) == 1  # the labels were read once in all of this
    pipe(plain(RED), candidate_labels=["r", "g"], hypothesis_template="{}")
    assert len(pipe.model.texts) == 2
    assert zero_shot(JointDual())(images, **options) == pipe(images, **options)


def test_siglip_judges_each_label_by_itself() -> None:
    pipe = zero_shot(FakeDual(model_type="siglip2"))
    answer = pipe(plain(GREEN), candidate_labels=["r", "g"], hypothesis_template="{}")
    assert [entry["score"] for entry in answer] == pytest.approx([0.99331, 0.5], abs=1e-4)
    assert pipe.model.texts == [(2, 64)]
    with pytest.warns(FutureWarning, match="tokenizer_kwargs"):
        pipe(plain(GREEN), candidate_labels=["r", "g"], tokenizer_kwargs={"max_length": 20})
    assert pipe.model.texts[-1] == (2, 20)


def test_wrong_labels() -> None:
    pipe = zero_shot()
    with pytest.raises(TypeError, match="candidate_labels"):
        pipe(plain(RED))
    with pytest.raises(ValueError, match="pass a list"):
        pipe(plain(RED), candidate_labels="r,g")
    with pytest.raises(ValueError, match="empty"):
        pipe(plain(RED), candidate_labels=[])
    for number in range(20):
        pipe(plain(RED), candidate_labels=[f"r{number}"])
    assert len(pipe._encoder) <= 8


# -- zero-shot-object-detection ---
class Finder(Processor):
    @staticmethod
    def post_process_object_detection(outputs: Any, threshold: float = 0.1, target_sizes: Any = None) -> Any:
        assert outputs.logits.shape[0] == outputs.pred_boxes.shape[0] == 1
        scores = outputs.logits[0].max(-1)
        keep = scores > threshold
        return [{"scores": scores[keep], "boxes": outputs.pred_boxes[0][keep] * target_sizes[0][1]}]


def found(feeds: Mapping[str, Any]) -> dict[str, Any]:
    """As many boxes as a label has tokens: what they score is the number of their label's tokens."""
    lengths = feeds["attention_mask"].sum(-1).astype(np.float32)  # (labels,)
    logits = np.stack([lengths / 10, lengths / 20])[None]  # (1, 2 boxes, labels)
    return {"logits": logits, "pred_boxes": np.float32([[[0, 0, 1, 1], [0.5, 0, 1, 0.5]]])}


def finder(model_type: str = "owlvit") -> Any:
    model = FakeModel(found, ["pixel_values", "input_ids", "attention_mask"], model_type=model_type)
    return ZeroShotObjectDetectionPipeline(
        model, tokenizer=tokenizer(), image_processor=Finder(), task="zero-shot-object-detection"
    )


def test_zero_shot_object_detection() -> None:
    pipe, one_by_one = finder(), finder("grounding-dino")
    image = plain("white", (40, 20))
    answer = pipe(image, candidate_labels=["a cat", "dog"])
    assert [(round(e["score"], 3), e["label"], e["box"]["xmin"], e["box"]["ymax"]) for e in answer] == [
        (0.5, "a cat", 0, 40), (0.3, "dog", 0, 40), (0.25, "a cat", 20, 20), (0.15, "dog", 20, 20)
    ]  # fmt: skip
    assert list(answer[0]) == ["score", "label", "box"]
    assert pipe.model.batches == [
        {"input_ids": (2, 5), "attention_mask": (2, 5), "pixel_values": (1, 3, SIDE, SIDE)}
    ]  # fmt: skip
    assert one_by_one(image, candidate_labels=["a cat", "dog"]) == answer
    assert [batch["input_ids"] for batch in one_by_one.model.batches] == [(1, 5), (1, 3)]
    assert pipe(image, "a cat,dog") == pipe(image, text_queries=["a cat", "dog"]) == answer
    assert pipe({"image": image, "candidate_labels": ["a cat", "dog"]}) == answer
    assert pipe(image, candidate_labels=["a cat", "dog"], threshold=0.2, top_k=2) == answer[:2]
    assert pipe(image, "a cat, dog")[1]["label"] == " dog"  # as in transformers


def test_labels_of_several_images() -> None:
    pipe = finder()
    image = plain("white")
    cat, dog = pipe(image, "cat"), pipe(image, "doggy")
    assert pipe([image, image], candidate_labels="cat") == [cat, cat]
    assert pipe([image, image], candidate_labels=["cat"]) == [cat, cat]
    assert pipe([image, image], candidate_labels=[["cat"], ["doggy"]]) == [cat, dog]
    assert pipe([{"image": image, "candidate_labels": "cat"}, {"image": image, "candidate_labels": "doggy"}]) == [
        cat, dog
    ]  # fmt: skip
    assert list(pipe((p for p in [image] * 2), candidate_labels="cat")) == [cat, cat]
    with pytest.raises(ValueError, match="Got 2 images but 1 candidate label lists"):
        pipe([image, image], candidate_labels=[["cat"]])
    with pytest.raises(ValueError, match="per-image label lists"):
        pipe([image, image], candidate_labels=[["cat"], "dog"])
    with pytest.raises(ValueError, match="needs candidate_labels"):
        pipe(image)
    with pytest.raises(ValueError, match="empty"):
        pipe(image, candidate_labels=[])


# -- what the factory gives ---
def test_components(tmp_path: Path) -> None:
    home = ComponentSource(None)
    processor = Processor()
    given = PassedComponents(image_processor=processor)
    assert load_components(ImageClassificationPipeline, "t", given, home) == {"image_processor": processor}
    assert load_components(ImageClassificationPipeline, "t", PassedComponents(feature_extractor=processor), home) == {
        "image_processor": processor
    }
    with pytest.raises(UnsupportedError, match="takes no tokenizer"):
        load_components(
            ImageClassificationPipeline, "t", PassedComponents(tokenizer=tokenizer(), image_processor=processor), home
        )
    with pytest.raises(Exception, match="Impossible to guess which image processor"):
        load_components(ImageClassificationPipeline, "t", PassedComponents(), home)
    whole = SimpleNamespace(tokenizer=None, image_processor=processor)
    assert load_components(ImageClassificationPipeline, "t", PassedComponents(processor=whole), home) == {
        "processor": whole
    }
    processor.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        (tmp_path / "preprocessor_config.json").read_text().replace("Processor", "ViTImageProcessor", 1)
    )
    for named in (
        PassedComponents(image_processor=str(tmp_path)),
        PassedComponents(image_processor=(str(tmp_path), {})),
    ):
        parts = load_components(ImageClassificationPipeline, "t", named, home)
        assert type(parts["image_processor"]).__name__ == "ViTImageProcessor"
    assert load_components(VideoClassificationPipeline, "t", PassedComponents(), home) == {}


def test_processors_of_no_family() -> None:
    from onnxpipe import AutoImageProcessor

    config = {"feature_extractor_type": "ImageFeatureExtractor", "size": {"shortest_edge": 16}, "size_divisibility": 4}
    processor = AutoImageProcessor.from_dict({**config, "image_mean": [0.5] * 3, "image_std": [1.0] * 3})
    pixels = processor(plain("white", (40, 30)), return_tensors="np")["pixel_values"]
    assert pixels.shape == (1, 3, 16, 20)  # 16 x 21.3, in steps of 4
    assert np.unique(pixels) == [0.5]
    again = AutoImageProcessor.from_dict(processor.to_dict())
    assert np.array_equal(again(plain("red"))["pixel_values"], processor(plain("red"))["pixel_values"])


def test_pngs_of_answers_are_small() -> None:
    from onnxpipe.cli.run.plain import plain as flat

    url = flat(np.zeros((100, 100), bool))
    assert url.startswith("data:image/png;base64,")
    assert len(url) < 1000
    opened = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert opened.size == (100, 100)
