"""LLaVA-NeXT and LLaVA-OneVision: the features of the whole image, then those of its tiles, laid out as the image is,
without its padding, each row with an end (`image_newline`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.models.vision_encoder import Piece
from onnxpipe.models.vision_language.family import IS_VIDEO, Array, EncodedImages, Family
from onnxpipe.processing.images.interpolate import interpolate
from onnxpipe.processing.images.llava import best_canvas, unpadded
from onnxpipe.processing.multimodal.llava import most_tiles, scaled_down


class LlavaNext(Family):
    """LLaVA-NeXT: `pixel_values` (images, tiles, 3, side, side), `image_sizes` (images, 2): height, width."""

    inputs: ClassVar[frozenset[str]] = frozenset({"pixel_values", "image_sizes"})

    def pieces(self, images: Mapping[str, Array]) -> list[Piece]:
        """Cut images into their tiles; the whole image is the first of each."""
        counts = self._tiles(images)
        stacks = zip(images["pixel_values"], counts, strict=True)
        return [{"pixel_values": tile[None]} for stack, count in stacks for tile in stack[:count]]

    def encoded(self, pieces: Sequence[Piece], images: Mapping[str, Array]) -> EncodedImages:
        """Lay the features of each image's tiles out as the image is."""
        _check_newline(pieces)
        features: list[Array] = []
        rest = iter(pieces)
        for size, count in zip(images["image_sizes"].tolist(), self._tiles(images), strict=True):
            features.append(self._packed([next(rest) for _ in range(count)], (size[0], size[1])))
        return {"features": features, "extra": {}, "layout": {}}

    def _tiles(self, images: Mapping[str, Array]) -> list[int]:
        """Count the tiles of each image, the whole one included."""
        side = images["pixel_values"].shape[-1]
        canvases = [best_canvas((height, width), self._canvases) for height, width in images["image_sizes"].tolist()]
        return [1 + (canvas[0] // side) * (canvas[1] // side) for canvas in canvases]

    @property
    def _canvases(self) -> tuple[tuple[int, int], ...]:
        return tuple((int(height), int(width)) for height, width in self.config.image_grid_pinpoints)

    def _packed(self, tiles: Sequence[Piece], size: tuple[int, int]) -> Array:
        """Pack the features of an image of `size` (height, width): float32 (features, width)."""
        whole, newline = tiles[0]["image_features"], tiles[0]["image_newline"].reshape(1, -1)
        if len(tiles) == 1:
            return np.concatenate([whole, newline])
        tower = self.config.vision_config
        across = int(tower.image_size) // int(tower.patch_size)
        canvas = best_canvas(size, self._canvases)
        grid = canvas[0] // int(tower.image_size), canvas[1] // int(tower.image_size)
        parts = np.stack([tile["image_features"] for tile in tiles[1:]])
        width = parts.shape[-1]
        laid = parts.reshape(*grid, across, across, width).transpose(0, 2, 1, 3, 4)
        laid = laid.reshape(grid[0] * across, grid[1] * across, width)
        rows, columns = unpadded(size, *laid.shape[:2])
        top, left = (laid.shape[0] - rows) // 2, (laid.shape[1] - columns) // 2
        kept = self.shrunk(laid[top : top + rows, left : left + columns], across)
        ended = np.concatenate([kept, np.broadcast_to(newline, (len(kept), 1, width))], axis=1)
        return np.concatenate([whole, ended.reshape(-1, width)])

    def shrunk(self, features: Array, across: int) -> Array:
        """Return features (rows, columns, width) as they are; `across` is how many a tile's side has."""
        return features


class LlavaOnevision(LlavaNext):
    """LLaVA-OneVision: large images are scaled down; of several images in one message each is one tile.

    Videos are `pixel_values_videos` (videos, frames, 3, side, side). Their frames are tiles whose features are pooled,
    and a video ends with one `image_newline`.
    """

    inputs: ClassVar[frozenset[str]] = frozenset(
        {"pixel_values", "image_sizes", "batch_num_images", "pixel_values_videos"}
    )
    has_videos: ClassVar[bool] = True

    def pieces(self, images: Mapping[str, Array]) -> list[Piece]:
        """Cut images into their tiles, and videos into their frames."""
        tiles = super().pieces(images) if "pixel_values" in images else []
        videos = images.get("pixel_values_videos", ())
        return [*tiles, *({"pixel_values": frame[None]} for video in videos for frame in video)]

    def encoded(self, pieces: Sequence[Piece], images: Mapping[str, Array]) -> EncodedImages:
        """Lay out the features of images, and pool those of videos."""
        videos = images.get("pixel_values_videos", ())
        first = len(pieces) - sum(map(len, videos))
        features = super().encoded(pieces[:first], images)["features"] if first else []
        count, rest = len(features), iter(pieces[first:])
        features += [self._pooled([next(rest) for _ in video]) for video in videos]
        return {"features": features, "extra": {}, "layout": {IS_VIDEO: np.arange(len(features)) >= count}}

    def _pooled(self, frames: Sequence[Piece]) -> Array:
        """Pool the features of a video's frames: float32 (features, width)."""
        _check_newline(frames)
        newline = frames[0]["image_newline"].reshape(1, -1)
        tower = self.config.vision_config
        across = int(tower.image_size) // int(tower.patch_size)
        features = np.stack([frame["image_features"] for frame in frames])
        width = features.shape[-1]
        grids = np.moveaxis(features.reshape(len(frames), across, across, width), -1, 1)
        side = -(-across // 2)
        pooled = np.moveaxis(interpolate(grids, (side, side), "bilinear"), 1, -1)
        return np.concatenate([pooled.reshape(-1, width), newline])

    def _tiles(self, images: Mapping[str, Array]) -> list[int]:
        counts = super()._tiles(images)
        together = images.get("batch_num_images")
        if together is None:
            return counts
        alone = [int(number) == 1 for number in np.ravel(together) for _ in range(int(number))]
        return [count if one else 1 for count, one in zip(counts, alone, strict=True)]

    def shrunk(self, features: Array, across: int) -> Array:
        """Scale features down to those of as many tiles as the config allows."""
        grid = features.shape[0], features.shape[1]
        size = scaled_down(grid, across, most_tiles(self.config.get("vision_aspect_ratio") or "anyres_max_9"))
        if size == grid:
            return features
        return np.moveaxis(interpolate(np.moveaxis(features, -1, 0), size, "bilinear"), 0, -1)


def _check_newline(pieces: Sequence[Piece]) -> None:
    """Refuse the outputs of a vision encoder that gives no end of a row."""
    if pieces and "image_newline" not in pieces[0]:
        raise UnsupportedError(
            "its vision_encoder does not give image_newline, which ends the rows of an image's features: export the "
            "model with onnxpipe"
        )
