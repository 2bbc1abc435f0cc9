"""Text to phonemes, by eSpeak NG: an extra, `pip install "onnxpipe[phonemes]"`, whose packages are under the GPL."""

from __future__ import annotations

import re
import threading
from functools import cache
from typing import Any

from onnxpipe.errors import MissingDependencyError, UnsupportedError

_LOCK = threading.Lock()  # the library has one state


def phonemes(text: str, language: str = "en-us") -> str:
    """The text in the International Phonetic Alphabet, with stress marks and its punctuation.

    Args:
        text: the text.
        language: as eSpeak NG calls it: "en-us", "en-gb", "es", "fr-fr", ...

    Raises:
        MissingDependencyError: the extra is not installed.
        UnsupportedError: eSpeak NG does not know the language.
    """
    with _LOCK:
        phonemize = _phonemizer()
        try:
            found = phonemize(
                text, language=language, backend="espeak", strip=True, preserve_punctuation=True, with_stress=True
            )
        except RuntimeError as error:
            raise UnsupportedError(f"language={language!r}: {error}") from error
    return re.sub(r"\s+", " ", str(found))


@cache
def _phonemizer() -> Any:
    try:
        import espeakng_loader
        from phonemizer import phonemize
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise MissingDependencyError(
            'this model reads phonemes: pip install "onnxpipe[phonemes]" (or give it phonemes)'
        ) from error
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    return phonemize


def romanize(text: str) -> str:
    """The text in Latin letters, by uroman (Hermjakob et al. 2018).

    Raises:
        MissingDependencyError: uroman is not installed.
    """
    return str(_uroman().romanize_string(text))


@cache
def _uroman() -> Any:
    try:
        from uroman import Uroman
    except ImportError as error:
        raise MissingDependencyError(
            "this model reads its language in Latin letters: pip install uroman (or give it such a text)"
        ) from error
    return Uroman()
