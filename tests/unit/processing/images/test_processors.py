"""Image processors without transformers beside them: their answers for an image when they were compared, settings in
all their forms, files, refusals. Next to transformers itself: tests/conformance/test_image_processors.py."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

from onnxpipe.errors import (  # noqa: E402
    BundleError,
    ImageError,
    UnknownArgumentError,
    UnsupportedError,
)
from onnxpipe.processing.images import transforms  # noqa: E402
from onnxpipe.processing.images.classifiers import CLIPImageProcessor, ViTImageProcessor  # noqa: E402
from onnxpipe.processing.images.detr import DetrImageProcessor  # noqa: E402
from onnxpipe.processing.images.owl import smooth_resize  # noqa: E402
from onnxpipe.processing.images.settings import NAMES, parse_size  # noqa: E402
from onnxpipe.processing.registry import IMAGE_PROCESSORS as CLASSES  # noqa: E402
from tolerances import SUM  # noqa: E402

#: What transformers 5.23 returns for `synthetic_image()`: shape and crc32 of the float32 numbers.
KNOWN: dict[str, tuple[tuple[int, ...], int]] = {
    "Beit": ((1, 3, 33, 38), 452966970),
    "Bit": ((1, 3, 30, 34), 2187692942),
    "Blip": ((1, 3, 33, 38), 3954245781),
    "CLIP": ((1, 3, 30, 34), 2187692942),
    "ChineseCLIP": ((1, 3, 30, 34), 2187692942),
    "ConditionalDetr": ((1, 3, 30, 40), 946852426),
    "ConvNext": ((1, 3, 36, 36), 2156728052),
    "DPT": ((1, 3, 33, 38), 452966970),
    "DeformableDetr": ((1, 3, 30, 40), 946852426),
    "DeiT": ((1, 3, 30, 34), 2723993092),
    "Detr": ((1, 3, 30, 40), 946852426),
    "EfficientLoFTR": ((1, 2, 3, 33, 38), 3264500928),
    "EfficientNet": ((1, 3, 33, 38), 1760277972),
    "Eomt": ((1, 3, 30, 40), 946852426),
    "GLPN": ((1, 3, 32, 32), 2296539020),
    "GroundingDino": ((1, 3, 30, 40), 946852426),
    "Levit": ((1, 3, 30, 34), 2156934844),
    "LightGlue": ((1, 2, 3, 33, 38), 3264500928),
    "Mask2Former": ((1, 3, 32, 40), 3634418221),
    "MaskFormer": ((1, 3, 32, 40), 3634418221),
    "MobileNetV1": ((1, 3, 30, 34), 3550165658),
    "MobileNetV2": ((1, 3, 30, 34), 3550165658),
    "MobileViT": ((1, 3, 30, 34), 2734861536),
    "OneFormer": ((1, 3, 30, 40), 946852426),
    "OwlViT": ((1, 3, 33, 38), 3954245781),
    "Perceiver": ((1, 3, 33, 38), 2857254504),
    "PoolFormer": ((1, 3, 30, 34), 2935763652),
    "PromptDepthAnything": ((1, 3, 33, 38), 452966970),
    "Pvt": ((1, 3, 33, 38), 31471841),
    "RTDetr": ((1, 3, 33, 38), 378831822),
    "Sam": ((1, 3, 40, 40), 3902604596),
    "Segformer": ((1, 3, 33, 38), 3397914619),
    "Siglip2": ((1, 256, 768), 651122106),
    "Siglip": ((1, 3, 33, 38), 452966970),
    "SuperGlue": ((1, 2, 3, 33, 38), 3264500928),
    "SuperPoint": ((1, 3, 33, 38), 378831822),
    "Swin2SR": ((1, 3, 48, 64), 3818173413),
    "TextNet": ((1, 3, 64, 64), 586722380),
    "ViT": ((1, 3, 33, 38), 2043177465),
    "VideoMAE": ((1, 2, 3, 30, 34), 3919080615),
    "Vilt": ((1, 3, 32, 32), 975509632),
    "Vivit": ((1, 2, 3, 30, 34), 81954600),
    "Yolos": ((1, 3, 16, 32), 3076531919),
}
#: What transformers 4.57.6 returned for it, where its defaults were others.
KNOWN_OLDER: dict[str, tuple[tuple[int, ...], int]] = {
    "Beit": ((1, 3, 30, 34), 2723993092),
    "ConvNext": ((1, 3, 36, 36), 358679335),
    "EfficientNet": ((1, 3, 33, 38), 1559055120),
    "MobileViT": ((1, 3, 30, 34), 2655517882),
    "Pvt": ((1, 3, 33, 38), 3397914619),
}


def synthetic_image(height: int = 45, width: int = 61) -> Any:
    """Draw an image by a formula."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([(x * 7 + y * 3) % 256, (x * x + y * 5) % 256, (x * y) % 251], -1).astype(np.uint8))


