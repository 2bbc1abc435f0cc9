"""The one place where Pillow is imported, and the formats that it may read here."""

from __future__ import annotations

import importlib
from contextlib import suppress
from functools import cache
from types import ModuleType

from onnxpipe.errors import MissingDependencyError

#: Name of a format -> the plugin module that reads it. All that cameras, phones, browsers and scanners write; no
#: formats that run a program (EPS), and none of the rare old ones, which nobody tests against hostile files.
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
#: Formats of packages that add themselves to Pillow when their user asks them to (pillow-heif).
_IF_REGISTERED = ("HEIF",)


def import_pillow() -> ModuleType:
    """The module `PIL.Image`.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise MissingDependencyError('images need Pillow; install it with: pip install "onnxpipe[vision]"') from error


def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read here, as far as this Pillow was built with them."""
    pillow = import_pillow()
    _import_plugins()
    return tuple(name for name in (*_PLUGINS, *_IF_REGISTERED) if name in pillow.OPEN)


@cache
def _import_plugins() -> None:
    for plugin in _PLUGINS.values():
        with suppress(ImportError):  # a Pillow that is older than the format
            importlib.import_module(f"PIL.{plugin}ImagePlugin")
