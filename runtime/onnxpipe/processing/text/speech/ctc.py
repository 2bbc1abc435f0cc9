"""The tokenizers of CTC models: decode the tokens of frames to text, characters and words.

Source: `Wav2Vec2CTCTokenizer` and `ParakeetTokenizer` of transformers 5.23.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from onnxpipe.processing.model_output import ModelOutput
from onnxpipe.processing.text.backend_lock import BackendLock
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.speech import ctc_offsets as ctc
from onnxpipe.processing.text.speech.ctc_vocabulary import build
from onnxpipe.processing.text.tokenizer import Tokenizer

_SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


class Wav2Vec2CTCTokenizer(Tokenizer):
    """A tokenizer with a vocabulary of characters, or with one vocabulary per language.

    Args:
        backend, settings, target: as in `Tokenizer`; `settings.vocabularies` has the vocabularies by language.

    Attributes:
        word_delimiter_token: the token between words.
        replace_word_delimiter_char: the character that replaces it in a text.
        do_lower_case: whether texts are in lower case, and the vocabulary in capitals.
        target_lang: the language whose vocabulary is in use; None where there is one vocabulary.
    """

    word_delimiter_token: str

    def __init__(self, backend: Any, settings: TokenizerSettings | None = None, target: Any = None) -> None:
        settings = TokenizerSettings() if settings is None else settings
        super().__init__(backend, settings, target)
        config = settings.config
        self.replace_word_delimiter_char = str(config.get("replace_word_delimiter_char", " "))
        self.do_lower_case = bool(config.get("do_lower_case", False))
        self.target_lang: str | None = config.get("target_lang")
        self._vocabularies = settings.vocabularies
        self._own = self._own_vocabulary()

    def _own_vocabulary(self) -> dict[int, str]:
        """Build the table of tokens by id; other ids are unknown, unless tokens were added."""
        return {i: token for token, i in self._lock.backend.get_vocab(with_added_tokens=True).items()}

    def set_target_lang(self, target_lang: str) -> None:
        """Switch to the vocabulary of another language.

        Raises:
            ValueError: there is only one vocabulary, or none for that language.
        """
        if not self._vocabularies:
            raise ValueError("this tokenizer has one vocabulary, not one per language: its language cannot be set")
        if target_lang not in self._vocabularies:
            raise ValueError(f"{target_lang} does not exist. Choose one of {', '.join(self._vocabularies)}.")
        self.target_lang = target_lang
        vocabulary = self._vocabularies[target_lang]
        self._lock = BackendLock(build(vocabulary, self._named, lower=self.do_lower_case))
        self._target = self._decoder = self._lock
        self._own = self._own_vocabulary()

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Look up the token of an id, or of each id; the unknown token for ids beyond the vocabulary."""
        if isinstance(ids, int):
            return self._own.get(ids, self.unk_token)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._own.get(int(i), self.unk_token) for i in ids if int(i) not in skipped]

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
    ) -> Any:
        """Decode the best token of every frame to a text; a batch of rows to a list.

        Args:
            token_ids: ids, one per frame.
            skip_special_tokens: leave out special tokens, except the one between words; the blank is always left out.
            clean_up_tokenization_spaces: remove spaces before punctuation; None for the tokenizer's default.
            output_char_offsets, output_word_offsets: return the frames of characters and of words too: `text`,
                `char_offsets`, `word_offsets`.
            group_tokens: merge equal neighbours to one character.
            spaces_between_special_tokens: put spaces between all characters.
        """
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        if isinstance(ids, (list, tuple)) and ids and hasattr(ids[0], "__len__"):
            return self.batch_decode(
                ids, skip_special_tokens, clean_up_tokenization_spaces, output_char_offsets, output_word_offsets,
                group_tokens, spaces_between_special_tokens,
            )  # fmt: skip
        tokens = self.convert_ids_to_tokens([ids] if isinstance(ids, int) else ids)
        if skip_special_tokens:
            special = set(self.all_special_tokens) - {self.word_delimiter_token}
            tokens = [token for token in tokens if token not in special]
        spans = [
            span._replace(text=self.replace_word_delimiter_char) if span.text == self.word_delimiter_token else span
            for span in ctc.characters(tokens, self.pad_token, group=group_tokens)
        ]
        text = (" " if spaces_between_special_tokens else "").join(span.text for span in spans).strip()
        text = text.lower() if self.do_lower_case else text
        clean = clean_up_tokenization_spaces
        if self.clean_up_tokenization_spaces if clean is None else clean:
            for spaced in _SPACED:
                text = text.replace(spaced, spaced.strip())
        if not (output_char_offsets or output_word_offsets):
            return text
        found: dict[str, Any] = {"text": text}
        if output_char_offsets or not tokens:  # without frames transformers returns both
            found["char_offsets"] = ctc.as_offsets(spans, "char")
        if output_word_offsets or not tokens:
            found["word_offsets"] = ctc.as_offsets(ctc.words(spans, self.replace_word_delimiter_char), "word")
        return ModelOutput(found)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
    ) -> Any:
        """Decode each row of ids; see `decode`. With offsets, returns a dict of lists."""
        found = [
            self.decode(
                row, skip_special_tokens, clean_up_tokenization_spaces, output_char_offsets, output_word_offsets,
                group_tokens, spaces_between_special_tokens,
            )
            for row in sequences
        ]  # fmt: skip
        if not (output_char_offsets or output_word_offsets):
            return found
        columns: dict[str, Any] = {name: [each[name] for each in found] for name in (found[0] if found else ("text",))}
        return ModelOutput(columns)

    def _get_word_offsets(self, offsets: Sequence[Mapping[str, Any]], word_delimiter_char: str = " ") -> list[Any]:
        """Group `char_offsets` into words; the name is transformers'."""
        spans = [ctc.Span(each["char"], each["start_offset"], each["end_offset"]) for each in offsets]
        return ctc.as_offsets(ctc.words(spans, word_delimiter_char), "word")

    def save_pretrained(self, save_directory: Any) -> tuple[str, ...]:
        """Write the tokenizer to a folder, with `vocab.json`; return the paths of the files."""
        paths = super().save_pretrained(save_directory)
        path = Path(save_directory) / "vocab.json"
        own = dict(sorted(self._lock.backend.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1]))
        vocabulary: Mapping[str, Any] = self._vocabularies or own
        path.write_text(json.dumps(vocabulary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return (*paths, str(path))


class ParakeetTokenizer(Tokenizer):
    """A tokenizer with a vocabulary of pieces of words, whose padding token is the blank."""

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        group_tokens: bool = True,
    ) -> Any:
        """Decode the best token of every frame to a text; a batch of rows to a list.

        Args:
            token_ids: ids, one per frame.
            skip_special_tokens, clean_up_tokenization_spaces: as in `Tokenizer.decode`.
            group_tokens: merge equal neighbours to one token.
        """
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        if isinstance(ids, (list, tuple)) and ids and hasattr(ids[0], "__len__"):
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces, group_tokens) for row in ids]
        ids = [ids] if isinstance(ids, int) else [int(i) for i in ids]
        ids = [i for i, _ in groupby(ids)] if group_tokens else ids
        kept = [i for i in ids if i != self.pad_token_id]
        return super().decode(kept, skip_special_tokens, clean_up_tokenization_spaces)
