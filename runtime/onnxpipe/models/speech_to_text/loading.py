"""Models that write what is said: a score a frame and token, or a decoder that writes."""

from __future__ import annotations

from abc import ABC

from onnxpipe.bundle import Bundle
from onnxpipe.models.base import Model, Opener
from onnxpipe.models.speech_to_text.ctc import CTCModel


class SpeechRecogniser(ABC):  # noqa: B024 - it is never made: it says what a recogniser is
    """What opens a recogniser, of whichever kind the bundle's graphs are; both kinds are virtual subclasses of it."""

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Model:
        """The model of a bundle: with the graph "encoder_model" an encoder-decoder, else of one graph."""
        if "encoder_model" not in bundle.graphs:
            return CTCModel.load(bundle, opener, name_or_path)
        from onnxpipe.models.speech_to_text.speech_seq2seq import SpeechSeq2Seq
        from onnxpipe.models.speech_to_text.whisper import Whisper

        kind = Whisper if bundle.config.model_type == "whisper" else SpeechSeq2Seq
        SpeechRecogniser.register(kind)
        return kind.load(bundle, opener, name_or_path)


SpeechRecogniser.register(CTCModel)
