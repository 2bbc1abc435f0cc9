"""The tokenizer of SpeechT5: one token per character; spells numbers out if its configuration says so.

Source: `SpeechT5Tokenizer` of transformers 5.23.
"""

from __future__ import annotations

from typing import Any

from onnxpipe.processing.text.batch import ResolvedCall
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.inputs import as_batch
from onnxpipe.processing.text.speech.characters import decode_characters
from onnxpipe.processing.text.speech.number_words import spell_numbers
from onnxpipe.processing.text.tokenizer import Tokenizer


class SpeechT5Tokenizer(Tokenizer):
    """A tokenizer with a vocabulary of characters.

    Args:
        backend, settings, target: as in `Tokenizer`.

    Attributes:
        normalize: whether numbers are spelt out in English.
    """

    def __init__(self, backend: Any, settings: TokenizerSettings | None = None, target: Any = None) -> None:
        settings = TokenizerSettings() if settings is None else settings
        super().__init__(backend, settings, target)
        self.normalize = bool(settings.config.get("normalize", False))

    def prepare(self, text: str) -> str:
        """Prepare a text, whose characters then become tokens."""
        return spell_numbers(text) if self.normalize else text

    def convert_tokens_to_string(self, tokens: Any) -> str:
        """Join tokens to a text."""
        return "".join(tokens).replace("▁", " ").strip()

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """Decode token ids to a text; see `Tokenizer.decode`."""
        return decode_characters(self, token_ids, skip_special_tokens, clean_up_tokenization_spaces)

    def _encode(
        self, text: Any, text_pair: Any, call: ResolvedCall, *, is_target: bool = False, language: str | None = None
    ) -> BatchEncoding:
        as_batch(text, text_pair, call.words)  # checks the input before it is changed
        prepared = (self._prepared(text), self._prepared(text_pair))
        return super()._encode(*prepared, call, is_target=is_target, language=language)

    def _prepared(self, text: Any) -> Any:
        if isinstance(text, str):
            return self.prepare(text)
        return None if text is None else type(text)([self._prepared(each) for each in text])
