"""Processors of the LLaVA family: how many tokens an image takes up, by its patches or by the canvas it is cut on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil, isqrt, sqrt
from typing import Any, ClassVar

from onnxpipe.errors import BundleError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images.llava import best_canvas, unpadded
from onnxpipe.processing.multimodal.vision_language import VisionLanguageProcessor


class LlavaProcessor(VisionLanguageProcessor):
    """LLaVA: a token for each patch of the image, and the tower's further ones."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "image_token": "<image>",
        "patch_size": None,
        "vision_feature_select_strategy": None,
        "num_additional_image_tokens": 0,
    }

    @classmethod
    def settings_of_model(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the patch size, the further tokens (CLIP's [CLS]) and whether they are dropped."""
        tower = model.get("vision_config", {})
        with_class = tower.get("model_type", "clip_vision_model") == "clip_vision_model"
        return {
            "patch_size": tower.get("patch_size"),
            "vision_feature_select_strategy": model.get("vision_feature_select_strategy", "default"),
            "num_additional_image_tokens": int(with_class),
        }

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the image's tokens."""
        height, width = features["pixel_values"][index].shape[-2:]
        return self.image_token * (self._patches(height, width) - self._dropped)

    def _patches(self, height: int, width: int) -> int:
        side = max(self.number("patch_size"), 1)
        return height // side * (width // side) + self.number("num_additional_image_tokens")

    @property
    def _dropped(self) -> int:
        return int(self.settings["vision_feature_select_strategy"] == "default")


class LlavaNextProcessor(LlavaProcessor):
    """LLaVA-NeXT: the tokens of the whole image, then those of its tiles without padding, each row with an end."""

    image_defaults: ClassVar[Mapping[str, Any]] = {"do_pad": True}

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the image's tokens."""
        height, width = features["pixel_values"].shape[-2:]
        size, side = tuple(map(int, features["image_sizes"][index])), max(self.number("patch_size"), 1)
        canvas = best_canvas((size[0], size[1]), self.image_processor.image_grid_pinpoints)
        rows, columns = unpadded(
            (size[0], size[1]), height // side * (canvas[0] // height), width // side * (canvas[1] // width)
        )
        return self.image_token * (rows * (columns + 1) + self._patches(height, width) - self._dropped)


class LlavaOnevisionProcessor(VisionLanguageProcessor):
    """LLaVA-OneVision: as LLaVA-NeXT, with fewer tokens for large canvases; one tile of each of several images."""

    grouped: ClassVar[bool] = True
    video_role: ClassVar[str | None] = "video_token"
    defaults: ClassVar[Mapping[str, Any]] = {
        "image_token": "<image>",
        "video_token": "<video>",
        "num_image_tokens": None,
        "vision_feature_select_strategy": None,
        "vision_aspect_ratio": "anyres_max_9",
    }

    @classmethod
    def settings_of_model(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tokens of a tile, by the size of the tower's images and patches."""
        tower = model.get("vision_config", {})
        known = {"image_size", "patch_size"} <= tower.keys()
        return {
            "num_image_tokens": (tower["image_size"] // tower["patch_size"]) ** 2 if known else None,
            "vision_feature_select_strategy": model.get("vision_feature_select_strategy"),
            "vision_aspect_ratio": model.get("vision_aspect_ratio"),
        }

    def for_image_processor(self, groups: list[list[Any]], nested: Any) -> list[Any]:
        """Return a list for each text if the caller passed such; images in a flat list are cut each."""
        return groups if nested is not None else [image for group in groups for image in group]

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the image's tokens."""
        base, dropped = self.number("num_image_tokens"), self.settings["vision_feature_select_strategy"] == "default"
        counts = [int(number) for number in features["batch_num_images"] for _ in range(number)]
        tokens = base + 1 if counts[index] != 1 else base + self._of_tiles(features, index, base)
        return self.image_token * (tokens - int(dropped))

    def video_replacement(self, features: BatchFeature, index: int) -> str:
        """Return the tokens of the frames, each a quarter of a tile's, and one for the end."""
        side = ceil(isqrt(self.number("num_image_tokens")) / 2)
        return str(self.video_token) * (len(features["pixel_values_videos"][index]) * side * side + 1)

    def _of_tiles(self, features: BatchFeature, index: int, base: int) -> int:
        height, width = features["pixel_values"].shape[-2:]
        size, side = tuple(map(int, features["image_sizes"][index])), isqrt(base)
        canvas = best_canvas((size[0], size[1]), self.image_processor.image_grid_pinpoints)
        grid = unpadded((size[0], size[1]), side * (canvas[0] // height), side * (canvas[1] // width))
        rows, columns = scaled_down(grid, side, most_tiles(self.settings["vision_aspect_ratio"]))
        return rows * (columns + 1)


def most_tiles(aspect_ratio: Any) -> int:
    """Return the number in "anyres_max_9": over so many tiles' features the image's are scaled down.

    Raises:
        BundleError: it has none.
    """
    found = re.fullmatch(r"anyres_max_(\d{1,4})", str(aspect_ratio))
    if found is None or not int(found[1]):
        raise BundleError(f"vision_aspect_ratio must be anyres_max_N; got {aspect_ratio!r}")
    return int(found[1])


def scaled_down(grid: tuple[int, int], side: int, most: int) -> tuple[int, int]:
    """Return the rows and columns of features that are left of a grid.

    Args:
        grid: rows and columns of features of the image.
        side: those of a tile.
        most: how many tiles' features there may be.
    """
    ratio = sqrt(grid[0] * grid[1] / (most * side**2)) if side else 0
    return (int(grid[0] // ratio), int(grid[1] // ratio)) if ratio > 1.1 else grid
