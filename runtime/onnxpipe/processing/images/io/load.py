"""Load an image from whatever names or holds it, as upright RGB.

The kinds of source and the messages are those of `transformers.image_utils.load_image`; bytes, `Path`s and arrays are
additions.
"""

from __future__ import annotations

import os
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import ImageError, ImageNotFoundError
from onnxpipe.processing.arrays import as_array
from onnxpipe.processing.data_urls import decode_base64, decode_data_url, is_data_url
from onnxpipe.processing.file_kinds import kind_of
from onnxpipe.processing.images.io.fetch import fetch
from onnxpipe.processing.images.io.grey import to_eight_bits
from onnxpipe.processing.images.io.pillow import import_pillow, readable_formats
from onnxpipe.processing.images.io.quiet import silent_pillow
from onnxpipe.processing.urls import is_url, without_secrets

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pixels that an image may have: the number above which Pillow itself refuses one.
MAX_PIXELS = 178_956_970

_ORIENTATION = 0x0112
#: EXIF orientation -> name of the transposition that undoes it. `PIL.ImageOps.exif_transpose` has the same table, but
#: it also rewrites the EXIF block, and it can raise on broken metadata, where the image itself can still be read.
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_BAD_STRING = (
    "Incorrect image source. Must be a valid URL starting with `http://` or `https://`, a valid path to an image file, "
    "or a base64 encoded string. Got {got}. Failed with {why}"
)
_BAD_TYPE = (
    "Incorrect format used for image. Should be an url linking to an image, a base64 string, a local path, or a PIL "
    "image. Bytes and arrays do as well. Got {got}"
)
#: Strings that are meant as a path, by their suffix.
_FILE_SUFFIX = re.compile(
    r"\.(jpe?g|jpe|jfif|mpo|png|apng|webp|gif|bmp|dib|tiff?|p[bgpn]m|avifs?|hei[cf]|ico|jp2|psd|svg|pdf|eps"
    r"|mp4|m4v|mov|mkv|webm|avi|mpe?g|wmv|flv)$",
    re.IGNORECASE,
)
#: Base64 has slashes too. A text of its letters alone, this long, is not taken for a path.
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{64,}={0,2}\s*")
#: Characters of the longest path (Linux's PATH_MAX).
_LONGEST_PATH = 4096


