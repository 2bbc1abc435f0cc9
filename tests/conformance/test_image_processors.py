"""Image processors next to transformers' own PIL classes: the same numbers, to the bit where nothing else is said.

Only ZoeDepth and Pix2Struct are not the same to the bit: torch resizes their floats, in another order of additions (a
thousandth of a grey level). DINOv3 and SAM 2 have no PIL class; their torchvision ones are stood in for by what
torchvision does (torch's own resizing with antialiasing), and may differ by one grey level.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.image_utils import load_image as their_load_image

from onnxpipe.processing.auto import AutoImageProcessor, AutoProcessor
from onnxpipe.processing.images.io.load import load_image
from onnxpipe.processing.registry import IMAGE_PROCESSORS as CLASSES
from tolerances import SUM
from zoo.documents import receipt
from zoo.vision.images import NAMES, encoded, pil_image, write

#: Largest difference allowed, where it is not zero.
CLOSE = {"ZoeDepthImageProcessor": SUM, "Pix2StructImageProcessor": SUM}
#: Those that transformers has not, or not with Pillow.
NOT_THERE = {"DINOv3ViTImageProcessor", "Sam2ImageProcessor", "TimesformerImageProcessor", "VivitImageProcessor",
             "PlainImageProcessor", "TimmWrapperImageProcessor"}  # fmt: skip
if importlib.util.find_spec("scipy") is None:  # transformers resizes with it for OWLv2
    NOT_THERE.add("Owlv2ImageProcessor")
WITH_PIL = sorted(CLASSES.keys() - NOT_THERE)
NEEDS_SCIPY = pytest.mark.skipif("Owlv2ImageProcessor" in NOT_THERE, reason="transformers needs scipy for it")
#: Smaller than the defaults, so that the whole table takes seconds.
SMALL: Mapping[str, Any] = {
    "edges": {"shortest_edge": 90, "longest_edge": 140},
    "DonutImageProcessor": {"height": 80, "width": 60},
    "EomtImageProcessor": {"shortest_edge": 70, "longest_edge": 70},
    "Owlv2ImageProcessor": {"height": 60, "width": 60},
    "OwlViTImageProcessor": {"height": 77, "width": 60},
    "RTDetrImageProcessor": {"height": 64, "width": 80},
    "SamImageProcessor": {"longest_edge": 100},
    "ViltImageProcessor": {"shortest_edge": 65},
    "ZoeDepthImageProcessor": {"height": 48, "width": 64},
    "TextNetImageProcessor": {"shortest_edge": 70},
    "BlipImageProcessor": {"height": 51, "width": 60},
    "SegformerImageProcessor": {"height": 64, "width": 100},
    "DPTImageProcessor": {"height": 60, "width": 71},
    "PromptDepthAnythingImageProcessor": {"height": 60, "width": 71},
    "SuperPointImageProcessor": {"height": 48, "width": 64},
    "Idefics3ImageProcessor": {"longest_edge": 160},
    "SmolVLMImageProcessor": {"longest_edge": 100},
    "Qwen2VLImageProcessor": {"shortest_edge": 1200, "longest_edge": 9000},
    "GotOcr2ImageProcessor": {"height": 40, "width": 50},
    "Gemma3ImageProcessor": {"height": 40, "width": 40},
    "LayoutLMv2ImageProcessor": {"height": 40, "width": 50},
    "LayoutLMv3ImageProcessor": {"height": 40, "width": 50},
    "LlavaImageProcessor": {"shortest_edge": 50},
    "LlavaNextImageProcessor": {"shortest_edge": 40},
    "LlavaOnevisionImageProcessor": {"height": 40, "width": 40},
}
#: Settings beside the size that make a class show what it does.
TILES: Mapping[str, dict[str, Any]] = {
    "Idefics3ImageProcessor": {"max_image_size": {"longest_edge": 42}},
    "SmolVLMImageProcessor": {"max_image_size": {"longest_edge": 50}},
    "GotOcr2ImageProcessor": {"crop_to_patches": True},
    "LayoutLMv2ImageProcessor": {"apply_ocr": False},
    "LayoutLMv3ImageProcessor": {"apply_ocr": False},
    "Gemma3ImageProcessor": {
        "do_pan_and_scan": True, "pan_and_scan_min_crop_size": 20, "pan_and_scan_max_num_crops": 3,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    },
    "LlavaNextImageProcessor": {
        "crop_size": {"height": 40, "width": 40},
        "image_grid_pinpoints": [[40, 80], [80, 40], [80, 80], [120, 40], [40, 120]],
    },
    "LlavaOnevisionImageProcessor": {"image_grid_pinpoints": [[40 * h, 40 * w] for h in (1, 2, 3) for w in (1, 2, 3)]},
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded() -> dict[str, Image.Image]:
    return {name: load_image(encoded(name)[0]) for name in NAMES}


def theirs(name: str) -> Any:
    return getattr(transformers, name if name == "VivitImageProcessor" else f"{name}Pil")


def small(name: str) -> dict[str, Any]:
    """Settings that make the images of a class smaller than by default."""
    size = CLASSES[name].defaults.size or {}
    more = {"pad_size": {"height": 100, "width": 100}} if name == "SamImageProcessor" else TILES.get(name, {})
    if name in SMALL:
        return {"size": SMALL[name], **more}
    return {"size": SMALL["edges"]} if "longest_edge" in size else {}


def answer(processor: Any, images: Any, **options: Any) -> dict[str, np.ndarray] | str:
    """The arrays; "error" where it refuses."""
    try:
        return {name: np.asarray(array) for name, array in processor(images, return_tensors="np", **options).items()}
    except Exception as error:
        if isinstance(error, (AttributeError, NameError)):
            raise
        return "error"


def same(name: str, ours: Any, expected: Any) -> None:
    """Equal in names, shapes, types and numbers."""
    if isinstance(ours, str) or isinstance(expected, str):
        assert isinstance(ours, str) and isinstance(expected, str), f"one refuses: {ours} {expected}"
        return
    expected = {key: array for key, array in expected.items() if array.size}  # EoMT's offsets where nothing is split
    ours = {key: array for key, array in ours.items() if array.size}  # no words on a photograph
    assert ours.keys() == expected.keys()
    for key, array in expected.items():
        assert ours[key].shape == array.shape
        if key == "task_inputs":
            assert ours[key].tolist() == array.tolist()
            continue
        # bytes, where transformers has nothing to compute; graphs take floats
        assert ours[key].dtype == (np.float32 if array.dtype == np.uint8 else array.dtype), key
        worst = np.abs(ours[key].astype(np.float64) - array).max()
        assert worst <= (CLOSE.get(name, 0) if key in ("pixel_values", "flattened_patches") else 0), (
            f"{key} is {worst} away"
        )


# -- every class on every image ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_loading(name: str, tmp_path: Path) -> None:
    """What the processors get is the same to begin with: turned upright, in RGB."""
    path = write(name, tmp_path)
    ours, expected = load_image(path), their_load_image(str(path))
    if name == "grey 16":  # theirs is white from 256 on
        expected = Image.fromarray((np.asarray(Image.open(path)) >> 8).astype(np.uint8)).convert("RGB")
    assert np.array_equal(np.asarray(ours), np.asarray(expected))
    # What a file says of transparency outlives the loading, and some classes act on it.
    for cls in ("CLIPImageProcessor", "ViTImageProcessor"):
        same(cls, answer(CLASSES[cls](), ours), answer(theirs(cls)(), expected))


@pytest.mark.parametrize("name", [name for name in WITH_PIL if name != "VitMatteImageProcessor"])
def test_images_of_every_kind(name: str, loaded: Mapping[str, Image.Image]) -> None:
    ours, other = CLASSES[name](**small(name)), theirs(name)(**small(name))
    for each, image in loaded.items():
        if name == "ZoeDepthImageProcessor" and each in ("long", "tall"):
            assert answer(other, image) == "error"  # it takes the axis of a side of one pixel for the batch's
            continue
        images = [image, loaded["photo"]] if "Glue" in name or "LoFTR" in name else image
        try:
            same(name, answer(ours, images), answer(other, images))
        except AssertionError as error:
            raise AssertionError(f"{each} {image.size}: {error}") from None


@pytest.mark.parametrize("name", [name for name in WITH_PIL if name != "VitMatteImageProcessor"])
def test_defaults(name: str, loaded: Mapping[str, Image.Image]) -> None:
    """The class's own sizes, and its settings by name."""
    if name.startswith("LayoutLM") and shutil.which("tesseract") is None:
        pytest.skip("it reads words with the program tesseract, which is not installed")
    ours, other = CLASSES[name](), theirs(name)()
    for each in ("large", "exif 6"):
        images = [loaded[each]] * 2 if "Glue" in name or "LoFTR" in name else loaded[each]
        same(name, answer(ours, images), answer(other, images))
    for setting in ours.known_settings - {"format", "resample", "do_convert_annotations", "input_data_format"}:
        expected = getattr(other, setting, None)
        value = getattr(ours, setting)
        if name == "Pix2StructImageProcessor" and setting == "patch_size":
            value = {"height": value, "width": value}  # one number here
        if isinstance(expected, transformers.image_utils.SizeDict):
            expected = dict(expected)
        flags = setting.startswith("do_")
        assert (bool(value) == bool(expected)) if flags else value == _tuple(expected), setting


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")
@pytest.mark.parametrize("name", ["LayoutLMv2ImageProcessor", "LayoutLMv3ImageProcessor"])
def test_words_of_pages(name: str) -> None:
    """The words and boxes that transformers' class reads, before it resizes the page."""
    page = receipt(400, 500, 14).image
    settings = {"tesseract_config": "--psm 6", "ocr_lang": "eng"}
    mine, other = CLASSES[name](**settings)([page, page]), theirs(name)(**settings)([page, page], return_tensors="np")
    assert len(mine["words"][0]) > 30
    assert (mine["words"], mine["boxes"]) == (other["words"], other["boxes"])
    assert "words" not in CLASSES[name]()(page, apply_ocr=False)


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def test_matting(loaded: Mapping[str, Image.Image]) -> None:
    ours, other = CLASSES["VitMatteImageProcessor"](), transformers.VitMatteImageProcessorPil()
    for name in ("photo", "odd", "exif 6", "one"):
        image = loaded[name]
        trimap = image.convert("L")
        expected = other(images=[image], trimaps=[trimap], return_tensors="np")
        assert np.array_equal(ours(image, trimap).pixel_values, expected["pixel_values"])


