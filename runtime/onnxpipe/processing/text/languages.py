"""Languages of translating tokenizers: the tokens that say which one, and where around a text they stand."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from onnxpipe.processing.text.backend_lock import SpecialTokenFrame
from onnxpipe.processing.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class LanguageConfig:
    """How a tokenizer class speaks of languages.

    Attributes:
        codes: a pattern that its language tokens match.
        place: where a language's token stands: before the text ("prefix", and the end token after it) or after the end
            token ("suffix").
        source: the language of a text where none is set; None for no token.
        token: how a code becomes a token, "__{}__" for M2M100.
        movable: `legacy_behaviour` puts the token behind the end token (NLLB until 2023).
        by_code: `lang_code_to_id` has codes ("fr"), not tokens ("__fr__"), for keys.
    """

    codes: str
    place: Literal["prefix", "suffix"]
    source: str | None
    token: str = "{}"
    movable: bool = False
    by_code: bool = False


class LanguageMixin(Vocabulary):
    """The part of a tokenizer that knows languages; `_languages` is None in those that know none.

    Attributes:
        tgt_lang: the language of `text_target`; None for that of the source.
    """

    _languages: LanguageConfig | None
    _src_lang: str | None
    tgt_lang: str | None

    @property
    def src_lang(self) -> str | None:
        """The language of the texts; settable. A call that runs in another thread keeps the one it began with."""
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
        """Marian's target languages: tokens like `>>fra<<`, which such models want before the text."""
        tokens = sorted(self.get_vocab().items(), key=lambda item: item[1])
        return [token for token, _ in tokens if token.startswith(">>") and token.endswith("<<")]

    def get_lang_token(self, lang: str) -> str:
        """The token of a language.

        Raises:
            ValueError: the tokenizer has no such language (transformers takes the unknown token for most).
        """
        token = _as_token(self._known_languages("get_lang_token"), lang)
        if token not in self._language_ids():
            raise ValueError(_unknown(lang, list(self.lang_code_to_id)))
        return token or ""

    def get_lang_id(self, lang: str) -> int:
        """The id of a language's token; see `get_lang_token`."""
        return self._language_ids()[self.get_lang_token(lang)]

    def _has_language(self, language: str | None) -> bool:
        return language is not None and _as_token(self._languages, language) in self._language_ids()

    def _surrounding_tokens(self, language: str | None) -> SpecialTokenFrame | None:
        """What goes around a text of a language; None where the backend itself knows."""
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
            raise AttributeError(f"{type(self).__name__} has no attribute {name}: it knows no languages")
        return self._languages


def _as_token(languages: LanguageConfig | None, language: str | None) -> str | None:
    """The token of a code; tokens are taken for themselves."""
    if languages is None or language is None or re.fullmatch(languages.codes, language):
        return language
    return languages.token.format(language)


def _code(languages: LanguageConfig, token: str) -> str:
    before, after = languages.token.split("{}")
    return token.removeprefix(before).removesuffix(after)


def _unknown(language: str, known: list[str]) -> str:
    # "fr" is near to "fra_Latn" and to "fr_XX", which a comparison of letters alone may miss
    near = [code for code in known if code.startswith(language)] or difflib.get_close_matches(language, known, 3, 0.4)
    hint = f"did you mean {' or '.join(map(repr, near[:4]))}?" if near else f"known: {', '.join(known)}"
    return f"no language {language!r} in this tokenizer; {hint}"
