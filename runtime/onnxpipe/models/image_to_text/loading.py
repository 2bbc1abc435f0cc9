"""Load a model that writes about images, or answers questions about them: its type and its graphs tell which it is."""

from __future__ import annotations

from onnxpipe.bundle import Bundle
from onnxpipe.models.base import Model, Opener
from onnxpipe.models.encoder import EncoderModel
from onnxpipe.models.image_to_text.base import ImageToTextModel
from onnxpipe.models.image_to_text.model import ImageToText


def load_image_to_text_model(bundle: Bundle, opener: Opener, name_or_path: str) -> ImageToTextModel:
    """Load the model of a bundle for image-to-text."""
    if bundle.config.model_type == "git":
        from onnxpipe.models.vision_language.git import GitCaptioner

        return GitCaptioner.load(bundle, opener, name_or_path)
    if bundle.config.model_type == "blip":
        from onnxpipe.models.image_to_text.blip import BlipCaptioner

        return BlipCaptioner.load(bundle, opener, name_or_path)
    return ImageToText.load(bundle, opener, name_or_path)


def load_question_model(bundle: Bundle, opener: Opener, name_or_path: str) -> Model:
    """Load the model of a bundle for visual-question-answering: one graph of scores, or one that writes answers."""
    if "vision_encoder" in bundle.graphs:
        from onnxpipe.models.image_to_text.blip import BlipQuestions

        return BlipQuestions.load(bundle, opener, name_or_path)
    return EncoderModel.load(bundle, opener, name_or_path)