# -- forms of settings ------------------------------------------------------------------------------------------------
FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ViTImageProcessor", {"size": 64}),
    ("ViTImageProcessor", {"size": [40, 50]}),
    ("ViTImageProcessor", {"size": {"shortest_edge": 45}}),
    ("ViTImageProcessor", {"size": {"max_height": 45, "max_width": 90}}),
    ("ViTImageProcessor", {"size": {"shortest_edge": 45, "longest_edge": 50}, "do_center_crop": True, "crop_size": 48}),
    ("ViTImageProcessor", {"size": 32, "image_mean": 0.3, "image_std": 0.7, "resample": 0}),
    ("ViTImageProcessor", {"size": 32, "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "resample": 1}),
    ("ViTImageProcessor", {"size": 32, "resample": 4, "rescale_factor": 1 / 127.5}),
    ("ViTImageProcessor", {"size": 32, "resample": 5, "do_normalize": False}),
    ("ViTImageProcessor", {"do_resize": False}),
    ("ViTImageProcessor", {"do_resize": False, "do_rescale": False}),
    ("ViTImageProcessor", {"size": 31, "do_pad": True, "pad_size": {"height": 40, "width": 50}}),
    ("CLIPImageProcessor", {"size": 60, "crop_size": 50}),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 30}, "crop_size": {"height": 61, "width": 25}}),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 30}, "crop_size": [20, 33], "do_convert_rgb": False}),
    ("ConvNextImageProcessor", {"size": 64, "crop_pct": 0.9}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 30}),
    ("PoolFormerImageProcessor", {"size": {"height": 50, "width": 50}, "crop_size": 48}),
    ("PoolFormerImageProcessor", {"size": {"height": 50, "width": 60}, "crop_size": 48}),
    ("LevitImageProcessor", {"size": {"height": 50, "width": 60}, "crop_size": 48}),
    ("EfficientNetImageProcessor", {"size": 40, "rescale_offset": True, "rescale_factor": 1 / 127.5}),
    ("EfficientNetImageProcessor", {"size": 40, "include_top": False, "do_center_crop": True, "crop_size": 33}),
    ("MobileViTImageProcessor", {"size": 40, "crop_size": 48, "do_flip_channel_order": False}),
    ("DetrImageProcessor", {"size": 100, "max_size": 133}),
    ("DetrImageProcessor", {"size": {"shortest_edge": 100, "longest_edge": 133}, "do_pad": False}),
    ("DetrImageProcessor", {"size": {"height": 60, "width": 80}, "pad_and_return_pixel_mask": False}),
    ("DetrImageProcessor", {"size": {"shortest_edge": 60, "longest_edge": 70}, "pad_size": [99, 99]}),
    ("YolosImageProcessor", {"size": {"shortest_edge": 38, "longest_edge": 55}}),
    ("YolosImageProcessor", {"size": {"height": 60, "width": 83}}),
    ("RTDetrImageProcessor", {"size": {"height": 60, "width": 80}, "do_normalize": True, "do_pad": True}),
    ("MaskFormerImageProcessor", {"size": 80, "max_size": 100, "size_divisor": 16}),
    ("MaskFormerImageProcessor", {"max_size": 100, "size_divisor": 0}),
    ("Mask2FormerImageProcessor", {"size": {"height": 60, "width": 70}, "pad_size": {"height": 99, "width": 99}}),
    ("EomtImageProcessor", {"size": {"shortest_edge": 30}, "do_split_image": True, "do_pad": True}),
    ("EomtImageProcessor", {"size": {"shortest_edge": 50, "longest_edge": 90}, "do_pad": True}),
    ("DPTImageProcessor", {"size": {"height": 60, "width": 90}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}),
    ("DPTImageProcessor", {"size": 50, "do_pad": True, "size_divisor": 14}),
    ("ZoeDepthImageProcessor", {"size": {"height": 60, "width": 90}, "ensure_multiple_of": 32}),
    ("ZoeDepthImageProcessor", {"size": {"height": 60, "width": 90}, "keep_aspect_ratio": False, "do_pad": False}),
    ("ZoeDepthImageProcessor", {"size": {"height": 60, "width": 90}, "resample": 3, "do_normalize": False}),
    ("GLPNImageProcessor", {"size_divisor": 8}),
    ("GLPNImageProcessor", {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}),
    ("Swin2SRImageProcessor", {"size_divisor": 5}),
    ("Swin2SRImageProcessor", {"do_pad": False}),
    ("SamImageProcessor", {"size": {"longest_edge": 77}, "pad_size": 80}),
    ("SuperPointImageProcessor", {"size": {"height": 40, "width": 60}, "do_grayscale": True}),
    ("Siglip2ImageProcessor", {"patch_size": 8, "max_num_patches": 49}),
    ("Siglip2ImageProcessor", {"max_num_patches": 1}),
    ("ViltImageProcessor", {"size": {"shortest_edge": 70}, "size_divisor": 16, "do_pad": False}),
    ("TextNetImageProcessor", {"size": 70, "do_center_crop": True, "crop_size": 60}),
    ("OneFormerImageProcessor", {"size": {"shortest_edge": 50, "longest_edge": 60}}),
    ("PerceiverImageProcessor", {"size": 44, "crop_size": 60}),
    ("VideoMAEImageProcessor", {"size": 50, "crop_size": 40}),
    ("Owlv2ImageProcessor", {"size": 50, "do_pad": False, "resample": 0}),
    ("BeitImageProcessor", {"size": 50, "do_center_crop": True, "crop_size": 40, "do_reduce_labels": True}),
    ("LlavaImageProcessor", {"size": 50, "do_pad": True, "crop_size": 48}),
    ("LlavaImageProcessor", {"size": {"height": 40, "width": 60}, "do_center_crop": False, "do_pad": True}),
    ("Idefics3ImageProcessor", {"size": {"longest_edge": 90}, "do_image_splitting": False}),
    ("Idefics3ImageProcessor", {"size": {"height": 60, "width": 90}, "max_image_size": {"longest_edge": 30}}),
    ("SmolVLMImageProcessor", {"do_resize": False, "max_image_size": {"longest_edge": 64}, "do_pad": False}),
    ("Qwen2VLImageProcessor", {"min_pixels": 900, "max_pixels": 5000}),
    ("Qwen2VLImageProcessor", {"size": {"shortest_edge": 900, "longest_edge": 90000}, "patch_size": 8,
                               "merge_size": 3, "temporal_patch_size": 1}),
    ("GotOcr2ImageProcessor", {"size": 30, "crop_to_patches": True, "min_patches": 2, "max_patches": 5}),
    ("GotOcr2ImageProcessor", {"size": 30, "crop_to_patches": True, "max_patches": 1}),
    ("LlavaNextImageProcessor", {"size": 40, "do_center_crop": False, "crop_size": 40,
                                 "image_grid_pinpoints": [[40, 120], [80, 80], [80, 40]]}),
    ("LlavaOnevisionImageProcessor", {"size": 40, "do_normalize": False, "image_grid_pinpoints": [[80, 80]]}),
)  # fmt: skip
OF_FORMS = ("photo", "odd", "wide", "square", "second", "large")


