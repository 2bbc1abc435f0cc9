"""Synthetic images of every kind that a pipeline may meet, the same pixels every time.

    from zoo.vision.images import NAMES, encoded, pil_image, write
    pil_image("palette")            # a PIL image, in the mode of its file: "P"
    encoded("exif 6")               # (bytes of a whole file, ".jpg")
    write("photo", folder)          # the path of that file

What is drawn is image-like: gradients, shapes with sharp edges, a texture and a little noise, so that resizing,
cropping and normalising all show in the result. `clip` makes videos of the same stuff. Needs numpy and Pillow, `clip`
also av.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Kind:
    """One synthetic image.

    Args:
        size: (width, height) in pixels, before the EXIF orientation is applied.
        mode: Pillow's mode of the file.
        format: Pillow's name of the file format.
        orientation: EXIF orientation 1–8, or None for a file without EXIF.
        transparent: a palette image has a transparent colour.
    """

    size: tuple[int, int]
    mode: str = "RGB"
    format: str = "PNG"
    orientation: int | None = None
    transparent: bool = False


KINDS: Mapping[str, Kind] = {
    "photo": Kind((64, 48)),
    "mate": Kind((64, 48)),
    "mate 2": Kind((64, 48)),
    "second": Kind((48, 64)),
    "third": Kind((57, 43)),
    "square": Kind((32, 32)),
    "odd": Kind((37, 53)),
    "wide": Kind((97, 41)),
    "large": Kind((211, 157)),
    "small": Kind((24, 20)),
    "smaller": Kind((16, 24)),
    "jpeg": Kind((75, 50), format="JPEG"),
    "webp": Kind((40, 44), format="WEBP"),
    "gif": Kind((33, 35), "P", format="GIF"),
    "bmp": Kind((31, 45), format="BMP"),
    "grey": Kind((45, 38), "L"),
    "grey alpha": Kind((39, 47), "LA"),
    "grey 16": Kind((43, 33), "I;16"),
    "bilevel": Kind((51, 36), "1"),
    "rgba": Kind((52, 39), "RGBA"),
    "palette": Kind((46, 54), "P"),
    "palette transparent": Kind((44, 37), "P", transparent=True),
    "cmyk": Kind((50, 42), "CMYK", format="JPEG"),
    "exif 2": Kind((41, 56), orientation=2),
    "exif 3": Kind((55, 40), "L", format="JPEG", orientation=3),
    "exif 4": Kind((55, 40), orientation=4),
    "exif 5": Kind((38, 59), orientation=5),
    "exif 6": Kind((60, 38), format="JPEG", orientation=6),
    "exif 7": Kind((59, 38), orientation=7),
    "exif 8": Kind((53, 44), orientation=8),
    "tiny grey": Kind((19, 17), "L"),
    "tiny rgba": Kind((17, 21), "RGBA"),
    "tiny palette": Kind((22, 18), "P"),
    "tiny exif": Kind((21, 15), orientation=6),
    "one": Kind((1, 1)),
    "one grey": Kind((1, 1), "L"),
    "long": Kind((400, 3)),
    "tall": Kind((2, 300)),
}
"""Name -> what it is. Small and few on purpose: every processor gets all of them."""

NAMES = tuple(KINDS)
ORDINARY = ("photo", "second", "third", "square")
"""Images without any trouble, of different sizes."""
SAME_SIZE = ("photo", "mate", "mate 2")
"""Images of one size, which transformers can put into one batch whatever the processor."""
SMALL = ("small", "smaller", "tiny grey", "tiny rgba", "tiny palette", "tiny exif")
"""Images for answers that are kept in files."""
ODD = tuple(name for name in KINDS if name not in {*ORDINARY, *SAME_SIZE, *SMALL, "large"})
"""Images with some trouble: a mode, an orientation, a size."""

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp"}


def pil_image(name: str) -> Image:
    """Open the image as Pillow opens its file: mode, palette and EXIF included."""
    from PIL import Image

    image = Image.open(io.BytesIO(encoded(name)[0]))
    image.load()
    return image


def pixels(name: str) -> np.ndarray:
    """uint8 (height, width, 3): the image turned as its EXIF says, in RGB; alpha is dropped, as transformers does."""
    from PIL import ImageOps

    return np.asarray(ImageOps.exif_transpose(pil_image(name)).convert("RGB"))


def write(name: str, folder: Path) -> Path:
    """Write the file of the image into `folder` if it is not there."""
    data, suffix = encoded(name)
    path = folder / f"{name.replace(' ', '-')}{suffix}"
    if not path.exists():
        path.write_bytes(data)
    return path


def as_base64(name: str, *, prefix: bool = False) -> str:
    """The file in base64, with `data:image/…;base64,` before it on request."""
    data, suffix = encoded(name)
    text = base64.b64encode(data).decode("ascii")
    return f"data:image/{suffix[1:]};base64,{text}" if prefix else text


def in_base64(array: np.ndarray) -> str:
    """uint8 (height, width[, channels]) as a PNG in base64, for files of recorded answers."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def from_base64(text: str) -> np.ndarray:
    """The array that `in_base64` was given."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


@cache
def encoded(name: str) -> tuple[bytes, str]:
    """The bytes of the whole file, and its suffix.

    Raises:
        KeyError: an unknown name.
    """
    kind = KINDS[name]
    image = _drawn(name, kind)
    options: dict[str, object] = {"quality": 90} if kind.format == "JPEG" else {}
    if kind.format == "WEBP":
        options["lossless"] = True
    if kind.transparent:
        options["transparency"] = 3
    if kind.orientation is not None:
        exif = image.getexif()
        exif[0x0112] = kind.orientation
        options["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, kind.format, **options)
    return buffer.getvalue(), _SUFFIXES[kind.format]


def _drawn(name: str, kind: Kind) -> Image:
    from PIL import Image

    width, height = kind.size
    rgb = scene(width, height, seed=name)
    if kind.mode == "I;16":
        return Image.fromarray(rgb[..., 0].astype(np.uint16) * 3 // 2)  # Pillow cuts what is above 255
    image = Image.fromarray(rgb)
    if kind.mode in ("RGBA", "LA"):
        alpha = Image.fromarray(scene(width, height, seed=f"{name}/alpha")[..., 1])
        image = image.convert(kind.mode)
        image.putalpha(alpha)
        return image
    if kind.mode == "P":
        return image.quantize(24, dither=Image.Dither.NONE)
    return image if kind.mode == "RGB" else image.convert(kind.mode)


def scene(width: int, height: int, *, seed: str, step: float = 0.0) -> np.ndarray:
    """uint8 (height, width, 3): a sky-like gradient, a disc, a box, a striped texture and noise, laid out by `seed`.

    Args:
        step: how far the shapes have moved, in parts of the image: the next frame of a video.
    """
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = (y + 0.5) / height, (x + 0.5) / width
    tilt, hue = rng.uniform(-1, 1, 3), rng.uniform(60, 200, 3)
    out = hue + 60 * (tilt * (x[..., None] - 0.5) + tilt[::-1] * (y[..., None] - 0.5))
    out += 18 * np.sin(2 * np.pi * (rng.integers(3, 9) * x + rng.integers(1, 6) * y))[..., None] * rng.uniform(0, 1, 3)
    for inside in _shapes(x, y, rng, step):
        out[inside] = rng.uniform(0, 255, 3)
    out += rng.normal(0, 6, (height, width, 3))
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _shapes(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, step: float) -> list[np.ndarray]:
    """Where a disc and a box lie: bool (height, width) each."""
    cx, cy, radius = rng.uniform([0.25, 0.25, 0.12], [0.75, 0.75, 0.3])
    left, top, width, height = rng.uniform([0.05, 0.05, 0.2, 0.2], [0.5, 0.5, 0.4, 0.4])
    disc = (x - cx - step) ** 2 + (y - cy - step / 2) ** 2 < radius**2
    box = (abs(x - left - width / 2 + step) < width / 2) & (abs(y - top - height / 2) < height / 2)
    return [disc, box]


def frames(name: str, count: int, size: tuple[int, int] = (48, 40)) -> np.ndarray:
    """uint8 (count, height, width, 3): shapes that move a little from frame to frame. `size` is (width, height)."""
    return np.stack([scene(*size, seed=f"video/{name}", step=0.02 * i) for i in range(count)])


def clip(name: str, folder: Path, count: int = 12, size: tuple[int, int] = (48, 40), rate: int = 10) -> Path:
    """A video file of `frames(name, count, size)` (MPEG-4 in .mp4, which is lossy), written once. Needs av."""
    path = folder / f"{name.replace(' ', '-')}-{count}-{size[0]}x{size[1]}.mp4"
    if not path.exists():
        draft = path.with_suffix(".part")
        _write_video(draft, frames(name, count, size), rate)
        draft.rename(path)
    return path


def _write_video(path: Path, images: np.ndarray, rate: int) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
