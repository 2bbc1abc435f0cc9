"""Keep Pillow's warnings and libtiff's prints off the terminal: an image is read or refused, with an error of ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock
from typing import Any

from onnxpipe.processing.images.io.pillow import import_pillow

_lock = Lock()
_reading = 0
_silence = ExitStack()


@contextmanager
def silent_pillow() -> Iterator[None]:
    """Silence Pillow's warnings (broken metadata, many pixels) and what libtiff prints about broken files.

    Both are settings of the whole process, so threads that read at once share one change of them.
    """
    global _reading
    with _lock:
        _reading += 1
        if _reading == 1:
            _silence.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\b")
            _silence.enter_context(_without_prints())
    try:
        yield
    finally:
        with _lock:
            _reading -= 1
            if _reading == 0:
                _silence.close()


@contextmanager
def _without_prints() -> Iterator[None]:
    """Take away the functions that print libtiff's errors and warnings."""
    usual = [(setter, setter(None)) for setter in _libtiff_setters()]
    try:
        yield
    finally:
        for setter, printer in usual:
            setter(printer)


@cache
def _libtiff_setters() -> tuple[Any, ...]:
    """Find libtiff's own functions for it, in the library that Pillow uses; none where it is built into Pillow."""
    try:
        import ctypes

        library = ctypes.CDLL(import_pillow().core.__file__)
        setters = (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler)
    except (ImportError, OSError, AttributeError, TypeError):
        return ()
    for setter in setters:
        setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return setters
