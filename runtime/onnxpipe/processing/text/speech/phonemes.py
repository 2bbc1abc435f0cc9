"""The tokenizer of Kokoro: one token per phoneme, and a padding token before and after.

Only the vocabulary of its tokenizer.json is used, as not every version of the tokenizers library can read the file.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.text.batch import ResolvedCall
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.inputs import as_batch
from onnxpipe.processing.text.speech.phonemizer import phonemes
from onnxpipe.processing.text.tokenizer import Tokenizer

#: First letter of a voice's name -> the language that is passed to eSpeak NG.
_LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}

#: eSpeak NG's signs -> the model's. (The model was trained on English phonemes from another dictionary.)
_SIGNS = str.maketrans({"r": "ɹ", "x": "k", "ɬ": "l", "ʲ": "j"})
_QUOTES = str.maketrans({"‘": "'", "’": "'", "«": "“", "»": "”"})


class PhonemeTokenizer(Tokenizer):
    """A tokenizer with a vocabulary of phonemes and punctuation; its texts are phonemes (see `pronounce`)."""

    def __init__(self, backend: Any, settings: TokenizerSettings | None = None, target: Any = None) -> None:
        from tokenizers.processors import TemplateProcessing

        super().__init__(backend, settings, target)
        edge = {"id": "edge", "ids": [self.pad_token_id], "tokens": [self.pad_token]}
        backend.post_processor = TemplateProcessing(single="edge $A edge", special_tokens=[edge])

    def _encode(
        self, text: Any, text_pair: Any, call: ResolvedCall, *, is_target: bool = False, language: str | None = None
    ) -> BatchEncoding:
        batched, texts = as_batch(text, text_pair, call.words)
        known = self._lock.backend.get_vocab()
        pieces = [[sign for sign in "".join(each) if sign in known] for each in texts]
        as_words = replace(call, words=True, split=True)
        return super()._encode(pieces if batched else pieces[0], None, as_words, is_target=is_target)


def language_of(voice: str) -> str:
    """Find the language of a voice, by eSpeak NG's name of it.

    Raises:
        UnsupportedError: eSpeak NG's phonemes for it are not the model's (Japanese, Mandarin), or it is unknown.
    """
    language = _LANGUAGES.get(voice[:1])
    if language is None or voice[1:2] not in ("f", "m"):
        raise UnsupportedError(
            f"the language of the voice {voice!r} is unknown, or eSpeak NG does not support it for this model: pass "
            "phonemes and preprocess_params={'is_phonemes': True}, or preprocess_params={'language': 'en-us'}"
        )
    return language


def pronounce(text: str, language: str) -> str:
    """Convert a text to phonemes in the model's notation.

    Args:
        text: the text.
        language: eSpeak NG's name of the language.

    Raises:
        MissingDependencyError, UnsupportedError: see `phonemes`.
    """
    ipa = phonemes(text.translate(_QUOTES), language)
    return re.sub(r" z(?=[;:,.!?¡¿—…\"«»“” ]|$)", "z", ipa.translate(_SIGNS)).strip()
