"""Idefics 3 and SmolVLM: an image is cut into tiles, and each tile gives equally many features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from onnxpipe.models.vision_encoder import Piece
from onnxpipe.models.vision_language.family import Array, EncodedImages, Family


class Idefics3(Family):
    """The tiles of all images of a prompt: `pixel_values` (prompts, tiles, 3, side, side), `pixel_attention_mask`.

    Prompts with fewer tiles than others have tiles of zeros behind theirs, as transformers' processor adds.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"pixel_values", "pixel_attention_mask"})

    def pieces(self, images: Mapping[str, Array]) -> list[Piece]:
        """Take the tiles that are not of zeros."""
        pixels = images["pixel_values"]
        tiles = pixels.reshape(-1, *pixels.shape[2:])
        masks = images.get("pixel_attention_mask")
        marks = np.ones((len(tiles), *tiles.shape[-2:]), np.int64) if masks is None else masks
        marks = marks.reshape(-1, *marks.shape[-2:])
        return [
            {"pixel_values": tile[None, None], "pixel_attention_mask": mark[None, None]}
            for tile, mark in zip(tiles, marks, strict=True)
            if tile.any()
        ]

    def encoded(self, pieces: Sequence[Piece], images: Mapping[str, Array]) -> EncodedImages:
        """Give the features of each tile as those of an image."""
        features = [piece["image_features"].reshape(-1, piece["image_features"].shape[-1]) for piece in pieces]
        return {"features": features, "extra": {}, "layout": {}}
