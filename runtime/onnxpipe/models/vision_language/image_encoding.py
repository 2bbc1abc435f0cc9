"""Encode the images and videos of prompts, for every model that sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxpipe.errors import ImageError
from onnxpipe.models.vision_encoder import VisionEncoder
from onnxpipe.models.vision_language.family import EncodedImages, Family
from onnxpipe.processing.arrays import to_array


class ImageEncodingMixin:
    """Adds `encode_images` to a model.

    Attributes:
        vision: encodes images.
        family: what is special about the model's family.
        image_token_id: the placeholder of an image's features in a prompt.
        video_token_id: that of a video's; None where the model has none of its own.
    """

    vision: VisionEncoder
    family: Family
    image_token_id: int
    video_token_id: int | None = None

    @property
    def placeholders(self) -> tuple[int, ...]:
        """The placeholders of features in a prompt: of images, and of videos if those have another."""
        return (self.image_token_id,) if self.video_token_id is None else (self.image_token_id, self.video_token_id)

    def encode_images(self, images: Mapping[str, Any]) -> EncodedImages:
        """Encode images and videos, or take them from the cache of those that were encoded lately.

        Args:
            images: what the processor made of them: `pixel_values`, and by family more; empty for none.

        Raises:
            ImageError: a part of it is missing, or of a size that the model does not take.
        """
        arrays = {name: to_array(images[name]) for name in self.family.inputs if images.get(name) is not None}
        if not arrays:
            return {"features": [], "extra": {}, "layout": {}}
        try:
            pieces = self.vision.encode(self.family.pieces(arrays))
        except KeyError as error:
            raise ImageError(f"images need {error.args[0]}= beside {', '.join(sorted(arrays))}") from None
        return self.family.encoded(pieces, arrays)
