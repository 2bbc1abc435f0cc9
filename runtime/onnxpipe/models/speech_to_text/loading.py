"""Load a model of automatic speech recognition: which class it is, its graphs and its type tell."""

from __future__ import annotations

from onnxpipe.bundle import Bundle
from onnxpipe.models.base import Opener
from onnxpipe.models.speech_to_text.base import SpeechToTextModel
from onnxpipe.models.speech_to_text.ctc import CTCModel


def load_speech_model(bundle: Bundle, opener: Opener, name_or_path: str) -> SpeechToTextModel:
    """Load the model of a bundle: an encoder-decoder if it has the graph "encoder_model", else a CTC model."""
    if "encoder_model" not in bundle.graphs:
        return CTCModel.load(bundle, opener, name_or_path)
    # imported here, as a CTC model needs none of generation
    from onnxpipe.models.speech_to_text.speech_seq2seq import SpeechSeq2Seq
    from onnxpipe.models.speech_to_text.whisper import Whisper

    model_class = Whisper if bundle.config.model_type == "whisper" else SpeechSeq2Seq
    return model_class.load(bundle, opener, name_or_path)