def load_image(source: Any, timeout: float | None = None, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Load an image as RGB, upright as its EXIF data says and without transparency; of an animation, the first frame.

    Grey images of more than 8 bits are scaled to 8 (`to_eight_bits`).

    Args:
        source: a path (str or `Path`), an http(s) URL, a data: URL, base64, the bytes of a file, a PIL
            image, or an array or tensor of shape (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels, holding
            bool, integers of 0–255 or floats of 0–1. Where both ends of a shape could be the channels, the last
            axis is.
        timeout: seconds for a URL; None for `fetch.DEFAULT_SECONDS`.
        max_pixels: largest width times height, as the file's header has them, that is decoded.

    Raises:
        ImageNotFoundError: a path at which there is no file, or a folder.
        ImageError: a string that is none of these, a file that is broken, too large or of another format, a URL
            that does not lead to an image (`fetch.fetch`), an array of another shape or range.
        TypeError: something else.
        MissingDependencyError: Pillow is not installed.
    """
    return _load(source, timeout, max_pixels, alpha=False)


def load_with_alpha(source: Any, timeout: float | None = None, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Load an image as `load_image` does, but as RGBA where it has transparency.

    Args and errors: see `load_image`.
    """
    return _load(source, timeout, max_pixels, alpha=True)


def _load(source: Any, timeout: float | None, max_pixels: int, *, alpha: bool) -> Image:
    pillow = import_pillow()
    if isinstance(source, pillow.Image):
        return _upright(source, "the PIL image", alpha)
    if isinstance(source, str):
        return _from_string(source, timeout, max_pixels, alpha)
    if isinstance(source, os.PathLike):
        return _decode(source, os.fspath(source), max_pixels, alpha)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(BytesIO(source), "the data", max_pixels, alpha)
    if (array := as_array(source)) is not None:
        return _converted(pillow.fromarray(_to_bytes(_channels_last(array))), alpha)
    raise TypeError(_BAD_TYPE.format(got=type(source).__name__))


def _from_string(source: str, timeout: float | None, max_pixels: int, alpha: bool) -> Image:
    if is_url(source):
        return _decode(BytesIO(fetch(source, timeout)), without_secrets(source), max_pixels, alpha)
    if os.path.isfile(source):  # noqa: PTH113  # any string may come, and Path.is_file raises on some
        return _decode(source, source, max_pixels, alpha)
    try:
        data = decode_data_url(source) if is_data_url(source) else decode_base64(source)
        return _decode(BytesIO(data), "the decoded string", max_pixels, alpha)
    except (ImageError, ValueError) as error:
        got = without_secrets(source) if "://" in source else source
        got = got if len(got) <= 200 else f"{got[:200]}… ({len(source)} characters)"
        message = _BAD_STRING.format(got=got, why=error)
        if missing := _missing_file(source, got):
            raise ImageNotFoundError(f"{message}; {missing}") from error
        raise ImageError(message) from error


def _missing_file(source: str, name: str) -> str | None:
    """Say that a string is the path of no file; None where it does not look like a path."""
    if os.path.isdir(source):  # noqa: PTH112  # see _from_string
        return f"{name} is a folder, not a file"
    if len(source) > _LONGEST_PATH or "://" in source or is_data_url(source):
        return None
    separated = "/" in source or os.sep in source
    if _FILE_SUFFIX.search(source) or (separated and not _BASE64.fullmatch(source)):
        return f"there is no such file: {name}"
    return None


def _decode(file: str | os.PathLike[str] | BytesIO, name: str, max_pixels: int, alpha: bool) -> Image:
    """Decode a file. Until its size is known to be allowed, only its header is read."""
    pillow = import_pillow()
    try:
        with silent_pillow(), pillow.open(file, formats=readable_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _too_large(name, f"{width}x{height} pixels", max_pixels)
            return _upright(image, name, alpha)
    except (ImageError, MemoryError):
        raise
    except pillow.DecompressionBombError as error:
        raise _too_large(name, "too many pixels", max_pixels) from error
    except FileNotFoundError as error:
        raise ImageNotFoundError(f"there is no such file: {name}") from error
    except IsADirectoryError as error:
        raise ImageNotFoundError(f"{name} is a folder, not a file") from error
    except PermissionError as error:
        raise ImageError(f"{name} could not be opened: {error.strerror}") from error
    except pillow.UnidentifiedImageError as error:
        raise ImageError(f"{name} is {_kind(file)}; pass one of {', '.join(readable_formats())}") from error
    except Exception as error:  # what Pillow raises on broken files is of a dozen types, none of its own
        raise _broken(name, error) from error


def _too_large(name: str, size: str, max_pixels: int) -> ImageError:
    return ImageError(
        f"{name} has {size}, more than the {max_pixels} allowed; make it smaller or pass a larger max_pixels="
    )


def _broken(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name} is a broken image: {error or type(error).__name__}")


def _kind(file: str | os.PathLike[str] | BytesIO) -> str:
    """Describe a file that Pillow cannot identify, by its first bytes."""
    if isinstance(file, BytesIO):
        head = file.getvalue()[:64]
    else:
        with open(file, "rb") as opened:  # noqa: PTH123  # a str or a path
            head = opened.read(64)
    if head[4:8] == b"ftyp":
        return "a HEIC image (which Pillow reads once pillow-heif is registered) or a video"
    return kind_of(head) or ("not an image of a format that is read here" if head else "empty")


def _upright(image: Image, name: str, alpha: bool) -> Image:
    """Return a copy of an image, upright, in RGB or, with `alpha` where it has transparency, RGBA."""
    pillow = import_pillow()
    try:
        with silent_pillow():
            image.load()
            turn = _UPRIGHT.get(_orientation(image))
            image = to_eight_bits(image)
            if turn:
                image = image.transpose(pillow.Transpose[turn])
            return _converted(image, alpha)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # see _decode
        raise _broken(name, error) from error


def _converted(image: Image, alpha: bool) -> Image:
    """Convert to RGB; what `info` says of a transparent colour is kept, as image processors act on it. Or to RGBA."""
    if alpha and image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours, without Pillow's warning that the transparency is lost
    return image.convert("RGB")


def _orientation(image: Image) -> Any:
    """Read the EXIF orientation: 1 where there is none, or where the metadata is broken, as the image may be whole."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # see _decode
        return 1


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """Bring an array to the shape (H, W), (H, W, 3) or (H, W, 4)."""
    counts = (1, 3, 4)
    if array.ndim == 3 and array.shape[-1] not in counts and array.shape[0] in counts:
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in counts)):
        raise ImageError(
            f"an image array must have the shape (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels; this one has "
            f"{array.shape}"
        )
    return array


def _to_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert values to contiguous bytes of 0–255."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    kind = array.dtype.kind
    top = {"b": 1, "f": 1, "i": 255, "u": 255}.get(kind)
    if top is None:
        raise ImageError(f"an image array must hold bool, integers or floats, not {array.dtype}")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= top):  # so that NaN is refused too
        raise ImageError(f"an image array of {array.dtype} must lie in 0–{top}; this one goes from {low} to {high}")
    scaled = array if kind in "iu" else np.rint(array.astype(np.float32) * 255)
    return np.ascontiguousarray(scaled, dtype=np.uint8)
