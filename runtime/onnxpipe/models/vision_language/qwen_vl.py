"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL: images and videos of any size, whose tokens have positions in time, height and width.

Source: "Qwen2-VL" (Wang et al. 2024), section 2.1 (multimodal rotary positions); DeepStack (Meng et al. 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import ImageError
from onnxpipe.models.causal_lm.inputs import Positions, TokenFeature
from onnxpipe.models.vision_encoder import Piece
from onnxpipe.models.vision_language.family import IS_VIDEO, Array, EncodedImages, Family, token_of


class QwenVL(Family):
    """Qwen2-VL: a run of the vision encoder for each image or video, as each has its own number of patches.

    Videos are `pixel_values_videos` (patches, values of a patch) and `video_grid_thw` (videos, 3).
    """

    inputs: ClassVar[frozenset[str]] = frozenset(
        {"pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw"}
    )
    unused: ClassVar[frozenset[str]] = frozenset({"mm_token_type_ids"})
    has_videos: ClassVar[bool] = True
    batched: ClassVar[bool] = False

    @property
    def merge(self) -> int:
        """Patches a side that become one token."""
        return int(self._vision.get("spatial_merge_size", 2))

    @property
    def placeholders(self) -> list[int]:
        """The placeholders of the features of images and of videos."""
        tokens = (token_of(self.config, "image"), token_of(self.config, "video"))
        return [token for token in tokens if token is not None]

    @property
    def _vision(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.config.get("vision_config", {})
        return found

    def pieces(self, images: Mapping[str, Array]) -> list[Piece]:
        """Cut the patches of all images and videos into those of each; older graphs call the grid `grid_thw`.

        Raises:
            ImageError: there are more patches than the grids say, or fewer.
        """
        pieces: list[Piece] = []
        for pixels, kind in (("pixel_values", "image_grid_thw"), ("pixel_values_videos", "video_grid_thw")):
            if pixels in images or kind in images:
                pieces += _cut(images[pixels], np.asarray(images[kind], np.int64), pixels, kind)
        return pieces

    def encoded(self, pieces: Sequence[Piece], images: Mapping[str, Array]) -> EncodedImages:
        """Put together the features of images and videos, and their grids."""
        grids = [np.asarray(images[name], np.int64) for name in ("image_grid_thw", "video_grid_thw") if name in images]
        videos = len(images.get("video_grid_thw", ()))
        return {
            "features": [piece["image_features"] for piece in pieces],
            "extra": {},
            "layout": {
                "grid_thw": np.concatenate(grids),
                "interval": np.concatenate([np.ones(len(pieces) - videos, np.float32), self.intervals(images)]),
                IS_VIDEO: np.arange(len(pieces)) >= len(pieces) - videos,
            },
        }

    def intervals(self, images: Mapping[str, Array]) -> Array:
        """Return how far apart in time the patches of each video are, float32 (videos,)."""
        return np.ones(len(images.get("video_grid_thw", ())), np.float32)

    def positions(self, rows: Sequence[Array], images: EncodedImages) -> Positions | None:
        """Compute the positions of prompts in time, height and width."""
        layout = images["layout"]
        grids = list(layout.get("grid_thw", np.zeros((0, 3), np.int64)))
        intervals = layout.get("interval", np.ones(0, np.float32)).tolist()
        found, shifts, start = [], [], 0
        for row in rows:
            marks = np.isin(row, self.placeholders)
            positions, shift, used = rope_positions(marks, grids[start:], self.merge, intervals[start:])
            start += used
            found.append(positions)
            shifts.append(shift)
        return Positions(found, np.array(shifts, np.int64))


def _cut(patches: Array, grids: Array, pixels: str, kind: str) -> list[Piece]:
    """Cut patches into those of each grid."""
    counts = grids.prod(axis=1)
    if counts.sum() != len(patches):
        raise ImageError(
            f"{pixels} has {len(patches)} patches, and {kind} says {counts.sum()}: pass both as the processor gave them"
        )
    return [
        {"pixel_values": patches[end - count : end], "image_grid_thw": grid[None], "grid_thw": grid[None]}
        for end, count, grid in zip(counts.cumsum(), counts, grids, strict=True)
    ]


class Qwen25VL(QwenVL):
    """Qwen2.5-VL: the times of a video's moments are real ones.

    `second_per_grid_ts` (videos,) says how many seconds a patch lasts, 1 by default.
    """

    inputs: ClassVar[frozenset[str]] = QwenVL.inputs | {"second_per_grid_ts"}

    def intervals(self, images: Mapping[str, Array]) -> Array:
        """Return how far apart in time the patches of each video are, float32 (videos,).

        Raises:
            ImageError: other seconds than videos.
        """
        count = len(images.get("video_grid_thw", ()))
        seconds = np.ravel(images.get("second_per_grid_ts", np.ones(count))).astype(np.float32)
        if len(seconds) != count:
            raise ImageError(f"second_per_grid_ts has {len(seconds)} numbers, and there are {count} videos")
        return np.float32(self._vision.get("tokens_per_second", 4)) * seconds


class Qwen3VL(QwenVL):
    """Qwen3-VL: features of some layers of the tower are added to the states of the decoder's first layers too.

    The moments of a video are entries of their own, as the text between them says at what time they are.
    """

    def encoded(self, pieces: Sequence[Piece], images: Mapping[str, Array]) -> EncodedImages:
        """Put together the features of images and moments, those for the decoder's layers, and the grids."""
        whole = super().encoded(pieces, images)
        moments = np.where(whole["layout"][IS_VIDEO], whole["layout"]["grid_thw"][:, 0], 1).tolist()
        layout = {name: np.repeat(values, moments, axis=0) for name, values in whole["layout"].items()}
        layout["grid_thw"][layout[IS_VIDEO], 0] = 1

        def split(values: Sequence[Array]) -> list[Array]:
            return [part for value, count in zip(values, moments, strict=True) for part in np.split(value, count)]

        deep = [piece["deepstack_features"] for piece in pieces if "deepstack_features" in piece]
        extra = {"deepstack_embeds": split(deep)} if deep else {}
        return {"features": split(whole["features"]), "extra": extra, "layout": layout}

    def extra(self, rows: Sequence[Array], images: EncodedImages) -> dict[str, TokenFeature]:
        """Lay the features for the decoder's layers where the placeholders are; zero elsewhere."""
        layers, width = self._deep
        parts = images["extra"].get("deepstack_embeds", [])
        features = np.concatenate(parts) if parts else np.zeros((0, layers, width), np.float32)
        values, start = [], 0
        for row in rows:
            marks = np.isin(row, self.placeholders)
            value = np.zeros((len(row), *features.shape[1:]), np.float32)
            end = start + int(marks.sum())
            value[marks] = features[start:end]
            values.append(value)
            start = end
        return {"deepstack_embeds": TokenFeature(values)}

    @property
    def _deep(self) -> tuple[int, int]:
        """How many layers get features, and their width."""
        return len(self._vision.get("deepstack_visual_indexes", ())), int(self._vision.get("out_hidden_size", 0))


def rope_positions(
    marks: Array, grids: Sequence[Array], merge: int, intervals: Sequence[float]
) -> tuple[Array, int, int]:
    """Compute the positions of a prompt's tokens.

    A text token is one further than what is before it in all three axes. The tokens of an image or a video at p have
    p + (time, row, column) of its grid, and the next text begins behind the largest of its rows and columns.

    Args:
        marks: bool (length,): where the prompt has placeholders of features.
        grids: patches of images and videos in time, height and width, in order; at least those of the prompt.
        merge: patches a side that become one token.
        intervals: how far apart in time the patches of each are; the time is rounded down.

    Returns:
        int64 (3, length), how much further than its place a generated token is, and how many grids the prompt has.

    Raises:
        ImageError: the placeholders are not as many as the grids say.
    """
    parts: list[Array] = []
    at = next_position = used = 0
    while at < len(marks):
        if not marks[at]:
            ends = np.flatnonzero(marks[at:])
            count = int(ends[0]) if len(ends) else len(marks) - at
            parts.append(np.repeat(np.arange(next_position, next_position + count)[None], 3, axis=0))
            next_position += count
        else:
            if used >= len(grids):
                raise ImageError("the prompt has tokens of more images than it was given")
            time, height, width = (int(side) for side in grids[used] // np.array([1, merge, merge]))
            count = time * height * width
            if not marks[at : at + count].all() or at + count > len(marks):
                raise ImageError(f"image {used + 1} of the prompt has not the {count} tokens that its grid says")
            places = np.indices((time, height, width)).reshape(3, -1)
            places[0] = places[0].astype(np.float32) * np.float32(intervals[used])
            parts.append(places + next_position)
            next_position += max(height, width)
            used += 1
        at += count
    positions = np.concatenate(parts, axis=1).astype(np.int64) if parts else np.zeros((3, 0), np.int64)
    return positions, int(positions.max(initial=-1)) + 1 - len(marks), used
