"""The settings of image processors, and the parsing of the many forms in which files and callers write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypedDict

from onnxpipe.bundle.hub_options import FileKeywords
from onnxpipe.errors import UnsupportedError

#: Pillow's numbers of its resampling filters.
NEAREST, LANCZOS, BILINEAR, BICUBIC = 0, 1, 2, 3

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

#: Longest side that a size may have: a config must not be able to fill the memory.
LONGEST_SIDE = 1 << 15
#: The largest number of float32, in which images are computed with.
_LARGEST = 3.4028234e38

_SIZE_KEYS = (
    {"height", "width"},
    {"shortest_edge"},
    {"shortest_edge", "longest_edge"},
    {"longest_edge"},
    {"max_height", "max_width"},
)
_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}

Size = dict[str, int]


@dataclass(frozen=True)
class ImageProcessorSettings:
    """The settings of a call; the names are those of transformers' files. None means that nothing is set.

    Attributes:
        do_convert_rgb: lay transparent images on white, in families that were trained so.
        do_resize, size, resample: resize; `size` as in `parse_size`, `resample` is Pillow's number of the filter.
        do_center_crop, crop_size: crop the centre, with black around it where the image is smaller.
        do_rescale, rescale_factor: multiply the bytes.
        do_normalize, image_mean, image_std: subtract the mean and divide by the deviation, per channel.
        do_pad, pad_size: pad with zeros at the bottom and at the right.
        input_data_format: "channels_first" or "channels_last", for arrays whose shape does not show which.
        size_divisor: both sides become a multiple of it.
        crop_pct: the share of the resized image that is kept (ConvNeXT, PoolFormer, timm).
        crop_mode: how an image of other proportions fits: "center", "squash" or "border" (timm).
        rescale_offset, offset: subtract 1 after rescaling (the names of EfficientNet and of ViViT).
        include_top: divide by the deviation once more (EfficientNet).
        do_flip_channel_order: from RGB to BGR (MobileViT).
        do_grayscale: the same grey in all channels (keypoint models).
        keep_aspect_ratio, ensure_multiple_of: for depth models.
        patch_size, max_num_patches: for SigLIP 2.
        is_vqa: the image gets its question drawn above it (Pix2Struct; refused).
        do_thumbnail: scale an image down until it fits (Donut).
        do_align_long_axis: turn an image that lies the other way than the size (Donut).
        do_split_image: split a long image into square patches (EoMT).
        mask_size, mask_pad_size, ignore_index, num_labels, do_reduce_labels, format, do_convert_annotations,
            num_text, prompt_scale_to_meter: for training, or for inputs other than images; kept as the file has them.
        repo_path, class_info_file: where the class names of OneFormer are.
        apply_ocr, ocr_lang, tesseract_config: read the words of pages with tesseract (LayoutLM).
        temporal_patch_size, merge_size: frames in a patch, and patches a side that become one token (Qwen-VL).
        do_image_splitting, max_image_size: cut the image into square tiles of that longest edge (Idefics 3).
        return_row_col_info: also return `rows` and `cols`, how many tiles each image is cut into (Idefics 3).
        image_grid_pinpoints: the (height, width) of canvases of which the best is cut into tiles (LLaVA-NeXT).
        crop_to_patches, min_patches, max_patches: cut the image into that many tiles (InternVL).
        do_pan_and_scan, pan_and_scan_min_crop_size, pan_and_scan_max_num_crops, pan_and_scan_min_ratio_to_activate:
            add crops of long images (Gemma 3).
        do_sample_frames, num_frames, fps: choose the frames of a video, that many or so many a second.
        min_frames, max_frames: how many frames of a video may be chosen by `fps` (Qwen-VL).
        cap_pixels_per_frame, max_video_tokens: bound the pixels of a frame by that many tokens (Qwen-VL).
        initial_shift: how far into its part of a video the chosen frame lies, True for half (InternVL).
    """

    do_convert_rgb: bool | None = None
    do_resize: bool | None = None
    size: Size | None = None
    resample: int | None = None
    do_center_crop: bool | None = None
    crop_size: Size | None = None
    do_rescale: bool | None = None
    rescale_factor: float | None = 1 / 255
    do_normalize: bool | None = None
    image_mean: float | tuple[float, ...] | None = None
    image_std: float | tuple[float, ...] | None = None
    do_pad: bool | None = None
    pad_size: Size | None = None
    input_data_format: str | None = None
    size_divisor: int | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    rescale_offset: bool | None = None
    offset: bool | None = None
    include_top: bool | None = None
    do_flip_channel_order: bool | None = None
    do_grayscale: bool | None = None
    keep_aspect_ratio: bool | None = None
    ensure_multiple_of: float | None = None
    patch_size: int | None = None
    max_num_patches: int | None = None
    is_vqa: bool | None = None
    do_thumbnail: bool | None = None
    do_align_long_axis: bool | None = None
    do_split_image: bool | None = None
    mask_size: Size | None = None
    mask_pad_size: Size | None = None
    ignore_index: int | None = None
    num_labels: int | None = None
    do_reduce_labels: bool | None = None
    format: str | None = None
    do_convert_annotations: bool | None = None
    num_text: int | None = None
    prompt_scale_to_meter: float | None = None
    repo_path: str | None = None
    class_info_file: str | None = None
    apply_ocr: bool | None = None
    ocr_lang: str | None = None
    tesseract_config: str | None = None
    temporal_patch_size: int | None = None
    merge_size: int | None = None
    do_image_splitting: bool | None = None
    max_image_size: Size | None = None
    return_row_col_info: bool | None = None
    image_grid_pinpoints: tuple[tuple[int, int], ...] | None = None
    crop_to_patches: bool | None = None
    min_patches: int | None = None
    max_patches: int | None = None
    do_pan_and_scan: bool | None = None
    pan_and_scan_min_crop_size: int | None = None
    pan_and_scan_max_num_crops: int | None = None
    pan_and_scan_min_ratio_to_activate: float | None = None
    do_sample_frames: bool | None = None
    num_frames: int | None = None
    fps: float | None = None
    min_frames: int | None = None
    max_frames: int | None = None
    cap_pixels_per_frame: bool | None = None
    max_video_tokens: int | None = None
    initial_shift: bool | float | None = None


class ImageProcessorOverrides(TypedDict, total=False):
    """`ImageProcessorSettings` as keywords, in every form that callers use; a class takes those that it knows."""

    do_convert_rgb: bool
    do_resize: bool
    size: Any
    max_size: int
    resample: Any
    do_center_crop: bool
    crop_size: Any
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: Any
    image_std: Any
    do_pad: bool
    pad_size: Any
    pad_and_return_pixel_mask: bool
    input_data_format: Any
    size_divisor: int
    size_divisibility: int
    crop_pct: float
    crop_mode: str
    rescale_offset: bool
    offset: bool
    include_top: bool
    do_flip_channel_order: bool
    do_grayscale: bool
    keep_aspect_ratio: bool
    ensure_multiple_of: float
    patch_size: int
    max_num_patches: int
    is_vqa: bool
    do_thumbnail: bool
    do_align_long_axis: bool
    do_split_image: bool
    mask_size: Any
    mask_pad_size: Any
    ignore_index: int
    num_labels: int
    do_reduce_labels: bool
    reduce_labels: bool
    format: str
    do_convert_annotations: bool
    num_text: int
    prompt_scale_to_meter: float
    repo_path: str
    class_info_file: str
    apply_ocr: bool
    ocr_lang: str
    tesseract_config: str
    min_pixels: int
    max_pixels: int
    temporal_patch_size: int
    merge_size: int
    do_image_splitting: bool
    max_image_size: Any
    return_row_col_info: bool
    image_grid_pinpoints: Any
    crop_to_patches: bool
    min_patches: int
    max_patches: int
    do_pan_and_scan: bool
    pan_and_scan_min_crop_size: int
    pan_and_scan_max_num_crops: int
    pan_and_scan_min_ratio_to_activate: float
    do_sample_frames: bool
    num_frames: int
    fps: float
    min_frames: int
    max_frames: int
    cap_pixels_per_frame: bool
    max_video_tokens: int
    initial_shift: bool | float


class ImageProcessorKeywords(FileKeywords, ImageProcessorOverrides, total=False):
    """The keywords of `from_pretrained`: the Hub's, and settings instead of what the files say."""


