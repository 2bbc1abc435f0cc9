"""The tokenizer of Kokoro: a token a phoneme, a padding token before and after. Of its tokenizer.json, which not every
version of the tokenizers library reads, only the vocabulary is taken."""

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

#: First letter of a voice's name to the language that eSpeak NG is asked for.
_LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}

#: What eSpeak NG writes that the model knows by another sign. (The model learnt English from another dictionary.)
_SIGNS = str.maketrans({"r": "ɹ", "x": "k", "ɬ": "l", "ʲ": "j"})
_QUOTES = str.maketrans({"‘": "'", "’": "'", "«": "“", "»": "”"})


class PhonemeTokenizer(Tokenizer):
    """A vocabulary of phonemes and punctuation; texts are phonemes already (see `pronounce`)."""

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
    """The language of a voice, by eSpeak NG's name of it.

    Raises:
        UnsupportedError: it is one that eSpeak NG does not write as the model reads it (Japanese, Mandarin).
    """
    language = _LANGUAGES.get(voice[:1])
    if language is None or voice[1:2] not in ("f", "m"):
        raise UnsupportedError(
            f"the language of the voice {voice!r} is not known to be one that eSpeak NG can read for this model: pass "
            "phonemes and preprocess_params={'is_phonemes': True}, or preprocess_params={'language': 'en-us'}"
        )
    return language


def pronounce(text: str, language: str) -> str:
    """The phonemes of a text, as the model writes them.

    Args:
        text: the text.
        language: as eSpeak NG calls it.

    Raises:
        MissingDependencyError, UnsupportedError: see `phonemes`.
    """
    said = phonemes(text.translate(_QUOTES), language)
    return re.sub(r" z(?=[;:,.!?¡¿—…\"«»“” ]|$)", "z", said.translate(_SIGNS)).strip()
