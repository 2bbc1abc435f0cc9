"""faster-whisper in int8, on the model that CTranslate2's converter makes."""

from __future__ import annotations

from typing import Any

from perf.peers.ctranslate2 import convert as convert

NAME, PACKAGE = "faster-whisper", "faster_whisper"
ENVIRONMENT = "ctranslate2"


def transcribe(model: str, precision: str, threads: int) -> dict[str, Any]:
    """A recording, float32 at 16 kHz in a file of numpy's, to its text."""
    import numpy as np
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type=precision, cpu_threads=threads)
    settings = {"temperature": 0.0, "language": "en", "without_timestamps": True, "condition_on_previous_text": False}

    def call(path: str, beams: int) -> str:
        segments, _ = whisper.transcribe(np.load(path), beam_size=beams, **settings)
        return "".join(segment.text for segment in segments)

    return {"call": call}
