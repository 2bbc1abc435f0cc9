"""Load a model that answers questions about pages: its type tells whether it points at words or writes."""

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
