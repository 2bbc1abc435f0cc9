"""Load models that see images: their graphs tell whether they have an encoder of text."""

from __future__ import annotations

from onnxpipe.bundle import Bundle
from onnxpipe.models.base import Opener
from onnxpipe.models.causal_lm.model import CausalLM
from onnxpipe.models.generative import GenerativeModel
from onnxpipe.models.vision_encoder import GRAPH
from onnxpipe.models.vision_language.families import is_known
from onnxpipe.models.vision_language.model import VisionLanguageModel


def load_causal_model(bundle: Bundle, opener: Opener, name_or_path: str) -> CausalLM:
    """Load the causal language model of a bundle.

    The decoder of a vision-language model may take more than tokens (several positions each, their types), so it is
    loaded as what it is; its vision encoder stays closed until an image comes.
    """
    if bundle.config.model_type == "git":
        from onnxpipe.models.vision_language.git import GitCaptioner

        return GitCaptioner.load(bundle, opener, name_or_path)
    load = VisionLanguageModel.load if GRAPH in bundle.graphs and is_known(bundle.config) else CausalLM.load
    return load(bundle, opener, name_or_path)


def load_vision_language_model(bundle: Bundle, opener: Opener, name_or_path: str) -> GenerativeModel:
    """Load the model of a bundle for image-text-to-text."""
    if GRAPH in bundle.graphs and "encoder_model" in bundle.graphs:
        from onnxpipe.models.vision_language.encoder_decoder import VisionSeq2SeqLM

        return VisionSeq2SeqLM.load(bundle, opener, name_or_path)
    return VisionLanguageModel.load(bundle, opener, name_or_path)