@pytest.mark.parametrize(("name", "settings"), FORMS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(FORMS)])
def test_forms_of_settings(name: str, settings: dict[str, Any], loaded: Mapping[str, Image.Image]) -> None:
    """From a file; and as options of the call, where a call takes them."""
    if name in NOT_THERE:
        pytest.skip("transformers needs scipy for it")
    ours, other = CLASSES[name].from_dict(settings), theirs(name)(**settings)
    for each in OF_FORMS:
        expected = answer(other, loaded[each])
        assert not isinstance(expected, str)
        same(name, answer(ours, loaded[each]), expected)
    of_files = {"max_size", "pad_and_return_pixel_mask", "do_reduce_labels"}
    if not of_files & settings.keys():
        same(name, answer(CLASSES[name](), loaded["photo"], **settings), answer(other, loaded["photo"]))


@pytest.mark.parametrize(
    "name", ["ViTImageProcessor", "DetrImageProcessor", "SamImageProcessor", "OwlViTImageProcessor"]
)
def test_saved_files_are_theirs_too(name: str, tmp_path: Path, loaded: Mapping[str, Image.Image]) -> None:
    CLASSES[name](**small(name), image_mean=[0.1, 0.2, 0.3]).save_pretrained(tmp_path)
    other = theirs(name).from_pretrained(tmp_path)
    same(name, answer(AutoImageProcessor.from_pretrained(tmp_path), loaded["odd"]), answer(other, loaded["odd"]))
    other.save_pretrained(tmp_path)
    same(name, answer(AutoImageProcessor.from_pretrained(tmp_path), loaded["odd"]), answer(other, loaded["odd"]))


