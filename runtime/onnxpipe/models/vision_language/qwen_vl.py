"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL: images of any size, whose tokens have positions in time, height and width.

Source: "Qwen2-VL" (Wang et al. 2024), section 2.1 (multimodal rotary positions); DeepStack (Meng et al. 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from onnxpipe.errors import ImageError
from onnxpipe.models.causal_lm.inputs import Positions, TokenFeature
from onnxpipe.models.vision_encoder import Piece
from onnxpipe.models.vision_language.family import Array, EncodedImages, Family


class QwenVL(Family):
    """Qwen2-VL and Qwen2.5-VL: a run of the vision encoder for each image, as each has its own number of patches."""

    inputs: ClassVar[frozenset[str]] = frozenset({"pixel_values", "image_grid_thw"})
    unused: ClassVar[frozenset[str]] = frozenset({"mm_token_type_ids"})
    batched: ClassVar[bool] = False

    @property
    def merge(self) -> int:
        """Patches a side that become one token."""
        return int(self.config.get("vision_config", {}).get("spatial_merge_size", 2))

    @property
    def image_token_id(self) -> int:
        """The placeholder of an image's features."""
        return int(self.config.get("image_token_id"))

    def pieces(self, images: Mapping[str, Array]) -> list[Piece]:
        """Cut the patches of all images into those of each; older graphs call the grid `grid_thw`.

        Raises:
            ImageError: there are more patches than the grids say, or fewer.
        """
        patches, grids = images["pixel_values"], np.asarray(images["image_grid_thw"], np.int64)
        counts = grids.prod(axis=1)
        if counts.sum() != len(patches):
            raise ImageError(
                f"pixel_values has {len(patches)} patches, and image_grid_thw says {counts.sum()}: pass both as the "
                "processor gave them"
            )
        ends = counts.cumsum()
        return [
            {"pixel_values": patches[end - count : end], "image_grid_thw": grid[None], "grid_thw": grid[None]}
            for end, count, grid in zip(ends, counts, grids, strict=True)
        ]

    def encoded(self, pieces: Sequence[Piece], images: Mapping[str, Array]) -> EncodedImages:
        """Put together the features of the images and their grids."""
        return {
            "features": [piece["image_features"] for piece in pieces],
            "extra": {},
            "layout": {"image_grid_thw": np.asarray(images["image_grid_thw"], np.int64)},
        }

    def positions(self, rows: Sequence[Array], images: EncodedImages) -> Positions | None:
        """Compute the positions of prompts in time, height and width."""
        grids = list(images["layout"].get("image_grid_thw", np.zeros((0, 3), np.int64)))
        found, shifts = [], []
        for row in rows:
            positions, shift, used = rope_positions(row, self.image_token_id, grids, self.merge)
            grids = grids[used:]
            found.append(positions)
            shifts.append(shift)
        return Positions(found, np.array(shifts, np.int64))


class Qwen3VL(QwenVL):
    """Qwen3-VL: features of some layers of the tower are added to the states of the decoder's first layers too."""

    def encoded(self, pieces: Sequence[Piece], images: Mapping[str, Array]) -> EncodedImages:
        """Put together the features of the images, those for the decoder's layers, and the grids."""
        deep = [piece["deepstack_features"] for piece in pieces if "deepstack_features" in piece]
        extra = {"deepstack_embeds": deep} if deep else {}
        return {**super().encoded(pieces, images), "extra": extra}

    def extra(self, rows: Sequence[Array], images: EncodedImages) -> dict[str, TokenFeature]:
        """Lay the features for the decoder's layers where the image tokens are; zero elsewhere."""
        layers, width = self._deep
        parts = images["extra"].get("deepstack_embeds", [])
        features = np.concatenate(parts) if parts else np.zeros((0, layers, width), np.float32)
        values, start = [], 0
        for row in rows:
            marks = row == self.image_token_id
            value = np.zeros((len(row), *features.shape[1:]), np.float32)
            end = start + int(marks.sum())
            value[marks] = features[start:end]
            values.append(value)
            start = end
        return {"deepstack_embeds": TokenFeature(values)}

    @property
    def _deep(self) -> tuple[int, int]:
        """How many layers get features, and their width."""
        vision = self.config.get("vision_config", {})
        return len(vision.get("deepstack_visual_indexes", ())), int(vision.get("out_hidden_size", 0))


def rope_positions(row: Array, image_token: int, grids: Sequence[Array], merge: int) -> tuple[Array, int, int]:
    """Compute the positions of a prompt's tokens.

    A text token is one further than what is before it in all three axes. The tokens of an image at p have p + (time,
    row, column) of its grid, and the next text begins behind the largest of its rows and columns.

    Args:
        row: int64 (length,), the prompt.
        image_token: the placeholder of an image's features.
        grids: patches of the images in time, height and width, in order; at least those of the prompt.
        merge: patches a side that become one token.

    Returns:
        int64 (3, length), how much further than its place a generated token is, and how many images the prompt has.

    Raises:
        ImageError: the placeholders are not as many as the grids say.
    """
    marks = row == image_token
    parts: list[Array] = []
    at = next_position = used = 0
    while at < len(row):
        if not marks[at]:
            ends = np.flatnonzero(marks[at:])
            count = int(ends[0]) if len(ends) else len(row) - at
            parts.append(np.repeat(np.arange(next_position, next_position + count)[None], 3, axis=0))
            next_position += count
        else:
            if used >= len(grids):
                raise ImageError("the prompt has tokens of more images than it was given")
            time, height, width = (int(side) for side in grids[used] // np.array([1, merge, merge]))
            count = time * height * width
            if not marks[at : at + count].all() or at + count > len(row):
                raise ImageError(f"image {used + 1} of the prompt has not the {count} tokens that its grid says")
            parts.append(np.indices((time, height, width)).reshape(3, -1) + next_position)
            next_position += max(height, width)
            used += 1
        at += count
    positions = np.concatenate(parts, axis=1).astype(np.int64) if parts else np.zeros((3, 0), np.int64)
    return positions, int(positions.max(initial=-1)) + 1 - len(row), used
