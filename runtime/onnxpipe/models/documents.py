"""Load a model of pages: one that answers questions about them, or labels their words."""

from __future__ import annotations

from onnxpipe.bundle import Bundle
from onnxpipe.models.base import Model, Opener
from onnxpipe.models.encoder import EncoderModel, check_outputs
from onnxpipe.models.image_to_text.loading import load_image_to_text_model

#: What the graph of a model that points at words gives: the number of axes of each output.
POINTS = {"start_logits": 2, "end_logits": 2}
_TASK = "document-question-answering"


def load_document_model(bundle: Bundle, opener: Opener, name_or_path: str) -> Model:
    """Load the model of a bundle: an `EncoderModel` with `start_logits` and `end_logits`, or Donut, which generates.

    Raises:
        UnsupportedError: a graph without these outputs.
    """
    if bundle.config.model_type == "vision-encoder-decoder":
        return load_image_to_text_model(bundle, opener, name_or_path)
    model = EncoderModel.load(bundle, opener, name_or_path)
    check_outputs(model, POINTS, f"the task {_TASK!r}", _TASK)
    return model


def load_detector(bundle: Bundle, opener: Opener, name_or_path: str) -> EncoderModel:
    """Load the model of a bundle for object-detection: it finds boxes, or labels words whose boxes it is given.

    Raises:
        UnsupportedError: a graph that does neither.
    """
    model = EncoderModel.load(bundle, opener, name_or_path)
    if "bbox" not in model.session.inputs:
        check_outputs(model, {"pred_boxes": 3}, "the task 'object-detection'", "object-detection")
    return model
