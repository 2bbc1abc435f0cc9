"""The processor of InternVL: the tokens of all tiles of an image between a start and an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.multimodal.placeholders import in_order
from onnxpipe.processing.multimodal.vision_language import VisionLanguageProcessor


class InternVLProcessor(VisionLanguageProcessor):
    """InternVL: texts are padded on the left, images cut into tiles."""

    text_defaults: ClassVar[Mapping[str, Any]] = {"padding_side": "left"}
    image_defaults: ClassVar[Mapping[str, Any]] = {"crop_to_patches": True}
    marker_role: ClassVar[str] = "context_image_token"
    feature_role: ClassVar[str] = "context_image_token"
    unused: ClassVar[frozenset[str]] = frozenset({"num_patches"})
    reserved: ClassVar[tuple[str, ...]] = ("<img>", "</img>")
    video_role: ClassVar[str | None] = "video_token"
    defaults: ClassVar[Mapping[str, Any]] = {
        "context_image_token": "<IMG_CONTEXT>",
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "video_token": "<video>",
        "image_seq_length": 256,
    }

    @classmethod
    def settings_of_model(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tokens of a tile."""
        return {"image_seq_length": model.get("image_seq_length")}

    def prompts(
        self, texts: list[str] | None, nested: Sequence[Sequence[Any]] | None, flat: Sequence[Any] | None
    ) -> list[str] | None:
        """Return the texts.

        Raises:
            UnsupportedError: there are none.
        """
        if texts is None:
            raise UnsupportedError("You have to specify text.")
        return texts

    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return the start, the tokens of the image's tiles, and the end."""
        tokens = self.image_token * (self.number("image_seq_length") * int(features["num_patches"][index]))
        return f"{self.token('start_image_token')}{tokens}{self.token('end_image_token')}"

    def video_replacement(self, features: BatchFeature, index: int) -> str:
        """Return a line for each frame: its number, and the tokens of a tile."""
        tokens = self.image_token * self.number("image_seq_length")
        framed = f"{self.token('start_image_token')}{tokens}{self.token('end_image_token')}"
        count = len(features["pixel_values_videos"][index])
        return "\n".join(f"Frame{number + 1}: {framed}" for number in range(count))

    def joined(self, texts: list[str], images: BatchFeature, videos: BatchFeature) -> BatchFeature:
        """Lay the tiles of images and the frames of videos one after the other, as the texts name them."""
        if not videos:
            return images
        assert self.video_token is not None
        clips = videos["pixel_values_videos"]
        tiles = np.split(images["pixel_values"], np.cumsum(images["num_patches"])[:-1]) if images else []
        rows = in_order(texts, {self.image_token: tiles, self.video_token: clips})
        parts = [part for row in rows for part in row]
        return BatchFeature({"pixel_values": np.concatenate(parts), "video_metadata": videos["video_metadata"]})

    def token_types(self, rows: Any) -> list[list[int]]:
        """Return 1 for tokens of images, their start and their end, and 0 for others."""
        tokens = (self.image_token, self.token("start_image_token"), self.token("end_image_token"))
        ids = [self.id_of(token) for token in tokens]
        return [np.isin(row, ids).astype(int).tolist() for row in rows]
