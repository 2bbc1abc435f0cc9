"""Speech to tokens by Whisper: what transformers' `WhisperGenerationMixin` does around the decoding loop."""

from onnxpipe.generation.whisper.protocols import Features, Heard, Listener
from onnxpipe.generation.whisper.recordings import Recordings
from onnxpipe.generation.whisper.settings import Asked, Settings
from onnxpipe.generation.whisper.start import detect_language
from onnxpipe.generation.whisper.transcribe import Watch, transcribe
from onnxpipe.generation.whisper.writing import Extras

__all__ = [
    "Asked",
    "Extras",
    "Features",
    "Heard",
    "Listener",
    "Recordings",
    "Settings",
    "Watch",
    "detect_language",
    "transcribe",
]
