"""The exporter on tiny vision models: what it writes and verifies, and what stands in for parts while tracing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from onnxpipe.bundle import proof  # noqa: E402
from onnxpipe.bundle.config import Config  # noqa: E402
from onnxpipe.bundle.objects import same_order  # noqa: E402
from onnxpipe.bundle.tasks import infer_tasks  # noqa: E402
from onnxpipe.engine import open_session, parse_device  # noqa: E402
from onnxpipe.errors import ExportError  # noqa: E402
from onnxpipe_export import ExportReport, checkpoint, export, tasks  # noqa: E402
from onnxpipe_export.cases import images as image_cases  # noqa: E402
from onnxpipe_export.graphs import describe  # noqa: E402
from onnxpipe_export.graphs.vision.graph import run_original  # noqa: E402
from onnxpipe_export.graphs.vision.padding import tensorflow_padded  # noqa: E402
from onnxpipe_export.graphs.vision.resampling import any_resampling  # noqa: E402
from onnxpipe_export.graphs.vision.sizes import find_sizes  # noqa: E402
from tolerances import MODEL, SUM  # noqa: E402
from zoo.vision.models import MODELS  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vision")


def built(folder: Path, family: str, task: str) -> Path:
    target = folder / f"{family}-{task}"
    if not target.exists():
        MODELS[family, task](target)
    return target


@pytest.fixture(scope="module")
def report(folder: Path) -> ExportReport:
    return export(built(folder, "resnet", "image-classification"), folder / "bundle")


def loaded(folder: Path, family: str, task: str) -> checkpoint.Checkpoint:
    return checkpoint.load(str(built(folder, family, task)), task, checkpoint.HubOptions())


def test_a_vision_bundle_has_a_processor_and_no_tokenizer(report: ExportReport) -> None:
    assert report.task == "image-classification"
    assert "preprocessor_config.json" in report.files
    assert not [name for name in report.files if "token" in name]
    assert "tokenizer" not in report.certificate
    assert "longest_row" not in report.certificate


def test_several_sizes_are_verified_and_free_in_the_graph(report: ExportReport) -> None:
    sizes = report.certificate["image_sizes"]
    assert len(sizes) >= 4
    assert any(height != width for height, width in sizes)
    entry = report.certificate["graphs"]["model"]["fp32"]
    assert entry["batch_invariance"] <= MODEL
    assert entry["decision_agreement"] == 1.0
    session = open_session(report.folder / "onnx/model.onnx", root=report.folder, device=parse_device("cpu"))
    assert [isinstance(dim, str) for dim in session.inputs["pixel_values"].shape] == [True, False, True, True]
    for size in ((33, 80), (64, 64)):
        assert session.run({"pixel_values": np.zeros((2, 3, *size), np.float32)})["logits"].shape == (2, 3)


def test_golden_images_are_the_originals(report: ExportReport, folder: Path) -> None:
    source = loaded(folder, "resnet", "image-classification")
    golden = proof.read_golden(report.folder)
    assert len(golden) >= 2
    for case in golden:
        np.testing.assert_allclose(run_original(source, case.inputs)["logits"], case.outputs["logits"], atol=MODEL)


def test_a_size_that_the_original_refuses_is_fixed(folder: Path) -> None:
    graph = describe(loaded(folder, "vit", "image-classification"))[0]
    assert graph.inputs == ("pixel_values",)
    path = folder / "vit.onnx"
    graph.trace(path)
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in shape][1:] == [3, 32, 32]


def test_a_mask_is_an_input_where_the_model_reads_it(folder: Path) -> None:
    assert describe(loaded(folder, "detr", "object-detection"))[0].inputs == ("pixel_values", "pixel_mask")
    assert describe(loaded(folder, "yolos", "object-detection"))[0].inputs == ("pixel_values",)


def test_a_users_images_verify_and_calibrate(folder: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    images = folder / "images"
    images.mkdir()
    for number in range(2):
        image.fromarray(image_cases.synthetic_image(number, (40 + number, 60))).save(images / f"{number}.png")
    (images / "note.txt").write_text("not an image")
    source = built(folder, "resnet", "image-classification")
    with_images = checkpoint.load(str(source), None, checkpoint.HubOptions(), images)
    cases = describe(with_images)[0].cases(None)
    assert len(cases) == len(describe(loaded(folder, "resnet", "image-classification"))[0].cases(None)) + 2
    assert all(case.calibrates and case.rows == 1 for case in cases[-2:])


@pytest.mark.parametrize("content", [None, "empty", "broken"])
def test_a_folder_to_calibrate_with_that_is_of_no_use(tmp_path: Path, folder: Path, content: str | None) -> None:
    pytest.importorskip("PIL.Image")
    images = tmp_path / "images"
    if content is not None:
        images.mkdir()
    if content == "broken":
        (images / "broken.png").write_bytes(b"not an image")
    with pytest.raises(ExportError, match="calibrat"):
        export(built(folder, "resnet", "image-classification"), tmp_path / "out", calibration=images)
    assert not (tmp_path / "out").exists()


def test_swin_forgets_the_sizes_that_it_saw(folder: Path) -> None:
    source = loaded(folder, "swin", "image-classification")
    large, small = (torch.rand(1, 3, *size).numpy() for size in ((128, 128), (64, 64)))
    before = run_original(source, {"pixel_values": large})["logits"]
    run_original(source, {"pixel_values": small})
    np.testing.assert_array_equal(run_original(source, {"pixel_values": large})["logits"], before)


def test_sizes_are_found_by_asking() -> None:
    def multiples_of_32(size: tuple[int, int]) -> None:
        if size[0] % 32 or size[1] % 32:
            raise ValueError("no")

    def only_squares(size: tuple[int, int]) -> None:
        multiples_of_32(size)
        if size[0] != size[1]:
            raise ValueError("no")

    def only(size: tuple[int, int]) -> None:
        if size != (64, 64):
            raise ValueError("no")

    assert len(find_sizes((64, 64), lambda size: None).others) == 3
    assert all(height % 32 == width % 32 == 0 for height, width in find_sizes((64, 64), multiples_of_32).others)
    assert find_sizes((64, 64), only_squares).others == ((96, 96), (160, 160))
    assert find_sizes((64, 64), only).others == ()


@pytest.mark.parametrize("size", [(1, 7), (7, 3), (5, 13), (16, 9), (32, 48)])
def test_resampling_is_torchs(size: tuple[int, int]) -> None:
    value = torch.rand(2, 3, 11, 14)
    pool = torch.nn.AdaptiveAvgPool2d(size)
    expected = [pool(value)] + [
        torch.nn.functional.interpolate(value, size=size, mode=mode, antialias=True) for mode in ("bilinear", "bicubic")
    ]
    with any_resampling(pool):
        found = [pool(value)] + [
            torch.nn.functional.interpolate(value, size=size, mode=mode, antialias=True)
            for mode in ("bilinear", "bicubic")
        ]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=SUM, rtol=SUM)


@pytest.mark.parametrize("height", range(1, 9))
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (3, 1, 2), (1, 1, 1), (5, 3, 1)])
def test_tensorflows_padding(height: int, kernel: int, stride: int, dilation: int) -> None:
    from transformers.models.mobilenet_v2 import modeling_mobilenet_v2 as home

    layer = torch.nn.Conv2d(1, 1, kernel, stride, dilation=dilation)
    value = torch.rand(1, 1, height, 11 - height)
    expected = home.apply_tf_padding(value, layer)
    model = transformers.MobileNetV2Model(transformers.MobileNetV2Config(depth_multiplier=0.25))
    with tensorflow_padded(model):
        torch.testing.assert_close(home.apply_tf_padding(value, layer), expected)


def test_synthetic_images_are_the_same_every_time() -> None:
    first, again, other = (image_cases.synthetic_image(number, (20, 30)) for number in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (20, 30, 3)
    assert first.dtype == np.uint8
    assert np.abs(first.astype(int) - other).mean() > 10
    clip = image_cases.synthetic_video(3, 4, (16, 24))
    assert clip.shape == (4, 16, 24, 3)
    assert (clip[0] != clip[3]).any()


def test_pixels_are_scaled_and_normalised_as_the_processor_says() -> None:
    images = np.full((2, 3, 3), 255, np.uint8)
    content = {"rescale_factor": 1 / 255, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 1.0]}
    found = image_cases.pixels(images, content)
    assert found.shape == (3, 2, 3)
    np.testing.assert_allclose(found[:, 0, 0], [1.0, 2.0, 0.5])
    np.testing.assert_allclose(image_cases.pixels(images, {"do_rescale": False}), 255.0)


def test_a_map_is_judged_by_its_pixels() -> None:
    logits = np.zeros((2, 3, 4, 4), np.float32)
    logits[:, 1] = 5.0
    wrong = logits.copy()
    wrong[0, 2, 0, 0] = 9.0
    assert proof.agreement({"logits": logits}, {"logits": wrong}) == 31 / 32
    found = proof.compare({"logits": logits}, {"logits": wrong})
    assert found.vectors == 2
    assert found.cosine_mean > 0.97


def test_objects_that_change_places_are_the_same_objects() -> None:
    generator = np.random.default_rng(0)
    outputs = {
        "logits": generator.normal(size=(2, 9, 4)).astype(np.float32),
        "pred_boxes": generator.uniform(size=(2, 9, 4)).astype(np.float32),
    }
    order = generator.permutation(9)
    moved = {name: value[:, order] + np.float32(1e-6) for name, value in outputs.items()}
    assert proof.compare(outputs, moved).max_absolute < 1e-5
    assert proof.agreement(outputs, moved, decisions={"logits"}) == 1.0
    assert same_order({"logits": outputs["logits"]}, moved) is moved


@pytest.mark.parametrize(
    ("architecture", "model_type", "task"),
    [
        ("DeiTForImageClassificationWithTeacher", "deit", "image-classification"),
        ("DetrForSegmentation", "detr", "image-segmentation"),
        ("MaskFormerForInstanceSegmentation", "maskformer", "image-segmentation"),
        ("GLPNForDepthEstimation", "glpn", "depth-estimation"),
        ("Swin2SRForImageSuperResolution", "swin2sr", "image-to-image"),
        ("VideoMAEForVideoClassification", "videomae", "video-classification"),
        ("Owlv2ForObjectDetection", "owlv2", "zero-shot-object-detection"),
        ("RTDetrForObjectDetection", "rt_detr", "object-detection"),
        ("SiglipModel", "siglip", "zero-shot-image-classification"),
        ("Sam2VideoModel", "sam2_video", "mask-generation"),
        ("LightGlueForKeypointMatching", "lightglue", "keypoint-matching"),
        ("Dinov2Model", "dinov2", "image-feature-extraction"),
        ("BertModel", "bert", "feature-extraction"),
    ],
)
def test_the_task_follows_from_the_class(architecture: str, model_type: str, task: str, tmp_path: Path) -> None:
    config: Any = SimpleNamespace(architectures=[architecture], model_type=model_type)
    assert tasks.resolve(None, config, tmp_path).name == task
    content = {"architectures": [architecture], "model_type": model_type}
    assert infer_tasks(Config(content), False)[0] == task


def test_images_are_no_calibration_for_texts(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "bert", "architectures": ["BertForSequenceClassification"]})
    )
    with pytest.raises(ExportError, match="leave it out"):
        export(tmp_path, tmp_path / "out", calibration=os.fspath(folder))
