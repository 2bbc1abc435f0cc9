"""Convert text to phonemes with eSpeak NG: an extra, `pip install "onnxpipe[phonemes]"`, of packages under the GPL."""

from __future__ import annotations

import re
import threading
from functools import cache
from typing import Any

from onnxpipe.errors import MissingDependencyError, UnsupportedError

_LOCK = threading.Lock()  # the library has one global state


def phonemes(text: str, language: str = "en-us") -> str:
    """Convert a text to the International Phonetic Alphabet, with stress marks and its punctuation.

    Args:
        text: the text.
        language: eSpeak NG's name of the language: "en-us", "en-gb", "es", "fr-fr", ...

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
            'this model reads phonemes: pip install "onnxpipe[phonemes]" (or pass phonemes)'
        ) from error
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    return phonemize


def romanize(text: str) -> str:
    """Convert a text to Latin letters with uroman (Hermjakob et al. 2018).

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
            "this model reads its language in Latin letters: pip install uroman (or pass a text in Latin letters)"
        ) from error
    return Uroman()