# -- forms of images --------------------------------------------------------------------------------------------------
def _arrays() -> Iterator[tuple[str, Any]]:
    rng = np.random.default_rng(3)
    bytes_ = rng.integers(0, 256, (41, 53, 3), dtype=np.uint8)
    yield "bytes", bytes_
    yield "channels first", np.moveaxis(bytes_, -1, 0)
    yield "floats of 0-1", (bytes_ / 255).astype(np.float32)
    yield "doubles of 0-1", bytes_ / 255
    yield "floats of 0-255", bytes_.astype(np.float32)
    yield "integers", bytes_.astype(np.int64)
    yield "a batch", rng.integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    yield "a list", [bytes_, bytes_[::-1]]
    yield "a tensor", torch.from_numpy(bytes_.copy())
    yield "three pixels wide", rng.integers(0, 256, (3, 40, 3), dtype=np.uint8)


ARRAYS = dict(_arrays())


@pytest.mark.parametrize(
    "name",
    ["ViTImageProcessor", "CLIPImageProcessor", "SamImageProcessor", "MobileViTImageProcessor",
     "EfficientNetImageProcessor", "DetrImageProcessor", "DPTImageProcessor"],
)  # fmt: skip
@pytest.mark.parametrize("form", ARRAYS)
def test_arrays(name: str, form: str) -> None:
    ours, other = CLASSES[name](**small(name)), theirs(name)(**small(name))
    same(name, answer(ours, ARRAYS[form]), answer(other, ARRAYS[form]))
    same(name, answer(ours, ARRAYS[form], do_resize=False), answer(other, ARRAYS[form], do_resize=False))


