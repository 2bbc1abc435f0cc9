"""Language tokens of translation tokenizers, and where around a text they are put."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, Literal

from onnxpipe.processing.text.backend_lock import SpecialTokenFrame
from onnxpipe.processing.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class LanguageConfig:
    """The language tokens of a tokenizer class.

    Attributes:
        codes: a pattern that its language tokens match.
        place: where a language's token is put: before the text ("prefix", with the end token after the text) or after
            the end token ("suffix").
        source: the default language of a text; None for no token.
        token: the format of a code's token, "__{}__" for M2M100.
        movable: whether `legacy_behaviour` puts the token after the end token (NLLB until 2023).
        by_code: whether the keys of `lang_code_to_id` are codes ("fr"), not tokens ("__fr__").
    """

    codes: str
    place: Literal["prefix", "suffix"]
    source: str | None
    token: str = "{}"
    movable: bool = False
    by_code: bool = False


class LanguageMixin(Vocabulary):
    """Adds languages to a tokenizer; `_languages` is None in tokenizers without language tokens.

    Attributes:
        tgt_lang: the language of `text_target`; None for that of the source.
    """

    _languages: LanguageConfig | None
    _src_lang: str | None
    tgt_lang: str | None

    @property
    def src_lang(self) -> str | None:
        """The language of the texts; settable. A call that runs in another thread keeps the one it started with."""
        self._known_languages("src_lang")
        return self._src_lang

    @src_lang.setter
    def src_lang(self, language: str | None) -> None:
        languages = self._known_languages("src_lang")
        if language is not None:
            self.get_lang_id(language)
        self._src_lang = language if languages.by_code else _as_token(languages, language)

    @property
    def lang_code_to_id(self) -> dict[str, int]:
        """The id of each language's token, by the language's code."""
        languages = self._known_languages("lang_code_to_id")
        ids = self._language_ids()
        if not languages.by_code:
            return ids
        return {_code(languages, token): token_id for token, token_id in ids.items()}

    @property
    def supported_language_codes(self) -> list[str]:
        """Marian's target languages: tokens like `>>fra<<`, which its multilingual models need before the text."""
        tokens = sorted(self.get_vocab().items(), key=lambda item: item[1])
        return [token for token, _ in tokens if token.startswith(">>") and token.endswith("<<")]

    def get_lang_token(self, lang: str) -> str:
        """Look up the token of a language.

        Raises:
            ValueError: the tokenizer has no such language (transformers uses the unknown token for most).
        """
        token = _as_token(self._known_languages("get_lang_token"), lang)
        if token not in self._language_ids():
            raise ValueError(_unknown(lang, list(self.lang_code_to_id)))
        return token or ""

    def get_lang_id(self, lang: str) -> int:
        """Look up the id of a language's token; see `get_lang_token`."""
        return self._language_ids()[self.get_lang_token(lang)]

    def _has_language(self, language: str | None) -> bool:
        return language is not None and _as_token(self._languages, language) in self._language_ids()

    def _surrounding_tokens(self, language: str | None) -> SpecialTokenFrame | None:
        """Build the special tokens around a text of a language; None where the backend adds them itself."""
        if self._languages is None:
            return None
        end = self._pair(self._named["eos_token"])
        if language is None:
            return SpecialTokenFrame((), (end,))
        token = self._pair(self.get_lang_token(language))
        return (
            SpecialTokenFrame((token,), (end,))
            if self._languages.place == "prefix"
            else SpecialTokenFrame((), (end, token))
        )

    def _pair(self, token: str) -> tuple[str, int]:
        return token, int(self.convert_tokens_to_ids(token))

    def _language_ids(self) -> dict[str, int]:
        languages = self._known_languages("lang_code_to_id")
        matches = re.compile(languages.codes).fullmatch
        tokens = self._lock.backend.get_added_tokens_decoder()
        return {token.content: i for i, token in sorted(tokens.items()) if matches(token.content)}

    def _known_languages(self, name: str) -> LanguageConfig:
        if self._languages is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name}: it has no language tokens")
        return self._languages


_MARIAN_CODE = re.compile(r">>[A-Za-z_]+<<")


def mark_language_codes(text: Any, backend: Any, unknown: str | None) -> Any:
    """Replace the language code that a text begins with by the unknown token, where the vocabulary lacks the code.

    So Marian's tokenizer does: `>>fra<<` is a token of its own, never text to translate.

    Args:
        text: a text, or texts in lists and tuples.
        backend: the `tokenizers.Tokenizer`.
        unknown: the unknown token.
    """
    if not isinstance(text, str):
        return type(text)(mark_language_codes(part, backend, unknown) for part in text)
    code = _MARIAN_CODE.match(text)
    if code is None or unknown is None or backend.token_to_id(code[0]) is not None:
        return text
    return unknown + text[code.end() :]


def _as_token(languages: LanguageConfig | None, language: str | None) -> str | None:
    """Convert a code to its token; tokens are returned as they are."""
    if languages is None or language is None or re.fullmatch(languages.codes, language):
        return language
    return languages.token.format(language)


def _code(languages: LanguageConfig, token: str) -> str:
    before, after = languages.token.split("{}")
    return token.removeprefix(before).removesuffix(after)


def _unknown(language: str, known: list[str]) -> str:
    # "fr" is near to "fra_Latn" and to "fr_XX", which difflib's ratio may miss
    lower = {code.lower(): code for code in reversed(known)}
    wanted = language.lower()
    near = [lower[wanted]] if wanted in lower else [code for code in known if code.lower().startswith(wanted)]
    near = near or [lower[code] for code in difflib.get_close_matches(wanted, lower, 3, 0.4)]
    hint = f"did you mean {' or '.join(map(repr, near[:4]))}?" if near else f"known: {', '.join(known)}"
    return f"no language {language!r} in this tokenizer; {hint}"
