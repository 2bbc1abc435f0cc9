"""Whisper's tokenizer: prompts, time stamp tokens, and transcripts of several chunks.

Source: `WhisperTokenizer` of transformers 5.23.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.speech.text_normalizers import basic_normalize
from onnxpipe.processing.text.speech.whisper_asr import SEGMENT_SIZE, decode_asr
from onnxpipe.processing.text.speech.whisper_languages import LANGUAGES, TASKS, code_of
from onnxpipe.processing.text.speech.whisper_offsets import offsets, stamped
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.processing.text.vocabulary import whole_ids

_STAMP = re.compile(r"<\|(\d+\.\d+)\|>")
_START, _PREVIOUS, _NO_STAMPS = "<|startoftranscript|>", "<|startofprev|>", "<|notimestamps|>"


class WhisperTokenizer(Tokenizer):
    """A tokenizer whose texts are transcripts.

    Args:
        backend, settings, target: as in `Tokenizer`.

    Attributes:
        language, task, predict_timestamps: set the tokens before an encoded text; see `set_prefix_tokens`.
    """

    def __init__(self, backend: Any, settings: TokenizerSettings | None = None, target: Any = None) -> None:
        super().__init__(backend, settings, target)
        config = {} if settings is None else settings.config
        self.language: str | None = None
        self.task: str | None = None
        self.predict_timestamps = False
        self.set_prefix_tokens(config.get("language"), config.get("task"), config.get("predict_timestamps"))

    # -- the tokens before a transcript --------------------------------------------------------------------------------
    def set_prefix_tokens(
        self, language: str | None = None, task: str | None = None, predict_timestamps: bool | None = None
    ) -> None:
        """Set the tokens that go before an encoded text; None leaves an argument as it is.

        Args:
            language: its name or code.
            task: "transcribe" or "translate".
            predict_timestamps: whether to leave out `<|notimestamps|>`.

        Raises:
            ValueError: an unknown language or task.
        """
        if language is not None:
            code_of(language)
        if task is not None and task not in TASKS:
            raise ValueError(f"Unsupported task: {task}. Task should be in: {list(TASKS)}")
        self.language = self.language if language is None else language.lower()
        self.task = self.task if task is None else task
        self.predict_timestamps = self.predict_timestamps if predict_timestamps is None else predict_timestamps
        self._lock.run_exclusively(self._set_post_processor)

    def _set_post_processor(self) -> None:
        from tokenizers import processors

        prefix = [(self.convert_ids_to_tokens(i), i) for i in self.prefix_tokens if i is not None]
        end = (self.eos_token, self.eos_token_id)
        if end[1] is None or any(token is None for token, _ in prefix):
            return  # a vocabulary without Whisper's special tokens needs no post-processor
        before = [token for token, _ in prefix]
        self._lock.backend.post_processor = processors.TemplateProcessing(
            single=[*(f"{token}:0" for token in before), "$A:0", f"{end[0]}:0"],
            pair=[*(f"{token}:0" for token in before), "$A:0", "$B:1", f"{end[0]}:1"],
            special_tokens=list(dict.fromkeys([end, *prefix])),
        )

    @property
    def prefix_tokens(self) -> list[int]:
        """The ids of the tokens before a text: begin, language, task, and `<|notimestamps|>`."""
        begin = self.convert_tokens_to_ids(_START)
        found = [begin]
        if self.language is not None:
            found.append(begin + 1 + list(LANGUAGES).index(code_of(self.language)))
        if self.task is not None:
            found.append(self.convert_tokens_to_ids(f"<|{self.task}|>"))
        if not self.predict_timestamps:
            found.append(self.convert_tokens_to_ids(_NO_STAMPS))
        return found

    def get_decoder_prompt_ids(
        self, task: str | None = None, language: str | None = None, no_timestamps: bool = True
    ) -> list[tuple[int, int]]:
        """Return the ids that start a decoder's text: (position, id), from position 1 on. Sets the prefix too."""
        self.set_prefix_tokens(task=task, language=language, predict_timestamps=not no_timestamps)
        return list(enumerate(self.prefix_tokens))[1:]

    def get_prompt_ids(self, text: str, return_tensors: str | None = "np") -> Any:
        """Encode a prompt for `generate()`: int64 (n,), or a list if `return_tensors` is None.

        Raises:
            ValueError: the text has special tokens.
        """
        ids = self(_PREVIOUS, " " + text.strip(), add_special_tokens=False)["input_ids"]
        special = next((i for i in ids[1:] if i >= self.all_special_ids[0]), None)
        if special is not None:
            token = self.convert_ids_to_tokens(special)
            raise ValueError(f"Encountered text in the prompt corresponding to disallowed special token: {token}.")
        return ids if return_tensors is None else np.asarray(ids)

    def strip_prompt(self, ids: Sequence[int]) -> list[int]:
        """Remove a prompt before the ids (`<|startofprev|> ...`); returns no ids if none follow it."""
        ids = list(ids)
        if not ids or ids[0] != self.convert_tokens_to_ids(_PREVIOUS):
            return ids
        begin = self.convert_tokens_to_ids(_START)
        return ids[ids.index(begin) :] if begin in ids else []

    # -- ids to text --------------------------------------------------------------------------------------------------
    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        output_offsets: bool = False,
        time_precision: float = 0.02,
        decode_with_timestamps: bool = False,
        basic_normalize: bool = False,
        remove_diacritics: bool = False,
    ) -> Any:
        """Decode token ids to a text; a batch of them to a list of texts.

        Args:
            token_ids: an int, ints in a list or array, or a batch of those.
            skip_special_tokens: leave out special tokens, and a prompt before the text.
            clean_up_tokenization_spaces: has no effect, as Whisper's vocabulary is BPE.
            output_offsets: return `{"text", "offsets"}`: the segments between time stamps, with their seconds.
            time_precision: seconds of a time stamp's step.
            decode_with_timestamps: leave the time stamps in the text, as `<|1.08|>`.
            basic_normalize: normalise a text of any language for comparison: lower case, no punctuation.
            remove_diacritics: remove accents too, with `basic_normalize`.
        """
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        if isinstance(ids, (list, tuple)) and ids and hasattr(ids[0], "__len__"):
            return [
                self.decode(
                    row, skip_special_tokens, clean_up_tokenization_spaces, output_offsets, time_precision,
                    decode_with_timestamps, basic_normalize, remove_diacritics,
                )
                for row in ids
            ]  # fmt: skip
        ids = whole_ids([ids] if isinstance(ids, int) else ids)
        own = self.strip_prompt(ids) if skip_special_tokens else ids
        if decode_with_timestamps:
            text = self._with_stamps(own, skip_special_tokens, time_precision)
        else:
            text = str(super().decode(own, skip_special_tokens, clean_up_tokenization_spaces))
            if basic_normalize:
                text = self.basic_normalize(text, remove_diacritics)
            text = _STAMP.sub("", text)
        if not output_offsets:
            return text
        return {"text": text, "offsets": self._offsets(ids, time_precision)}

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **options: Any,
    ) -> Any:
        """Decode each row of ids to a text; see `decode`."""
        found = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces, **options)
        return found if isinstance(found, list) else [found]

    def _with_stamps(self, ids: Sequence[int], skip_special_tokens: bool, time_precision: float) -> str:
        """Decode to text with time stamps; in a long recording they continue from window to window."""
        base = super().decode
        parts = stamped(ids, self.all_special_ids[-1] + 1, time_precision)
        return "".join(
            part if isinstance(part, str) else str(base(part, skip_special_tokens)) for part in parts if part
        )

    def _offsets(self, ids: Sequence[int], time_precision: float) -> list[dict[str, Any]]:
        base = super().decode
        return [
            {"text": _STAMP.sub("", str(base(list(tokens)))), "timestamp": timestamp}
            for tokens, timestamp in offsets(ids, self.all_special_ids[-1] + 1, time_precision)
        ]

    def timestamp_ids(self, time_precision: float = 0.02) -> list[int]:
        """Return the ids of all time stamps of a window."""
        tokens = [f"<|{i * time_precision:.2f}|>" for i in range(SEGMENT_SIZE + 1)]
        ids: list[int] = self.convert_tokens_to_ids(tokens)
        return ids

    @staticmethod
    def basic_normalize(text: str, remove_diacritics: bool = False) -> str:
        """Normalise a text of any language for comparison."""
        return basic_normalize(text, remove_diacritics=remove_diacritics)

    def _decode_asr(
        self,
        model_outputs: Sequence[Mapping[str, Any]],
        *,
        return_timestamps: bool | str | None,
        return_language: bool | None,
        time_precision: float,
    ) -> tuple[str, dict[str, Any]]:
        """Call `whisper_asr.decode_asr`; the name is transformers'."""
        return decode_asr(
            self,
            model_outputs,
            return_timestamps=return_timestamps,
            return_language=return_language,
            time_precision=time_precision,
        )
