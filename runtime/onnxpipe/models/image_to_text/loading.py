"""Load a model of image-to-text: its type tells which class it is."""

from __future__ import annotations

from onnxpipe.bundle import Bundle
from onnxpipe.models.base import Opener
from onnxpipe.models.image_to_text.model import ImageToText


def load_image_to_text_model(bundle: Bundle, opener: Opener, name_or_path: str) -> ImageToText:
    """Load the model of a bundle."""
    return ImageToText.load(bundle, opener, name_or_path)
