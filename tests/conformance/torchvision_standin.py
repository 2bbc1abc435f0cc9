"""Stand in for what transformers calls of torchvision, in torch alone, so that it need not be installed.

The video processors of transformers 5 exist for torchvision alone, and two image processors (DINOv3 and SAM 2); two
PIL classes call its `resize` without importing it (ZoeDepth, OneFormer), and SAM's takes its non-maximum suppression
from there. Their code is transformers' own and runs unchanged; only the functions below stand in for torchvision's,
which are thin covers of the same torch calls:

- `resize` is `torch.nn.functional.interpolate(..., antialias=True)`, on uint8 as on floats: torchvision's on a CPU;
- `normalize`, `pad` and `crop` are one line each;
- `batched_nms` keeps the best box and drops what overlaps it by more than the threshold, class by class, and gives
  what was kept by falling score.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

ONLY_TORCHVISION = {
    "DINOv3ViTImageProcessor": "transformers.models.dinov3_vit.image_processing_dinov3_vit",
    "Sam2ImageProcessor": "transformers.models.sam2.image_processing_sam2",
}
"""Image processors that transformers has for torchvision alone -> their module."""

VIDEO_MODULES = {
    "InternVLVideoProcessor": "transformers.models.internvl.video_processing_internvl",
    "LlavaOnevisionVideoProcessor": "transformers.models.llava_onevision.video_processing_llava_onevision",
    "Qwen2VLVideoProcessor": "transformers.models.qwen2_vl.video_processing_qwen2_vl",
    "Qwen3VLVideoProcessor": "transformers.models.qwen3_vl.video_processing_qwen3_vl",
    "SmolVLMVideoProcessor": "transformers.models.smolvlm.video_processing_smolvlm",
}
"""Video processors of chats, all of which transformers has for torchvision alone -> their module."""


def video_processor(folder: Path) -> Any:
    """Make transformers' video processor of a folder."""
    import json

    from transformers import video_processing_utils

    config = json.loads((folder / "video_preprocessor_config.json").read_text(encoding="utf-8"))
    video_processing_utils.tvF = Functional
    kind = config.pop("video_processor_type")
    return getattr(_module(VIDEO_MODULES[kind]), kind)(**config)


def image_processor(folder: Path) -> Any | None:
    """The processor of a folder whose class is one of `ONLY_TORCHVISION`; None for all other folders."""
    import json

    path = folder / "preprocessor_config.json"
    if not path.exists():
        return None
    kind = json.loads(path.read_text(encoding="utf-8")).get("image_processor_type", "").removesuffix("Fast")
    if kind not in ONLY_TORCHVISION:
        return None
    return getattr(_module(ONLY_TORCHVISION[kind]), kind).from_pretrained(str(folder))


def lend_functions(processor: Any) -> None:
    """What PIL classes call after the model: `resize`, and SAM's `batched_nms` for as long as a call lasts."""
    module = sys.modules[type(processor).__module__]
    if not hasattr(module, "tvF"):
        module.tvF = Functional
    if module.__name__ in ONLY_TORCHVISION.values() or not hasattr(module, "_post_process_for_mask_generation"):
        return

    def post_process_for_mask_generation(*args: Any, **kwargs: Any) -> Any:
        with _in_place():
            return module._post_process_for_mask_generation(*args, **kwargs)

    processor.post_process_for_mask_generation = post_process_for_mask_generation


@cache
def _module(name: str) -> ModuleType:
    """A module of transformers that imports torchvision, imported with the stand-in in its place."""
    import importlib

    from PIL.Image import Resampling
    from transformers import image_processing_backends

    with _in_place():
        image_processing_backends.tvF = Functional
        image_processing_backends.pil_torch_interpolation_mapping = {
            Resampling.NEAREST: Interpolation.NEAREST,
            Resampling.BILINEAR: Interpolation.BILINEAR,
            Resampling.BICUBIC: Interpolation.BICUBIC,
            Resampling.LANCZOS: Interpolation.LANCZOS,
        }
        return importlib.import_module(name)


@contextmanager
def _in_place() -> Iterator[None]:
    """`import torchvision…` finds the stand-in inside this block, and nothing after it."""
    modules = {name: ModuleType(name) for name in _NAMES}
    modules["torchvision.transforms.v2"].functional = Functional  # type: ignore[attr-defined]
    modules["torchvision.transforms.v2.functional"] = cast(ModuleType, Functional)
    modules["torchvision.ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in _NAMES:
            del sys.modules[name]


_NAMES = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.v2",
    "torchvision.transforms.v2.functional",
    "torchvision.ops",
    "torchvision.ops.boxes",
)


class Interpolation(Enum):
    """Names of torch's interpolations."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


class Functional:
    """torchvision.transforms.v2.functional, as far as it is called. Images are (…, channels, height, width)."""

    InterpolationMode = Interpolation

    @staticmethod
    def resize(image: Any, size: Any, interpolation: Interpolation, antialias: bool = True) -> Any:
        import torch

        if tuple(image.shape[-2:]) == tuple(size):
            return image
        smooth = interpolation in (Interpolation.BILINEAR, Interpolation.BICUBIC)
        options = {"align_corners": False, "antialias": antialias} if smooth else {}
        batch = image.reshape(-1, *image.shape[-3:])
        out = torch.nn.functional.interpolate(batch, tuple(size), mode=interpolation.value, **options)
        return out.reshape(*image.shape[:-2], *size)

    @staticmethod
    def normalize(image: Any, mean: Any, std: Any, inplace: bool = False) -> Any:
        import torch

        mean, std = (torch.as_tensor(values, dtype=image.dtype).view(-1, 1, 1) for values in (mean, std))
        return (image - mean) / std

    @staticmethod
    def pad(image: Any, padding: Any, fill: float = 0, padding_mode: str = "constant") -> Any:
        import torch

        left, top, right, bottom = padding
        return torch.nn.functional.pad(image, (left, right, top, bottom), mode=padding_mode, value=fill)

    @staticmethod
    def crop(image: Any, top: int, left: int, height: int, width: int) -> Any:
        return image[..., top : top + height, left : left + width]

    @staticmethod
    def grayscale_to_rgb(image: Any) -> Any:
        return image if image.shape[-3] == 3 else image.repeat_interleave(3, -3)


def batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """Places of the boxes that are kept, the best score first.

    Args:
        boxes: float (boxes, 4): left, top, right, bottom.
        scores: float (boxes,).
        idxs: (boxes,): boxes of different numbers never drop each other.
    """
    import torch

    order = scores.argsort(descending=True, stable=True).tolist()
    kept: list[int] = []
    for place in order:
        rivals = [other for other in kept if idxs[other] == idxs[place]]
        if not rivals or not bool((_overlaps(boxes[place], boxes[rivals]) > iou_threshold).any()):
            kept.append(place)
    return torch.tensor(kept, dtype=torch.int64)


def _overlaps(box: Any, others: Any) -> Any:
    """Intersection over union of one box (4,) with others (n, 4)."""
    low, high = box[:2].maximum(others[:, :2]), box[2:].minimum(others[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(-1)
    return shared / (area + areas - shared)
