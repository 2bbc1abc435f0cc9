"""Images, recordings and videos, read from bytes."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.mutate import mutate_bytes
from fuzz.target import MIB, Target
from onnxpipe.errors import AudioError, ImageError
from onnxpipe.processing.audio.io.load import load_audio
from onnxpipe.processing.images.io.load import load_image
from onnxpipe.processing.video.read import read_frames

_RATE = 16_000


def _written(write: Callable[[BytesIO], object]) -> bytes:
    buffer = BytesIO()
    write(buffer)
    return buffer.getvalue()


def _images() -> list[bytes]:
    from PIL import Image

    random = np.random.default_rng(0)
    colours = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
    grey = Image.fromarray(random.integers(0, 65_536, (12, 16), np.uint16))
    palette = colours.convert("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[Any, str, dict[str, Any]]] = [
        (colours, "PNG", {}), (grey, "PNG", {}), (palette, "PNG", {"transparency": bytes(range(16))}),
        (colours.convert("RGBA"), "PNG", {}), (colours, "JPEG", {"exif": exif}), (colours.convert("CMYK"), "JPEG", {}),
        (palette, "GIF", {"save_all": True, "append_images": [palette]}), (colours, "WEBP", {}), (colours, "TIFF", {}),
        (grey, "TIFF", {}), (colours, "TIFF", {"compression": "tiff_lzw"}), (colours, "BMP", {}), (colours, "PPM", {}),
        (colours, "ICO", {}), (colours.convert("1"), "TIFF", {"compression": "group4"}),
    ]  # fmt: skip
    return [_written(lambda file, kind=kind: kind[0].save(file, kind[1], **kind[2])) for kind in kinds]


def _read_image(data: bytes, folder: Path) -> None:
    image = load_image(data)
    assert image.mode == "RGB"
    assert min(image.size) > 0


def _film(format: str, codec: str | None, audio: str | None) -> bytes:
    """Encode eight small frames, half a second of noise, or both."""
    import av

    buffer = BytesIO()
    with av.open(buffer, "w", format=format) as container:
        random = np.random.default_rng(0)
        picture: Any = container.add_stream(codec, rate=10) if codec else None
        track: Any = container.add_stream(audio, rate=_RATE, layout="mono") if audio else None
        if picture is not None:
            picture.width = picture.height = 32
            picture.pix_fmt = "yuv420p"
            for _ in range(8):
                frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (32, 32, 3), np.uint8), format="rgb24")
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        if track is not None:
            samples = (random.standard_normal((1, _RATE // 2)) * 3000).astype(np.int16)
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate = _RATE
            container.mux(track.encode(sound))
            container.mux(track.encode(None))
    return buffer.getvalue()


def _recordings() -> list[bytes]:
    import soundfile

    samples = (np.random.default_rng(0).standard_normal(1600) * 0.1).astype(np.float32)
    kinds: list[tuple[str, str | None]] = [
        ("WAV", None), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("FLAC", None), ("OGG", None), ("OGG", "OPUS"),
        ("MP3", None), ("AIFF", None), ("AU", None), ("CAF", None), ("W64", None),
    ]  # fmt: skip
    stereo = np.stack([samples, -samples], axis=1)
    files = [
        _written(lambda file, kind=kind: soundfile.write(file, stereo, _RATE, format=kind[0], subtype=kind[1]))
        for kind in kinds
    ]
    return [*files, _film("mp4", None, "aac"), _film("matroska", None, "libopus")]


def _read_recording(data: bytes, folder: Path) -> None:
    samples = load_audio(data, _RATE, max_samples=1 << 26)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()


def _videos() -> list[bytes]:
    kinds = (
        ("mp4", "mpeg4", None),
        ("matroska", "mpeg4", "pcm_s16le"),
        ("avi", "mpeg4", None),
        ("mov", "mpeg4", "aac"),
    )
    return [_film(*kind) for kind in kinds]


def _read_video(data: bytes, folder: Path) -> None:
    frames = read_frames(data, 4, allow_fewer=True)
    assert frames.dtype == np.uint8
    assert frames.shape[-1] == 3


# An image of the most pixels that are allowed takes a few copies of half a GB.
IMAGES = Target("images", _images, mutate_bytes, _read_image, (ImageError,), count=600, memory=3072 * MIB)
AUDIO = Target("audio", _recordings, mutate_bytes, _read_recording, (AudioError,), count=400, memory=2048 * MIB)
VIDEO = Target("video", _videos, mutate_bytes, _read_video, (ImageError,), count=200, memory=2048 * MIB)
