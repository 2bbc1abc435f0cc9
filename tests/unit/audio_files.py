"""Files of samples, for tests."""

from __future__ import annotations

from io import BytesIO
from typing import Any

RATE = 16_000


def wav(samples: Any, rate: int = RATE) -> bytes:
    """Write samples (n,) or (n, channels) as a WAV file of float32. Needs soundfile."""
    import soundfile

    buffer = BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()
