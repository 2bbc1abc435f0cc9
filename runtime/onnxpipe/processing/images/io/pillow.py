"""Import Pillow, in this one place, and list the formats that it may read here."""

from __future__ import annotations

import importlib
from contextlib import suppress
from functools import cache
from types import ModuleType

from onnxpipe.errors import MissingDependencyError

#: Name of a format -> the plugin module that reads it. All that cameras, phones, browsers and scanners write. Not EPS,
#: which runs a program, and none of the rare old formats, which nobody tests against hostile files.
_PLUGINS = {
    "JPEG": "Jpeg",
    "MPO": "Mpo",
    "PNG": "Png",
    "WEBP": "WebP",
    "GIF": "Gif",
    "BMP": "Bmp",
    "TIFF": "Tiff",
    "PPM": "Ppm",
    "AVIF": "Avif",
    "ICO": "Ico",
}
#: Formats of packages that a user may register with Pillow (pillow-heif).
_IF_REGISTERED = ("HEIF",)


def import_pillow() -> ModuleType:
    """Import the module `PIL.Image`.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise MissingDependencyError('images need Pillow; install it with: pip install "onnxpipe[vision]"') from error


def readable_formats() -> tuple[str, ...]:
    """List the formats that are read here, by Pillow's names, as far as this Pillow was built with them."""
    pillow = import_pillow()
    _import_plugins()
    return tuple(name for name in (*_PLUGINS, *_IF_REGISTERED) if name in pillow.OPEN)


@cache
def _import_plugins() -> None:
    for plugin in _PLUGINS.values():
        with suppress(ImportError):  # a Pillow that is older than the format
            importlib.import_module(f"PIL.{plugin}ImagePlugin")