@pytest.mark.parametrize("name", ["CLIPImageProcessor", "SiglipImageProcessor", "OwlViTImageProcessor"])
@pytest.mark.parametrize("kind", ["rgba", "grey", "grey alpha", "palette", "palette transparent", "cmyk", "bilevel"])
def test_images_that_were_not_loaded(name: str, kind: str) -> None:
    """Classes that say `do_convert_rgb` lay what is transparent on white."""
    image = pil_image(kind)
    ours, other = CLASSES[name](**small(name)), theirs(name)(**small(name))
    same(name, answer(ours, image), answer(other, image))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("scale", [1, 255])
def test_arrays_with_other_channels(channels: int, scale: int) -> None:
    array = np.random.default_rng(5).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    image = array if scale == 1 else array / 255
    ours, other = CLASSES["CLIPImageProcessor"](), transformers.CLIPImageProcessorPil()
    expected = answer(other, image)
    same("", answer(ours, image), expected)
    if channels == 1:  # transformers refuses arrays without an axis for channels where they are to be converted
        same("", answer(ours, image[..., 0]), expected)


def test_layout_that_cannot_be_seen() -> None:
    array = np.random.default_rng(5).integers(0, 256, (3, 40, 3), dtype=np.uint8)
    ours, other = CLASSES["ViTImageProcessor"](), transformers.ViTImageProcessorPil()
    for layout in ("channels_first", "channels_last"):
        same("", answer(ours, array, input_data_format=layout), answer(other, array, input_data_format=layout))


