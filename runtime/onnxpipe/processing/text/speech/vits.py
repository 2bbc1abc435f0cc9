"""The tokenizer of VITS and MMS-TTS: one token per character (or phoneme), with blanks in between.

Source: `VitsTokenizer` of transformers 5.23.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxpipe.processing.text.batch import ResolvedCall
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.inputs import as_batch
from onnxpipe.processing.text.speech.characters import decode_characters
from onnxpipe.processing.text.speech.phonemizer import phonemes, romanize
from onnxpipe.processing.text.tokenizer import Tokenizer


class VitsTokenizer(Tokenizer):
    """A tokenizer with a vocabulary of characters.

    Args:
        backend, settings, target: as in `Tokenizer`.

    Attributes:
        language: the code of the language.
        add_blank: whether the token 0 is put around every character.
        normalize: whether to lower-case a text, and remove characters that the vocabulary lacks.
        phonemize: whether texts are converted to English phonemes.
        is_uroman: whether texts that are not in Latin letters are converted to Latin letters.
    """

    def __init__(self, backend: Any, settings: TokenizerSettings | None = None, target: Any = None) -> None:
        settings = TokenizerSettings() if settings is None else settings
        super().__init__(backend, settings, target)
        config = settings.config
        self.language: str | None = config.get("language")
        self.add_blank = bool(config.get("add_blank", True))
        self.normalize = bool(config.get("normalize", True))
        self.phonemize = bool(config.get("phonemize", True))
        self.is_uroman = bool(config.get("is_uroman", False))

    @cached_property
    def _characters(self) -> dict[str, int]:
        """The vocabulary in the order of its ids, without added tokens."""
        ids = self._lock.backend.get_vocab(with_added_tokens=False)
        return dict(sorted(ids.items(), key=lambda item: item[1]))

    @cached_property
    def _lowering(self) -> re.Pattern[str]:
        """Matches text that keeps its case (group 1) or is lower-cased (group 2)."""
        kept = [token for token in (*self._characters, *self.all_special_tokens) if token]
        return re.compile(f"({'|'.join(map(re.escape, kept))})|(.)", re.DOTALL)

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        """Matches special tokens, which get no blanks around them."""
        tokens = sorted(filter(None, self.all_special_tokens), key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, tokens))})" if tokens else r"(?!)()")

    def prepare(self, text: str) -> str:
        """Prepare a text, whose characters then become tokens.

        Raises:
            MissingDependencyError: phonemes or Latin letters are needed, and the package for them is not installed.
        """
        if self.normalize:
            text = self._lowering.sub(lambda match: match[1] or match[2].lower(), text)
        if self.language == "ron":
            text = text.replace("ț", "ţ")
        if self.is_uroman and not text.isascii():
            text = romanize(text)
        if self.phonemize:
            return phonemes(text)
        if self.normalize:
            text = "".join(letter for letter in text if letter in self._characters).strip()
        return text

    def _pieces(self, text: str) -> list[str]:
        """Split a text into tokens."""
        found: list[str] = []
        blank = next(iter(self._characters), "")
        for number, part in enumerate(self._whole.split(self.prepare(text))):
            if number % 2:
                found.append(part)
            elif part and self.add_blank:
                found += [blank, *(token for letter in part for token in (letter, blank))]
            else:
                found += part
        return found

    def _encode(
        self, text: Any, text_pair: Any, call: ResolvedCall, *, is_target: bool = False, language: str | None = None
    ) -> BatchEncoding:
        batched, texts = as_batch(text, text_pair, call.words)
        if call.words:
            texts = [" ".join(words) for words in texts]
        pairs = [each if isinstance(each, tuple) else (each,) for each in texts]
        pieces = [[piece for part in pair for piece in self._pieces(part)] for pair in pairs]
        as_words = replace(call, words=True, split=True)
        return super()._encode(pieces if batched else pieces[0], None, as_words, is_target=is_target)

    def convert_tokens_to_string(self, tokens: Any) -> str:
        """Join tokens to a text, without the blanks."""
        tokens = list(tokens)
        return "".join(tokens[1::2] if self.add_blank and len(tokens) > 1 else tokens)

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """Decode token ids to a text, without the blanks; see `Tokenizer.decode`."""
        return decode_characters(self, token_ids, skip_special_tokens, clean_up_tokenization_spaces)

    def save_pretrained(self, save_directory: Any) -> tuple[str, ...]:
        """Write the tokenizer to a folder, with `vocab.json`; return the paths of the files."""
        paths = super().save_pretrained(save_directory)
        path = Path(save_directory) / "vocab.json"
        path.write_text(json.dumps(self._characters, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return (*paths, str(path))
