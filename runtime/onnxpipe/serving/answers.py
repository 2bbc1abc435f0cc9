"""Turn answers of pipelines into JSON, or into the bytes of a file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.errors import MissingDependencyError, UnsupportedError
from onnxpipe.processing.plain_values import png_of, to_plain

#: Formats of sound: libsndfile's name and subtype, and the content type.
AUDIO_FORMATS: Mapping[str, tuple[str, str, str]] = {
    "wav": ("WAV", "PCM_16", "audio/wav"),
    "flac": ("FLAC", "PCM_16", "audio/flac"),
    "mp3": ("MP3", "MPEG_LAYER_III", "audio/mpeg"),
    "opus": ("OGG", "OPUS", "audio/ogg"),
}


def plain_answer(value: Any) -> Any:
    """Convert an answer to dicts, lists, texts and numbers; images, masks and sound become PNGs and WAVs in base64."""
    return to_plain(value, _in_base64)


def _in_base64(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"audio", "sampling_rate"}:
        return {"audio": base64.b64encode(wav(value)).decode(), "sampling_rate": int(value["sampling_rate"])}
    data = value if isinstance(value, bytes) else png_of(value)  # bytes: an image that came with a chat
    return None if data is None else base64.b64encode(data).decode()


def pcm(samples: Any) -> bytes:
    """Encode samples as 16-bit little-endian."""
    scaled = np.clip(np.asarray(samples, np.float32).reshape(-1), -1, 1) * 32767
    return np.rint(scaled).astype("<i2").tobytes()


def wav(answer: Mapping[str, Any]) -> bytes:
    """Encode generated audio as a WAV file of one channel, 16 bits."""
    data, rate = pcm(answer["audio"]), int(answer["sampling_rate"])
    head = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = (1, 2), (1, 2), (rate, 4), (2 * rate, 4), (2, 2), (16, 2)
    return (
        head
        + b"".join(n.to_bytes(size, "little") for n, size in form)
        + b"data"
        + len(data).to_bytes(4, "little")
        + data
    )


def encode_audio(answer: Mapping[str, Any], name: str) -> tuple[bytes, str]:
    """Encode generated audio: its bytes and their content type.

    Args:
        answer: `{"audio", "sampling_rate"}`.
        name: "wav", "pcm", "flac", "mp3" or "opus".

    Raises:
        UnsupportedError: a format that is not written here.
        MissingDependencyError: it needs libsndfile, which is not installed.
    """
    if name == "wav":
        return wav(answer), "audio/wav"
    if name == "pcm":
        return pcm(answer["audio"]), "audio/pcm"
    if name not in AUDIO_FORMATS:
        raise UnsupportedError(f"response_format={name!r:.50}: choose one of pcm, {', '.join(AUDIO_FORMATS)}")
    try:
        import soundfile
    except ImportError as error:
        raise MissingDependencyError(f'{name} needs the extra audio: pip install "onnxpipe[audio]"') from error
    form, subtype, kind = AUDIO_FORMATS[name]
    if form not in soundfile.available_formats() or subtype not in soundfile.available_subtypes(form):
        raise UnsupportedError(f"response_format={name!r}: this machine's libsndfile does not write it; choose wav")
    buffer = io.BytesIO()
    try:
        soundfile.write(
            buffer, np.asarray(answer["audio"]).reshape(-1), int(answer["sampling_rate"]), subtype, format=form
        )
    except soundfile.LibsndfileError as error:
        raise UnsupportedError(f"response_format={name!r}: {error}; choose wav") from error
    return buffer.getvalue(), kind
