"""Load a model that turns images into images: an image generator, or one that enlarges them."""

from __future__ import annotations

from onnxpipe.bundle import Bundle
from onnxpipe.bundle.diffusion_folder import denoiser_of
from onnxpipe.models.base import Model, Opener
from onnxpipe.models.diffusion.model import DiffusionModel
from onnxpipe.models.encoder import EncoderModel, check_outputs

#: What the graph of a model that enlarges images gives: the number of axes of each output.
ENLARGES = {"reconstruction": 4}
_TASK = "image-to-image"


def load_image_to_image_model(bundle: Bundle, opener: Opener, name_or_path: str) -> Model:
    """Load the model of a bundle: a `DiffusionModel` of a folder of components, else an `EncoderModel`.

    Raises:
        UnsupportedError: a graph without `reconstruction`.
    """
    if denoiser_of(bundle.graphs) is not None:
        return DiffusionModel.load(bundle, opener, name_or_path)
    model = EncoderModel.load(bundle, opener, name_or_path)
    check_outputs(model, ENLARGES, f"the task {_TASK!r}", _TASK)
    return model