NAMES = tuple(field.name for field in fields(ImageProcessorSettings))
#: Settings that every class knows.
COMMON = frozenset(
    {"do_convert_rgb", "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor",
     "do_normalize", "image_mean", "image_std", "do_pad", "pad_size", "input_data_format"}
)  # fmt: skip
#: The settings of single steps, for classes without that step.
RESIZING = frozenset({"do_resize", "size", "resample"})
CROPPING = frozenset({"do_center_crop", "crop_size"})
NORMALIZING = frozenset({"do_normalize", "image_mean", "image_std"})
PADDING = frozenset({"do_pad", "pad_size"})
#: Older names of settings.
RENAMED = {
    "reduce_labels": "do_reduce_labels",
    "pad_and_return_pixel_mask": "do_pad",
    "size_divisibility": "size_divisor",
}


def parse(
    values: Mapping[str, Any], square: bool, longest: int | None = None, limit: int = LONGEST_SIDE
) -> dict[str, Any]:
    """Parse the settings of a file or a call. A None is left out, so that the default stays.

    Args:
        values: by the names of `ImageProcessorSettings`.
        square, longest, limit: the meaning and the bound of a `size`, see `parse_size`.

    Raises:
        UnsupportedError: a value that is not valid.
    """
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        parser: Callable[[str, Any], Any] = _PARSERS.get(name, _flag)
        parsed[name] = parse_size(name, value, square, longest, limit) if name == "size" else parser(name, value)
    return parsed


