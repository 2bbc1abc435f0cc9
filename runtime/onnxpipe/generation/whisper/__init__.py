"""Transcribe speech with Whisper: transformers' `WhisperGenerationMixin`, around the decoding loop."""

from onnxpipe.generation.whisper.decoding import Extras
from onnxpipe.generation.whisper.prompt import detect_language
from onnxpipe.generation.whisper.protocols import EncoderOutput, Features, WhisperModel
from onnxpipe.generation.whisper.recordings import Recordings
from onnxpipe.generation.whisper.settings import WhisperArguments, WhisperSettings
from onnxpipe.generation.whisper.transcribe import ProgressCallbacks, transcribe

__all__ = [
    "EncoderOutput",
    "Extras",
    "Features",
    "ProgressCallbacks",
    "Recordings",
    "WhisperArguments",
    "WhisperModel",
    "WhisperSettings",
    "detect_language",
    "transcribe",
]
