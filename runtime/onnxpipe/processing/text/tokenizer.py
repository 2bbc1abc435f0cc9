"""Tokenizer: text to token ids and back, as transformers' fast tokenizers do it, with NumPy instead of tensors."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from onnxpipe.bundle import HubOptions, fetch
from onnxpipe.errors import BundleError, ModelNotFoundError, OnnxPipeError
from onnxpipe.processing.arrays import check_tensor_type
from onnxpipe.processing.text.backend_lock import BackendLock, BackendState
from onnxpipe.processing.text.batch import ResolvedCall, build_batch, resolve_call
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.chat_templates import ChatTemplateMixin
from onnxpipe.processing.text.decoding import DecodingMixin
from onnxpipe.processing.text.families import IN_PYTHON
from onnxpipe.processing.text.files import TokenizerSettings, load, save
from onnxpipe.processing.text.hostile import MAX_TEXT, growth
from onnxpipe.processing.text.inputs import as_batch
from onnxpipe.processing.text.keywords import TokenizerCallOptions, TokenizerKeywords, TokenizerOverrides
from onnxpipe.processing.text.languages import LanguageMixin, mark_language_codes
from onnxpipe.processing.text.padding import PaddingMixin
from onnxpipe.processing.text.panics import damage_reported
from onnxpipe.processing.text.strategies import Limits, Truncation
from onnxpipe.processing.text.vocabulary import Vocabulary
from onnxpipe.processing.text.windows import check_windows


class Tokenizer(PaddingMixin, DecodingMixin, LanguageMixin, ChatTemplateMixin):
    """A tokenizer like transformers' fast tokenizers; `AutoTokenizer` is another name of it. Threads may share one.

    Args:
        backend: the `tokenizers.Tokenizer`.
        settings: special tokens, lengths and sides; see `TokenizerSettings`.
        target: the backend of `text_target`, where target texts are tokenized differently from source texts (Marian).

    Attributes:
        model_max_length: the most tokens that the model accepts; 1e30 where it is not known.
        padding_side, truncation_side: "right" or "left".
        model_input_names: the rows that a call returns by default.
        pad_token_type_id: the token type of padding.
        clean_up_tokenization_spaces: the default of `decode`.
        split_special_tokens: the default of the call.
        chat_template: the template, or templates by name; None if there is none.
        src_lang, tgt_lang: the languages of `text` and `text_target`, in tokenizers with language tokens.
        name_or_path: where it was loaded from.
        warns_of_length: whether rows that are longer than the model accepts are warned of, once.
    """

    def __init__(self, backend: Any, settings: TokenizerSettings | None = None, target: Any = None) -> None:
        settings = TokenizerSettings() if settings is None else settings
        super().__init__(backend, settings.named, settings.extra, settings.source("tokenizer.json"))
        self._target = self._lock if target is None else BackendLock(target, settings.source("target_tokenizer.json"))
        self._decoder = self._target if settings.config.get("separate_vocabs") else self._lock
        self._languages = settings.languages
        self._src_lang = None
        self.tgt_lang = settings.tgt_lang
        self._settings = settings
        self.model_max_length = settings.model_max_length
        self.padding_side = settings.padding_side
        self.truncation_side = settings.truncation_side
        self.model_input_names = list(settings.model_input_names)
        self.pad_token_type_id = settings.pad_token_type_id
        self.clean_up_tokenization_spaces = settings.clean_up_tokenization_spaces
        self.split_special_tokens = settings.split_special_tokens
        self.chat_template = settings.chat_template
        self.chat_control_tokens = settings.config.get("chat_control_tokens")
        self.name_or_path = settings.name_or_path
        self._is_marian = (settings.tokenizer_class or "").removesuffix("Fast") == "MarianTokenizer"
        self._warned: set[str] = set()
        self.warns_of_length = True
        self._longest = MAX_TEXT // growth(backend.normalizer)
        forced = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"
        self._cleans_bpe = bool(settings.config.get(forced)) or settings.tokenizer_class in IN_PYTHON
        if settings.languages is not None:
            default = settings.languages.source
            self.src_lang = settings.src_lang or (default if self._has_language(default) else None)
            self._lock.run(self._state(None), lambda: None)  # so that the backend itself adds that language's token

    @property
    def settings(self) -> TokenizerSettings:
        """What the files say, with the overrides of the loader."""
        return self._settings

    # -- loading and saving -----------------------------------------------------------------------------------------
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        use_fast: bool = True,
        **keywords: Unpack[TokenizerKeywords],
    ) -> Tokenizer:
        """Load the tokenizer of a folder or of a Hub repository.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id.
            use_fast: False makes no difference: there are fast tokenizers only.
            **keywords: the Hub's (`FileKeywords`), and settings that replace those of the files (`TokenizerOverrides`).

        Raises:
            UnknownArgumentError: a keyword that is not a setting.
            UnsupportedError: a setting that is not supported here.
            ModelNotFoundError: no such folder or repository, or it has no tokenizer.
            BundleError: a damaged file.
        """
        hub, overrides = HubOptions.split(keywords)
        name = os.fspath(pretrained_model_name_or_path)
        folder = fetch(name, need="tokenizer", **hub.keywords)
        return cls._load(folder / hub.subfolder, str(name), overrides)

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], **overrides: Unpack[TokenizerOverrides]) -> Tokenizer:
        """Load the tokenizer of a local folder; see `from_pretrained`."""
        return cls._load(Path(folder), str(folder), overrides)

    @classmethod
    def _load(cls, folder: Path, name: str, overrides: Mapping[str, Any]) -> Tokenizer:
        if not folder.is_dir():
            raise ModelNotFoundError(f"no folder {folder}")
        with damage_reported(str(folder / "tokenizer.json")):
            try:
                backend, settings, target = load(folder, name, dict(overrides))
                return (_class_of(settings) if cls is Tokenizer else cls)(backend, settings, target)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                if isinstance(error, OnnxPipeError):
                    raise
                if overrides:
                    cls._load(folder, name, {})  # the files by themselves: if they are damaged, that is said
                    raise
                raise BundleError(f"the tokenizer's files in {folder} are damaged: {error!r}") from error

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write the tokenizer as it is now to a folder, which is created if needed; return the paths of the files."""
        settings = replace(
            self._settings,
            named=self.special_tokens_map,
            extra=tuple(self._extra),
            model_max_length=self.model_max_length,
            padding_side=self.padding_side,
            truncation_side=self.truncation_side,
            model_input_names=tuple(self.model_input_names),
            clean_up_tokenization_spaces=self.clean_up_tokenization_spaces,
            chat_template=self.chat_template,
            src_lang=self._src_lang,
            tgt_lang=self.tgt_lang,
        )
        target = None if self._target is self._lock else self._target.backend
        return self._lock.run(
            self._state(None), lambda: save(Path(save_directory), self.backend_tokenizer, settings, target)
        )

    def _state(self, cut: Truncation | None) -> BackendState:
        return BackendState(cut, self.split_special_tokens, self._surrounding_tokens(self._src_lang))

    def __copy__(self) -> Tokenizer:
        twin = object.__new__(type(self))
        # the same lock: two locks of one backend would not exclude each other
        twin.__dict__.update(self.__dict__, _named=dict(self._named), _extra=list(self._extra))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # locks cannot be copied or pickled: the copy gets locks of its own
        locks = ("_lock", "_target", "_decoder")
        backends = [self._lock.backend, None if self._target is self._lock else self._target.backend]
        return {**{k: v for k, v in self.__dict__.items() if k not in locks}, "backends": backends}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        backend, target = state.pop("backends")
        self.__dict__.update(state)
        source = self._settings.source
        Vocabulary.__init__(self, backend, state["_named"], state["_extra"], source("tokenizer.json"))
        self._target = self._lock if target is None else BackendLock(target, source("target_tokenizer.json"))
        self._decoder = self._target if self._settings.config.get("separate_vocabs") else self._lock

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path='{self.name_or_path}', vocab_size={self.vocab_size}, "
            f"model_max_length={self.model_max_length}, padding_side='{self.padding_side}', "
            f"truncation_side='{self.truncation_side}', special_tokens={self.special_tokens_map})"
        )

    # -- text to ids ------------------------------------------------------------------------------------------------
    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: Any = False,
        truncation: Any = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: Any = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
        max_target_length: int | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Encode a text, a pair of texts, or a batch of either.

        Args:
            text: a str; a list of str (a batch), of pairs, or of lists of words (`is_split_into_words`).
            text_pair: the second texts, as many as first texts.
            text_target, text_pair_target: texts that a model should generate, in the target language and the target's
                vocabulary. With `text` their ids are returned as `labels`, without it as `input_ids`.
            add_special_tokens: put the model's special tokens around each text.
            padding: False, True or "longest", "max_length", "do_not_pad".
            truncation: None or False, True or "longest_first", "only_first", "only_second", "do_not_truncate". With
                `max_length` alone it is "longest_first".
            max_length: the most tokens of a row; None for the model's limit.
            stride: tokens that a window repeats from the window before it.
            is_split_into_words: the texts are lists of words.
            pad_to_multiple_of: round padded lengths up.
            padding_side: "left" or "right"; None for the tokenizer's.
            return_tensors: "np" for int64 arrays of shape (batch, tokens), with a batch axis for a single text too.
            return_token_type_ids, return_attention_mask: None to follow `model_input_names`.
            return_overflowing_tokens: return the windows that truncation cuts off as further rows, and
                `overflow_to_sample_mapping`: the text that each row is from.
            return_special_tokens_mask: 1 for special tokens, 0 for tokens of the text.
            return_offsets_mapping: the characters (start, end) of each token in its text.
            return_length: the number of tokens of each row.
            split_special_tokens: whether special tokens that occur in a text are split; None for the tokenizer's.
            max_target_length: `max_length` of the target texts; None for the same.
            verbose: warn of rows that are longer than the model's limit.

        Returns:
            Lists of ints for a single text, else lists of rows.

        Raises:
            ValueError: no text, texts of a wrong type or number, no padding token, an unknown strategy, or rows of
                different lengths with `return_tensors`.
            UnsupportedError: tensors of another framework.
        """
        if text is None and text_target is None:
            raise ValueError("You need to specify either `text` or `text_target`: the text is missing (None).")
        check_tensor_type(return_tensors)
        wanted = return_token_type_ids, return_attention_mask, return_special_tokens_mask, return_offsets_mapping
        limits = Limits(self.model_max_length, self.truncation_side, self.padding_side)
        split = self.split_special_tokens if split_special_tokens is None else split_special_tokens

        def resolved(most: int | None) -> ResolvedCall:
            call = (
                limits, split, add_special_tokens, is_split_into_words, return_tensors, return_overflowing_tokens,
                wanted, tuple(self.model_input_names), return_length, verbose,
                padding, truncation, most, stride, pad_to_multiple_of, padding_side,
            )  # fmt: skip
            if padding is not False:  # it may warn, each time
                return resolve_call.__wrapped__(*call)
            try:
                return resolve_call(*call)
            except TypeError:  # a value without a hash is of a wrong type, which is said
                return resolve_call.__wrapped__(*call)

        target = max_length if max_target_length is None else max_target_length
        if text is None:
            return self._encode(text_target, text_pair_target, resolved(target), is_target=True)
        encoded = self._encode(text, text_pair, resolved(max_length))
        if text_target is not None:
            labels = self._encode(text_target, text_pair_target, resolved(target), is_target=True)
            encoded["labels"] = labels["input_ids"]
        return encoded

    def encode(
        self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **options: Unpack[TokenizerCallOptions]
    ) -> Any:
        """Return the `input_ids` of a call."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **options)["input_ids"]

    def encode_plus(
        self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **options: Unpack[TokenizerCallOptions]
    ) -> BatchEncoding:
        """Call the tokenizer (the name is transformers 4's)."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **options)

    def batch_encode_plus(
        self, batch_text_or_text_pairs: Any, add_special_tokens: bool = True, **options: Unpack[TokenizerCallOptions]
    ) -> BatchEncoding:
        """Call the tokenizer on a batch (the name is transformers 4's)."""
        if not isinstance(batch_text_or_text_pairs, (tuple, list)):
            kind = type(batch_text_or_text_pairs)
            raise TypeError(f"batch_text_or_text_pairs has to be a list or a tuple (got {kind})")
        return self(batch_text_or_text_pairs, add_special_tokens=add_special_tokens, **options)

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        **options: Unpack[TokenizerCallOptions],
    ) -> list[str]:
        """Split a text into tokens, by default without special tokens."""
        return self(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    @property
    def _build_translation_inputs(self) -> Callable[..., BatchEncoding]:
        """The encoder of translation pipelines (transformers' name); only tokenizers with language tokens have it."""
        self._known_languages("_build_translation_inputs")
        return self._translation_inputs

    def _translation_inputs(
        self,
        raw_inputs: Any,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        **options: Unpack[TokenizerCallOptions],
    ) -> BatchEncoding:
        """Encode texts in a language; add `forced_bos_token_id`: the token of the target language.

        The tokenizer's own `src_lang` does not change, so that other threads are not affected.

        Raises:
            ValueError: a language that is missing or unknown.
        """
        if src_lang is None or tgt_lang is None:
            raise ValueError("Translation requires a `src_lang` and a `tgt_lang` for this model")
        twin = copy(self)
        twin.src_lang = src_lang
        encoded = twin(raw_inputs, **options)
        encoded["forced_bos_token_id"] = self.get_lang_id(tgt_lang)
        return encoded

    # -- the steps of a call ----------------------------------------------------------------------------------------
    def _encode(
        self, text: Any, text_pair: Any, call: ResolvedCall, *, is_target: bool = False, language: str | None = None
    ) -> BatchEncoding:
        """Encode texts; `language` is theirs, None for the tokenizer's."""
        if call.pad is not None:
            self._need_pad_token()
        batched, texts = as_batch(text, text_pair, call.words)
        self._check_length(texts)
        lock = self._target if is_target else self._lock
        language = language or (self.tgt_lang if is_target and self.tgt_lang is not None else self._src_lang)
        if self._is_marian:
            texts = [mark_language_codes(text, lock.backend, self.unk_token) for text in texts]
        state = BackendState(call.cut, call.split, self._surrounding_tokens(language))
        check_windows(lock, texts, call, state)
        encodings = lock.encode(state, texts, words=call.words, add_special_tokens=call.add_special_tokens)
        if call.pad is not None and encodings:
            self._pad(encodings, call.pad)
        if call.warn:
            self._warn_of_length(encodings)
        return build_batch(encodings, call, batched=batched)

    def _check_length(self, texts: Sequence[Any]) -> None:
        for text in texts:
            for part in (text,) if isinstance(text, str) else text:
                if len(part) > self._longest:
                    raise ValueError(
                        f"a text of {len(part):,} characters is longer than the {self._longest:,} that this tokenizer "
                        "takes at once: split it"
                    )

    def _warn_of_length(self, rows: Sequence[Any]) -> None:
        if not self.warns_of_length:
            return
        longest = max(map(len, rows), default=0)
        if 0 < self.model_max_length < longest:
            self._warn_once(
                "length",
                "Token indices sequence length is longer than the specified maximum sequence length for this model "
                f"({longest} > {self.model_max_length}). Running this sequence through the model will result in "
                "indexing errors",
            )


#: Tokenizers of speech, pages and tables, which have classes of their own: class -> its module, and its name there.
_OWN_CLASSES = {
    "ParakeetTokenizer": ("speech.ctc", "ParakeetTokenizer"),
    "PhonemeTokenizer": ("speech.phonemes", "PhonemeTokenizer"),
    "SpeechT5Tokenizer": ("speech.speecht5", "SpeechT5Tokenizer"),
    "TapasTokenizer": ("tapas.tokenizer", "TapasTokenizer"),
    "VitsTokenizer": ("speech.vits", "VitsTokenizer"),
    "Wav2Vec2CTCTokenizer": ("speech.ctc", "Wav2Vec2CTCTokenizer"),
    "WhisperTokenizer": ("speech.whisper", "WhisperTokenizer"),
    **dict.fromkeys(("LayoutLMv2Tokenizer", "LayoutLMv3Tokenizer", "LayoutXLMTokenizer"), ("pages", "PageTokenizer")),
}


def _class_of(settings: TokenizerSettings) -> type[Tokenizer]:
    name = (settings.tokenizer_class or "").removesuffix("Fast")
    if name not in _OWN_CLASSES:
        return Tokenizer
    module, own = _OWN_CLASSES[name]
    found: type[Tokenizer] = getattr(importlib.import_module(f"onnxpipe.processing.text.{module}"), own)
    return found


AutoTokenizer = Tokenizer