def parse_size(
    name: str, value: Any, square: bool = True, longest: int | None = None, limit: int = LONGEST_SIDE
) -> Size:
    """Parse a size into a dict with one of these sets of keys: height and width; shortest_edge; shortest_edge and
    longest_edge; longest_edge; max_height and max_width.

    Args:
        name: of the setting, for errors.
        value: such a dict, a number, or (height, width).
        square: whether one number means height and width; else it is the shortest edge.
        longest: the longest edge that goes with one number.
        limit: the largest number that is allowed.

    Raises:
        UnsupportedError: none of these, or a side that is not a whole number from 1 to `limit`.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        edges = {"shortest_edge": value} if longest is None else {"shortest_edge": value, "longest_edge": longest}
        value = {"height": value, "width": value} if square else edges
    elif isinstance(value, (tuple, list)) and len(value) == 2:
        value = {"height": value[0], "width": value[1]}
    if not isinstance(value, Mapping):
        raise UnsupportedError(f"{name} must be a number, (height, width) or a dict of sides; got {value!r}")
    size = {key: _side(name, side, limit) for key, side in value.items() if side is not None}
    if set(size) not in _SIZE_KEYS:
        forms = "; ".join(", ".join(sorted(keys)) for keys in _SIZE_KEYS)
        raise UnsupportedError(f"{name} must have one of these sets of keys: {forms}. Got {dict(value)}")
    return size


def _side(name: str, value: Any, limit: int = LONGEST_SIDE) -> int:
    number = _number(name, value)
    if number % 1:
        raise UnsupportedError(f"{name} must have sides in whole numbers; got {value!r}")
    if not 1 <= number <= limit:
        raise UnsupportedError(f"{name} has a side of {value}; it must lie in 1–{limit}")
    return int(number)


def _grids(name: str, value: Any) -> tuple[tuple[int, int], ...]:
    """Parse canvases: a list of (height, width)."""
    pairs = value if isinstance(value, (list, tuple)) else ()
    if not pairs or any(not isinstance(pair, (list, tuple)) or len(pair) != 2 for pair in pairs):
        raise UnsupportedError(f"{name} must be a list of [height, width]; got {value!r}")
    return tuple((_side(name, height), _side(name, width)) for height, width in pairs)


def _filter(name: str, value: Any) -> int:
    """Parse a resampling filter: Pillow's number or enum, or torchvision's name."""
    named = getattr(value, "value", value)
    number: Any = _FILTERS.get(named.lower(), -1) if isinstance(named, str) else named
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= 5:
        return int(number)
    raise UnsupportedError(f"{name} must be the number of a Pillow filter, 0–5; got {value!r}")


def _numbers(name: str, value: Any) -> float | tuple[float, ...]:
    if isinstance(value, (int, float)):
        return _number(name, value)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        numbers = tuple(_number(name, number) for number in value)
        if numbers:
            return numbers
    raise UnsupportedError(f"{name} must be a number, or one for each channel; got {value!r}")


def _format(name: str, value: Any) -> str:
    text = str(getattr(value, "value", value))
    if name == "input_data_format":
        text = {"first": "channels_first", "last": "channels_last"}.get(text, text)
        if text not in ("channels_first", "channels_last"):
            raise UnsupportedError(f"{name} must be 'channels_first' or 'channels_last'; got {value!r}")
    return text


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    raise UnsupportedError(f"{name} must be True or False; got {value!r}")


_LARGEST = 3.4e38
"""About the largest float32 number; pixels are float32."""


def _number(name: str, value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return value
    raise UnsupportedError(f"{name} must be a number of at most {_LARGEST:g}; got {value!r:.80}")


def _positive(name: str, value: Any) -> float:
    if _number(name, value) > 0:
        return float(value) if name in _FRACTIONS else int(value)
    raise UnsupportedError(f"{name} must be more than 0; got {value!r}")


def _count(name: str, value: Any) -> int:
    """Parse a whole number from 0 on; for divisors, 0 means none."""
    if _number(name, value) >= 0:
        return int(value)
    raise UnsupportedError(f"{name} must not be negative; got {value!r}")


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise UnsupportedError(f"{name} must be a string; got {value!r}")


def _shift(name: str, value: Any) -> bool | float:
    if isinstance(value, bool):
        return value
    if _number(name, value) >= 0:
        return float(value)
    raise UnsupportedError(f"{name} must not be negative; got {value!r}")


_FRACTIONS = ("crop_pct", "ensure_multiple_of", "pan_and_scan_min_ratio_to_activate", "fps")
_COUNTS = ("patch_size", "max_num_patches", "temporal_patch_size", "merge_size", "min_patches", "max_patches",
           "pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops", "num_frames", "min_frames", "max_frames",
           "max_video_tokens")  # fmt: skip
_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("crop_size", "pad_size", "mask_size", "mask_pad_size", "max_image_size"), parse_size),
    **dict.fromkeys(("image_mean", "image_std"), _numbers),
    **dict.fromkeys(("input_data_format", "format"), _format),
    **dict.fromkeys(("rescale_offset", "offset", "include_top", "keep_aspect_ratio"), _flag),
    **dict.fromkeys(("rescale_factor", "prompt_scale_to_meter", "ignore_index"), _number),
    **dict.fromkeys((*_FRACTIONS, *_COUNTS), _positive),
    **dict.fromkeys(("size_divisor", "num_labels", "num_text"), _count),
    **dict.fromkeys(("repo_path", "class_info_file", "ocr_lang", "tesseract_config", "crop_mode"), _text),
    "resample": _filter,
    "initial_shift": _shift,
    "image_grid_pinpoints": _grids,
}