def small(name: str) -> dict[str, Any]:
    """Sizes of a few dozen pixels, in the form that the class has."""
    defaults = CLASSES[name].defaults
    size = defaults.size or {}
    settings: dict[str, Any] = {"crop_size": {"height": 30, "width": 34}} if defaults.crop_size else {}
    if {"shortest_edge", "longest_edge"} <= size.keys():
        if defaults.size_divisor:  # Where one side shrinks and the other grows, Pillow 13 rounds otherwise than 12.
            settings["size_divisor"] = 8
        return {**settings, "size": {"shortest_edge": 32, "longest_edge": 40}}
    if defaults.max_image_size:
        return {"size": {"longest_edge": 60}, "max_image_size": {"longest_edge": 20}}
    if "longest_edge" in size:
        return {"size": {"longest_edge": 40}, "pad_size": {"height": 40, "width": 40}}
    if "shortest_edge" in size:
        return {**settings, "size": {"shortest_edge": 36}}
    return {**settings, "size": {"height": 33, "width": 38}} if size else settings


def images_for(name: str) -> Any:
    several = ("SuperGlue", "LightGlue", "EfficientLoFTR", "VideoMAE", "Vivit")
    return [synthetic_image()] * 2 if name.startswith(several) else synthetic_image()


@pytest.mark.parametrize("name", KNOWN)
def test_known_numbers(name: str) -> None:
    values = CLASSES[f"{name}ImageProcessor"](**small(f"{name}ImageProcessor"))(images_for(name)).pixel_values
    assert values.dtype == np.float32
    assert (values.shape, zlib.crc32(np.ascontiguousarray(values).tobytes())) == KNOWN[name]


@pytest.mark.parametrize("name", KNOWN_OLDER)
def test_known_numbers_of_older_files(name: str) -> None:
    settings = small(f"{name}ImageProcessor")
    values = CLASSES[f"{name}ImageProcessor"].from_dict(settings, older=True)(images_for(name)).pixel_values
    assert (values.shape, zlib.crc32(np.ascontiguousarray(values).tobytes())) == KNOWN_OLDER[name]


# -- the quick ways give the same numbers as the plain ones -----------------------------------------------------------
# VitMatte's takes two images, and Pix2Struct's normalises an image by its own numbers
@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"VitMatteImageProcessor", "Pix2StructImageProcessor"}))
def test_bytes_are_looked_up_as_they_would_be_computed(name: str) -> None:
    """Rescaling and normalising 256 bytes once, or every pixel: the same to the bit."""
    processor = CLASSES[name](**small(name))
    array = np.asarray(synthetic_image())
    looked_up = processor._numbers(array, processor.settings)
    computed = processor._numbers(array.astype(np.int32), processor.settings)
    assert looked_up.dtype == np.float32 and np.array_equal(looked_up, computed)


def test_settings_of_a_call_are_not_looked_up_in_anothers_table() -> None:
    processor = ViTImageProcessor(size=8)
    plain = processor(synthetic_image()).pixel_values
    other = processor(synthetic_image(), image_mean=[0.1, 0.2, 0.3], rescale_factor=1 / 100).pixel_values
    assert not np.array_equal(plain, other)
    assert np.array_equal(processor(synthetic_image()).pixel_values, plain)


