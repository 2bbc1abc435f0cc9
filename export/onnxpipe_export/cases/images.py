"""Images that a graph is verified with: synthetic ones in any size, and the user's own.

A synthetic image is like a photograph in what matters here: large smooth parts, sharp edges, a fine texture, and noise
whose strength falls with its frequency (1/f), as natural scenes have it (Field 1987, "Relations between the statistics
of natural images and the response properties of cortical cells").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe_export.cases.common import calibration_files, prepare_each

Size = tuple[int, int]
"""(height, width) in pixels."""

_SEED = 7
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".avif"})
_MOST = 256
"""The most images used of a folder; of more, some are taken that are spread over the names."""


def synthetic_image(number: int, size: Size) -> np.ndarray:
    """Make the synthetic image with this number, uint8 (height, width, 3); the same every time."""
    generator = np.random.default_rng((_SEED, number))
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = y / max(height - 1, 1), x / max(width - 1, 1)
    image = _gradient(generator, y, x)
    for _ in range(int(generator.integers(3, 7))):
        shape = _shape(generator, y, x)
        colour = generator.uniform(0, 1, 3)
        image = np.where(shape[..., None], 0.75 * colour + 0.25 * image, image)
    image += generator.uniform(0.05, 0.2) * _stripes(generator, y, x)[..., None] * _shape(generator, y, x)[..., None]
    image += generator.uniform(0.05, 0.25) * _natural_noise(generator, size)
    return np.asarray(np.round(np.clip(image, 0, 1) * 255), np.uint8)


def synthetic_video(number: int, count: int, size: Size) -> np.ndarray:
    """Make a synthetic video, uint8 (count, height, width, 3): a camera that moves over a synthetic image."""
    height, width = size
    room = max(count, height // 4)
    whole = synthetic_image(number, (height + room, width + room))
    places = [(frame * room // max(count, 1), (count - frame) * room // max(2 * count, 1)) for frame in range(count)]
    return np.stack([whole[top : top + height, left : left + width] for top, left in places])


def pixels(images: np.ndarray, preprocessor: Mapping[str, Any]) -> np.ndarray:
    """Scale and normalise uint8 (..., height, width, 3) to a model's input, float32 (..., 3, height, width).

    Args:
        images: images or videos.
        preprocessor: the processor's configuration: rescale_factor, image_mean, image_std, and whether they are used.
    """
    value = images.astype(np.float64)
    if preprocessor.get("do_rescale", True):
        value = value * preprocessor.get("rescale_factor", 1 / 255)
        if preprocessor.get("rescale_offset") or preprocessor.get("offset"):
            value = value - 1
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    if preprocessor.get("do_normalize", mean is not None) and mean is not None and std is not None:
        value = (value - np.asarray(mean, np.float64)) / np.asarray(std, np.float64)
    if preprocessor.get("do_flip_channel_order"):
        value = value[..., ::-1]
    return np.ascontiguousarray(np.moveaxis(value, -1, -3), np.float32)


def user_images(folder: Path, checkpoint: Any) -> Iterator[dict[str, np.ndarray]]:
    """Prepare each image of `folder` with the bundle's own processor: feeds of one row.

    Raises:
        ExportError: there is no such folder, no image in it, or one that cannot be read.
    """
    from onnxpipe.processing.auto import AutoImageProcessor
    from onnxpipe.processing.images.io.load import load_image

    paths = image_files(folder)
    processor = AutoImageProcessor.from_pretrained(str(checkpoint.folder))
    yield from prepare_each(paths, lambda path: dict(processor(load_image(path), return_tensors="np")), "image")


def image_files(folder: Path) -> list[Path]:
    """List the images of a folder and its subfolders, by their names' endings; at most 256, spread over the names.

    Raises:
        ExportError: there is no such folder, or no image in it.
    """
    return calibration_files(folder, "image", _SUFFIXES, _MOST)


def _gradient(generator: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Blend between a colour at each corner."""
    corners = generator.uniform(0.05, 0.95, (2, 2, 3))
    top = corners[0, 0] * (1 - x)[..., None] + corners[0, 1] * x[..., None]
    bottom = corners[1, 0] * (1 - x)[..., None] + corners[1, 1] * x[..., None]
    return np.asarray(top * (1 - y)[..., None] + bottom * y[..., None])


def _shape(generator: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Draw a rotated ellipse or rectangle: bool (height, width), True inside."""
    centre_y, centre_x, angle = generator.uniform(0.1, 0.9), generator.uniform(0.1, 0.9), generator.uniform(0, np.pi)
    a, b = generator.uniform(0.08, 0.4, 2)
    u = (np.cos(angle) * (x - centre_x) + np.sin(angle) * (y - centre_y)) / a
    v = (-np.sin(angle) * (x - centre_x) + np.cos(angle) * (y - centre_y)) / b
    inside = u**2 + v**2 < 1 if generator.random() < 0.5 else np.maximum(np.abs(u), np.abs(v)) < 1
    return np.asarray(inside)


def _stripes(generator: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    angle, waves = generator.uniform(0, np.pi), generator.uniform(4, 16)
    return np.asarray(np.sin(2 * np.pi * waves * (np.cos(angle) * x + np.sin(angle) * y)))


def _natural_noise(generator: np.random.Generator, size: Size) -> np.ndarray:
    """Make noise with a spectrum of 1/f, standard deviation 1, (height, width, 3)."""
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    white = np.fft.rfft2(generator.standard_normal((3, height, width)))
    noise = np.fft.irfft2(white / np.maximum(frequency, 1 / max(size)), s=size)
    scale = noise.std() or 1.0
    return np.asarray(np.moveaxis(noise / scale, 0, -1))