@pytest.mark.parametrize(
    "name",
    ["DetrImageProcessor", "YolosImageProcessor", "MaskFormerImageProcessor", "Mask2FormerImageProcessor",
     "OneFormerImageProcessor", "ViltImageProcessor", "SamImageProcessor", "EomtImageProcessor", "ViTImageProcessor",
     "CLIPImageProcessor", "Siglip2ImageProcessor"],
)  # fmt: skip
def test_batches_of_different_images(name: str, loaded: Mapping[str, Image.Image]) -> None:
    images = [loaded[each] for each in ("photo", "odd", "wide", "second")]
    more = {"do_pad": True, "do_split_image": True} if name.startswith("Eomt") else {}
    ours, other = CLASSES[name](**small(name), **more), theirs(name)(**small(name), **more)
    same(name, answer(ours, images), answer(other, images))
    alone = CLASSES[name](**small(name), **more)(images, return_tensors=None)["pixel_values"]
    assert isinstance(alone, list) and all(isinstance(array, np.ndarray) for array in alone)


GROUPS = ("photo", "odd", "wide", "second")


@pytest.mark.parametrize("name", [*TILES, "LlavaImageProcessor", "Qwen2VLImageProcessor"])
def test_images_of_several_samples(name: str, loaded: Mapping[str, Image.Image]) -> None:
    """A flat list, a list for each sample, and samples without an image."""
    first, second, third, fourth = (loaded[each] for each in GROUPS)
    ours, other = CLASSES[name](**small(name)), theirs(name)(**small(name))
    shapes = [[first, second, third], [[first, second], [third]], [[first], [second, third, fourth]]]
    if "Onevision" in name or "Idefics" in name:
        shapes.append([[], [first, second]])
    for images in shapes:
        same(name, answer(ours, images), answer(other, images))