def test_arrays_and_images_give_the_same() -> None:
    image = synthetic_image()
    processor = CLIPImageProcessor(size=20, crop_size=18)
    expected = processor(image).pixel_values
    for form in (np.asarray(image), np.moveaxis(np.asarray(image), -1, 0), [image], np.asarray(image)[None]):
        assert np.array_equal(processor(form).pixel_values, expected)
    assert processor([image, image]).pixel_values.shape == (2, 3, 18, 18)
    grey = processor(np.asarray(image.convert("L"))).pixel_values
    assert np.array_equal(grey, processor(image.convert("L")).pixel_values)


def test_a_path_is_an_image_too(tmp_path: Path) -> None:
    synthetic_image().save(tmp_path / "a.png")
    processor = ViTImageProcessor(size=8)
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()):
        assert np.array_equal(processor(source).pixel_values, processor(synthetic_image()).pixel_values)


def test_one_channel_where_the_mean_has_one() -> None:
    processor = ViTImageProcessor(size=8, image_mean=[0.5], image_std=[0.5])
    assert processor(synthetic_image()).pixel_values.shape == (1, 1, 8, 8)
    assert processor(synthetic_image().convert("1")).pixel_values.shape == (1, 1, 8, 8)


# -- sizes ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "square", "longest", "size"),
    [
        (224, True, None, {"height": 224, "width": 224}),
        (224, False, None, {"shortest_edge": 224}),
        (800, False, 1333, {"shortest_edge": 800, "longest_edge": 1333}),
        (224.0, True, None, {"height": 224, "width": 224}),
        ([3, 4], True, None, {"height": 3, "width": 4}),
        ((3, 4), False, 9, {"height": 3, "width": 4}),
        ({"height": 3, "width": 4, "longest_edge": None}, True, None, {"height": 3, "width": 4}),
        ({"max_height": 3, "max_width": 4}, True, None, {"max_height": 3, "max_width": 4}),
    ],
)
def test_forms_of_sizes(value: Any, square: bool, longest: int | None, size: dict[str, int]) -> None:
    assert parse_size("size", value, square, longest) == size


@pytest.mark.parametrize(
    "value",
    [0, -1, 1 << 20, 1.5, True, "224", [1, 2, 3], {}, {"height": 3}, {"height": "3", "width": 3}, {"a": 1}, 1e300],
)
def test_sizes_that_are_none(value: Any) -> None:
    with pytest.raises(UnsupportedError, match="size"):
        ViTImageProcessor(size=value)
    with pytest.raises(BundleError, match="size"):
        ViTImageProcessor.from_dict({"size": value})


def test_edges() -> None:
    assert transforms.within_edges(480, 640, 800, 1333) == (800, 1066)
    assert transforms.within_edges(100, 1000, 800, 1333) == (133, 1333)
    assert transforms.within_edges(800, 900, 800, 1333) == (800, 900)
    assert transforms.with_short_side(375, 500, 224) == (224, 298)
    assert transforms.target_size(50, 100, {"max_height": 40, "max_width": 40}) == (20, 40)


@pytest.mark.parametrize("name", [f"{name}ImageProcessor" for name in ("Detr", "CLIP", "GLPN", "DPT")])
def test_images_too_long_for_a_class(name: str) -> None:
    """A side of no pixels, or gigabytes: refused before anything is allocated."""
    settings = {"keep_aspect_ratio": True, "ensure_multiple_of": 32} if name.startswith("DPT") else {}
    image = Image.new("RGB", (20_000_000, 1)) if name.startswith("CLIP") else synthetic_image(1, 30_000)
    with pytest.raises(ImageError, match="would become one of"):
        CLASSES[name](**settings)(image)


