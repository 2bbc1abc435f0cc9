"""Encode the images of prompts, for every model that sees images."""

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
    """

    vision: VisionEncoder
    family: Family

    def encode_images(self, images: Mapping[str, Any]) -> EncodedImages:
        """Encode images, or take them from the cache of those that were encoded lately.

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