@pytest.mark.parametrize("splitting", [True, False])
def test_rows_and_columns_of_tiles(splitting: bool, loaded: Mapping[str, Image.Image]) -> None:
    images = [[loaded["photo"], loaded["wide"]], [loaded["tall"]]]
    settings = {**small("SmolVLMImageProcessor"), "do_image_splitting": splitting, "return_row_col_info": True}
    found = CLASSES["SmolVLMImageProcessor"](**settings)(images)
    expected = theirs("SmolVLMImageProcessor")(**settings)(images, return_tensors="np")
    assert (found["rows"], found["cols"]) == (expected["rows"], expected["cols"])
    assert len(found["rows"][0]) == 2 and (max(found["rows"][0]) > 1) is splitting


def test_pairs(loaded: Mapping[str, Image.Image]) -> None:
    pair, other_pair = [loaded["photo"], loaded["odd"]], [loaded["grey"], loaded["square"]]
    for name in ("SuperGlueImageProcessor", "LightGlueImageProcessor", "EfficientLoFTRImageProcessor"):
        ours, other = CLASSES[name](), theirs(name)()
        for images in (pair, [pair], [pair, other_pair]):
            same(name, answer(ours, images), answer(other, images))
        for images in (loaded["photo"], [loaded["photo"]], [pair, pair[:1]]):
            assert answer(ours, images) == answer(other, images) == "error"


@pytest.mark.parametrize("name", ["VideoMAEImageProcessor", "VivitImageProcessor"])
def test_videos(name: str) -> None:
    rng = np.random.default_rng(9)
    frames = list(rng.integers(0, 256, (4, 48, 60, 3), dtype=np.uint8))
    settings = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 36}}
    ours, other = CLASSES[name](**settings), theirs(name)(**settings)
    for videos in (frames, [frames, frames[::-1]], [Image.fromarray(frame) for frame in frames]):
        same(name, answer(ours, videos), answer(other, videos))


def test_classes_without_a_pil_class(loaded: Mapping[str, Image.Image]) -> None:
    """At most a grey level from what torchvision would do."""
    for name, image in loaded.items():
        array = np.asarray(image)
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None]
        options = {"size": (224, 224), "mode": "bilinear", "antialias": True, "align_corners": False}
        of_floats = torch.nn.functional.interpolate(tensor / 255, **options)
        of_bytes = torch.nn.functional.interpolate(tensor.float(), **options).round().clamp(0, 255) / 255
        for cls, resized in (("DINOv3ViTImageProcessor", of_floats), ("Sam2ImageProcessor", of_bytes)):
            processor = CLASSES[cls](size=224, do_convert_rgb=False)
            mean, std = (np.reshape(value, (3, 1, 1)) for value in (processor.image_mean, processor.image_std))
            pixels = processor(image)["pixel_values"][0] * std + mean
            assert np.abs(pixels - resized[0].numpy()).max() * 255 <= 1.01, f"{cls} on {name}"