#: Sizes that a file may name, of a side of 12,000.
HUGE: list[dict[str, Any]] = [
    {"size": {"height": 12_000, "width": 12_000}},
    {"size": {"shortest_edge": 12_000}},
    {"size": {"shortest_edge": 12_000, "longest_edge": 12_000}},
    {"size": {"longest_edge": 12_000}},
    {"size": {"max_height": 12_000, "max_width": 12_000}},
    {"crop_size": {"height": 12_000, "width": 12_000}, "do_center_crop": True},
    {"pad_size": {"height": 12_000, "width": 12_000}, "do_pad": True},
    {"size_divisor": 12_000, "do_pad": True},
    {"ensure_multiple_of": 12_000, "keep_aspect_ratio": True},
    {"patch_size": 12_000},
    {"patch_size": 128, "max_num_patches": 12_000},
    {"crop_pct": 0.001},
]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_no_size_of_a_file_fills_the_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is refused before anything is allocated, or means nothing to the class and makes a usual array."""
    monkeypatch.setattr(transforms, "MAX_RESULT", 2**20)  # so that a result that slips through is seen cheaply
    cls = CLASSES[f"{name}ImageProcessor"]
    image = synthetic_image(30, 40)
    images = [image, image] if name in ("EfficientLoFTR", "LightGlue", "SuperGlue") else image
    refused = 0
    for settings in HUGE:
        known = {key: value for key, value in settings.items() if key in cls.known_settings}
        if not known:
            continue
        try:
            found = cls.from_dict(known)(images)
        except (ImageError, UnsupportedError, BundleError):
            refused += 1
            continue
        pixels = np.asarray(next(iter(found.values())))
        assert pixels.size <= 2**23, (name, settings, pixels.shape)
    assert refused or name == "GLPN"


def test_the_error_of_a_huge_size_says_where_it_stands() -> None:
    processor = ViTImageProcessor.from_dict({"size": {"height": 12_000, "width": 12_000}})
    with pytest.raises(ImageError, match=r"40x30 pixels would become one of 12000x12000, .*preprocessor_config\.json"):
        processor(synthetic_image(30, 40))
    with pytest.raises(ImageError, match=r"16777216 pixels allowed"):
        ViTImageProcessor(size={"height": 4096, "width": 4097})(synthetic_image(30, 40))


def test_large_images_may_stay_large() -> None:
    size = (5000, 6000)
    assert transforms.checked_size(size, (4990, 5990)) == size
    assert transforms.checked_size((4096, 4096), (1, 1)) == (4096, 4096)
    with pytest.raises(ImageError, match="178956970 pixels allowed"):
        transforms.checked_size((20_000, 20_000), (10_000, 10_000))


# -- settings ---------------------------------------------------------------------------------------------------------
def test_settings_are_attributes() -> None:
    processor = DetrImageProcessor(size=100)
    assert processor.size == {"shortest_edge": 100, "longest_edge": 1333}
    processor.size = 50
    processor.do_normalize = None
    assert (processor.size["shortest_edge"], processor.do_normalize) == (50, False)
    assert processor(synthetic_image()).pixel_values.shape == (1, 3, 50, 67)
    assert DetrImageProcessor().size == {"shortest_edge": 800, "longest_edge": 1333}
    with pytest.raises(UnsupportedError):
        processor.resample = 17
    with pytest.raises(AttributeError, match="sise"):
        _ = processor.sise


@pytest.mark.parametrize("call", [lambda p, **o: p(synthetic_image(), **o), lambda p, **o: type(p)(**o)])
def test_unknown_settings_name_the_nearest(call: Any) -> None:
    with pytest.raises(UnknownArgumentError, match="do_resize"):
        call(ViTImageProcessor(), do_resise=True)
    with pytest.raises(UnknownArgumentError, match="crop_pct"):
        call(ViTImageProcessor(), crop_pct=0.5)  # another class's


@pytest.mark.parametrize(
    ("option", "value"),
    [("resample", 9), ("resample", "cubic"), ("image_mean", "0.5"), ("image_std", [0.5, "a"]), ("do_resize", "yes"),
     ("image_std", 10**400), ("image_mean", [1e39]),
     ("input_data_format", "hwc"), ("crop_size", 0), ("segmentation_maps", 1), ("data_format", "channels_last")],
)  # fmt: skip
def test_refused(option: str, value: Any) -> None:
    with pytest.raises(UnsupportedError, match=option):
        ViTImageProcessor()(synthetic_image(), **{option: value})


def test_what_a_step_lacks() -> None:
    with pytest.raises(UnsupportedError, match="image_mean and image_std"):
        CLASSES["GLPNImageProcessor"]()(synthetic_image(), do_normalize=True)
    with pytest.raises(UnsupportedError, match="crop_size"):
        ViTImageProcessor()(synthetic_image(), do_center_crop=True)
    with pytest.raises(UnsupportedError, match="3 channels"):
        ViTImageProcessor()(synthetic_image(), image_mean=[0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Swin2SRImageProcessor", {"size_divisor": 10**9}),
        ("DPTImageProcessor", {"do_pad": True, "size_divisor": 10**9}),
        ("MaskFormerImageProcessor", {"size_divisor": 10**9}),
        ("SamImageProcessor", {"pad_size": 32768, "size": {"longest_edge": 9}}),
        ("Siglip2ImageProcessor", {"max_num_patches": 10**9}),
        ("CLIPImageProcessor", {"crop_size": 32768}),
        ("ZoeDepthImageProcessor", {"ensure_multiple_of": 10**6}),
    ],
)
def test_files_that_would_fill_the_memory(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        CLASSES[name].from_dict(settings)(synthetic_image())


@pytest.mark.parametrize(
    "settings",
    [{"size_divisor": -1}, {"size_divisor": "8"}, {"rescale_factor": float("inf")}, {"rescale_factor": "1"},
     {"rescale_factor": 10**400},
     {"size_divisor": []}, {"do_pad": "no"}, {"do_pad": 2}],
)  # fmt: skip
def test_values_that_mean_nothing(settings: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=next(iter(settings))):
        CLASSES["Swin2SRImageProcessor"].from_dict(settings)


@pytest.mark.parametrize("settings", [{"image_std": 10**400}, {"image_mean": [0, 0, -1e39]}])
def test_numbers_that_no_pixel_can_be(settings: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="must be a number of at most 3"):
        ViTImageProcessor.from_dict(settings)


def test_tensors_of_other_libraries() -> None:
    with pytest.raises(UnsupportedError, match="np"):
        ViTImageProcessor()(synthetic_image(), return_tensors="pt")
    listed = ViTImageProcessor(size=4)([synthetic_image(), synthetic_image()], return_tensors=None)
    assert [array.shape for array in listed["pixel_values"]] == [(3, 4, 4)] * 2


@pytest.mark.parametrize(
    "image", [[], np.zeros((2, 5, 5)), np.zeros((4, 4, 3), object), np.zeros((0, 4, 3)), np.zeros((4, 4, 3)) - 1]
)
def test_no_images(image: Any) -> None:
    with pytest.raises(ImageError):
        ViTImageProcessor(size=4)(image)


def test_different_sizes() -> None:
    with pytest.raises(ImageError, match="different shapes"):
        ViTImageProcessor(do_resize=False)([synthetic_image(4, 5), synthetic_image(5, 4)])


def test_every_class_lists_its_settings() -> None:
    for name, cls in CLASSES.items():
        processor = cls()
        assert cls.known_settings <= set(NAMES)
        again = cls.from_dict(json.loads(json.dumps(processor.to_dict())))
        assert again.settings == processor.settings, name
        assert repr(processor).startswith(name)


# -- the rest ---------------------------------------------------------------------------------------------------------
def test_smooth_resize_by_hand() -> None:
    """Half the size: a Gaussian of deviation 1/2 along both sides, then the mean of neighbours."""
    line = np.zeros((1, 8, 8), np.float32)
    line[:, :, 3:5] = 1
    small_line = smooth_resize(line, (4, 4))
    assert small_line.shape == (1, 4, 4) and small_line.dtype == np.float32
    assert np.allclose(small_line, small_line[:, :, ::-1]) and np.allclose(small_line[:, 0], small_line[:, 3])
    assert np.isclose(small_line[0, 0].sum(), 1, rtol=0, atol=SUM)
    assert np.array_equal(smooth_resize(line, (8, 8)), line)
    assert np.array_equal(smooth_resize(np.full((3, 1, 1), 0.25, np.float32), (5, 7)), np.full((3, 5, 7), 0.25))


def test_pillow_is_imported_with_the_first_image() -> None:
    code = (
        "import sys; from onnxpipe.processing.auto import AutoImageProcessor as A;"
        "A.from_dict({'image_processor_type': 'ViTImageProcessor'});"
        "assert not {'PIL', 'torch', 'transformers', 'scipy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