def test_depth_beside_an_image(loaded: Mapping[str, Image.Image]) -> None:
    settings = {"size": {"height": 56, "width": 56}}
    ours = CLASSES["PromptDepthAnythingImageProcessor"](**settings)
    other = transformers.PromptDepthAnythingImageProcessorPil(**settings)
    measured = np.random.default_rng(1).integers(0, 5000, (12, 16)).astype(np.float64)
    for depth in (measured, np.full((12, 16), 7.0), Image.fromarray(measured.astype(np.uint16))):
        expected = other(images=loaded["photo"], prompt_depth=depth, return_tensors="np")
        found = ours(loaded["photo"], depth)
        assert found.keys() == expected.keys()
        for key, array in expected.items():
            assert found[key].dtype == array.dtype and np.array_equal(found[key], array), key


# -- by name ----------------------------------------------------------------------------------------------------------
def test_families_have_their_classes() -> None:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES as NAMES_OF

    for model_type, cls in CLASSES.families.items():
        known = NAMES_OF.get(model_type)
        if known:
            names = {str(name).removesuffix("Pil") for name in known.values()}
            assert cls in names, model_type


@pytest.mark.parametrize(
    "saved", ["ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor"]
)
def test_names_of_variants(saved: str, tmp_path: Path) -> None:
    key = "feature_extractor_type" if "Feature" in saved else "image_processor_type"
    (tmp_path / "preprocessor_config.json").write_text(f'{{"{key}": "{saved}", "size": 30}}')
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is CLASSES["ViTImageProcessor"]
    assert AutoImageProcessor.from_pretrained(tmp_path).size == {"height": 30, "width": 30}


def test_points_in_an_image(tmp_path: Path, loaded: Mapping[str, Image.Image]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    other = transformers.SamProcessor(transformers.SamImageProcessorPil())
    other.image_processor.save_pretrained(tmp_path)
    ours = AutoProcessor.from_pretrained(tmp_path)
    prompts = {"input_points": [[[10, 20], [30, 5]]], "input_labels": [[1, 0]], "input_boxes": [[[1, 2, 30, 40]]]}
    expected = other(loaded["large"], return_tensors="pt", **prompts)
    found = ours(loaded["large"], **prompts)
    for name in ("pixel_values", *prompts):
        assert found[name].shape == tuple(expected[name].shape)
        np.testing.assert_allclose(found[name], expected[name].numpy(), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("family", "task", "options"),
    [
        ("clip", "zero-shot-image-classification", {"padding": True}),
        ("siglip", "zero-shot-image-classification", {"padding": "max_length", "max_length": 20}),
        ("align", "zero-shot-image-classification", {}),
        ("chinese_clip", "zero-shot-image-classification", {"padding": True}),
        ("owlvit", "zero-shot-object-detection", {}),
        pytest.param("owlv2", "zero-shot-object-detection", {}, marks=NEEDS_SCIPY),
        ("grounding-dino", "zero-shot-object-detection", {}),
    ],
)
def test_texts_and_images(
    family: str, task: str, options: dict[str, Any], models: Any, bundles: Any, loaded: Mapping[str, Image.Image]
) -> None:
    # SigLIP's tokenizer has no tokenizer.json before the export
    ours = AutoProcessor.from_pretrained(bundles(family, task))
    other = transformers.AutoProcessor.from_pretrained(models(family, task), backend="pil")
    text = ["a cat", "a remote control"]
    expected = other(text=text, images=loaded["large"], return_tensors="np", **options)
    found = ours(text=text, images=loaded["large"], **options)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name


def test_the_name_of_a_task(models: Any, loaded: Mapping[str, Image.Image]) -> None:
    folder = models("oneformer", "image-segmentation")
    other = transformers.AutoProcessor.from_pretrained(folder, backend="pil")
    for task in ("semantic", "panoptic"):
        expected = other(loaded["photo"], [task], return_tensors="np")
        found = AutoProcessor.from_pretrained(folder)(loaded["photo"], task)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], np.asarray(array)) for name, array in expected.items())
