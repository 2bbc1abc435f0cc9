"""What one call to Whisper's `generate` asks for, checked and with the model's defaults filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.bundle import Config
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.logs import logger, warn_once
from onnxpipe.generation.prepare import as_array
from onnxpipe.generation.protocols import Array

_FIRST, _ALL = "first-segment", "all-segments"


@dataclass(frozen=True)
class Asked:
    """The arguments of `generate` that only Whisper has; `models.speech_to_text.whisper.Whisper` explains them."""

    return_timestamps: bool | None = None
    task: str | None = None
    language: str | Sequence[str] | None = None
    is_multilingual: bool | None = None
    prompt_ids: Any = None
    prompt_condition_type: str | None = None
    condition_on_prev_tokens: bool | None = None
    temperature: float | Sequence[float] | None = None
    compression_ratio_threshold: float | None = None
    logprob_threshold: float | None = None
    no_speech_threshold: float | None = None
    num_segment_frames: int | None = None
    num_frames: int | Sequence[int] | None = None
    time_precision: float = 0.02
    time_precision_features: float = 0.01
    return_token_timestamps: bool | None = None
    return_segments: bool = False
    return_dict_in_generate: bool | None = None
    force_unique_generate_call: bool | None = None
    decoder_input_ids: Any = None


@dataclass(frozen=True)
class Settings:
    """The same, settled.

    Attributes:
        config: every generation parameter; fields that only Whisper has are among its extra ones.
        timestamps: whether timestamps are written.
        timestamp_begin: the first timestamp's token.
        languages: of each recording; one for all; or None: what the config says, else what is heard.
        task: "transcribe", "translate", or None.
        prompt: int64 (n,): tokens before what is written, or None.
        prompt_always: before every window's text, rather than before the first's alone.
        conditioned: whether a window's text goes before the next one's.
        temperatures: those that are tried one after the other; 0 is the likeliest token.
        compression_ratio_threshold, logprob_threshold, no_speech_threshold: when another temperature is tried, and when
            a window is silence; None: never.
        alignment_heads: (layer, head) of the attention that follows the speech, where token timestamps are wanted.
        num_frames: int64 (recordings,): frames of speech in each, for token timestamps; None where nobody said.
        time_precision: seconds of a timestamp's step.
        time_precision_features: seconds of a frame.
        segments: whether segments are given back.
        named: whether the result has names (`return_dict_in_generate`).
        once: one window of each recording alone, with prompt and end tokens.
        opening: int64 (recordings, n): what the decoder starts from in the first window; None for what all this says.
    """

    config: GenerationConfig
    timestamps: bool
    timestamp_begin: int
    languages: tuple[str, ...] | None
    task: str | None
    prompt: Array | None
    prompt_always: bool
    conditioned: bool
    temperatures: tuple[float, ...]
    compression_ratio_threshold: float | None
    logprob_threshold: float | None
    no_speech_threshold: float | None
    alignment_heads: tuple[tuple[int, int], ...] | None
    num_frames: Array | None
    time_precision: float
    time_precision_features: float
    segments: bool
    named: bool
    once: bool
    opening: Array | None = None

    @property
    def judged(self) -> bool:
        """Whether more than the tokens of a decoding is looked at."""
        return self.alignment_heads is not None or self.logprob_threshold is not None

    @classmethod
    def of(cls, asked: Asked, config: GenerationConfig, model: Config, *, short: bool, window: int) -> Settings:
        """The settings of a call.

        Args:
            asked: its arguments.
            config: its generation parameters, the model's and the defaults filled in; `return_dict_in_generate` and
                the tasks' fields are not changed in it.
            model: the model's config.json.
            short: whether all recordings fit in one window.
            window: frames of a window.

        Raises:
            ValueError: arguments that the model's generation_config.json has no answer for, or that contradict each
                other.
        """
        check_window(asked.num_segment_frames, window)
        timestamps = _timestamps(asked.return_timestamps, config, short=short)
        task, languages = _language_and_task(asked, config)
        limits = {
            name: _chosen(getattr(asked, name), config, name)
            for name in ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold")
        }
        if limits["no_speech_threshold"] is not None and limits["logprob_threshold"] is None:
            raise ValueError(
                "no_speech_threshold needs logprob_threshold: a window is silence where both say so. Pass e.g. "
                "logprob_threshold=-1.0"
            )
        conditioned = bool(_chosen(asked.condition_on_prev_tokens, config, "condition_on_prev_tokens"))
        no_stamps = getattr(config, "no_timestamps_token_id", None)
        prompt = None if asked.prompt_ids is None else np.asarray(as_array(asked.prompt_ids), np.int64)
        if prompt is not None and prompt.ndim != 1:
            raise ValueError(f"prompt_ids must be one row of tokens, not of the shape {prompt.shape}")
        named = asked.return_dict_in_generate
        once = asked.force_unique_generate_call
        return cls(
            config=config,
            timestamps=timestamps,
            timestamp_begin=no_stamps + 1 if no_stamps is not None else _vocabulary(model) + 1,
            languages=languages,
            task=task,
            prompt=prompt,
            prompt_always=_prompt_always(asked.prompt_condition_type, conditioned=conditioned),
            conditioned=conditioned,
            temperatures=_temperatures(asked.temperature),
            **limits,
            alignment_heads=_alignment_heads(config, task) if asked.return_token_timestamps else None,
            num_frames=None if asked.num_frames is None else np.atleast_1d(np.asarray(asked.num_frames, np.int64)),
            time_precision=asked.time_precision,
            time_precision_features=asked.time_precision_features,
            segments=asked.return_segments,
            named=bool(config.return_dict_in_generate if named is None else named),
            once=bool(getattr(config, "force_unique_generate_call", False) if once is None else once),
            opening=_rows(asked.decoder_input_ids),
        )


def _rows(tokens: Any) -> Array | None:
    if tokens is None:
        return None
    found = np.asarray(as_array(tokens), np.int64)
    if found.ndim != 2:
        raise ValueError(f"decoder_input_ids must have the shape (recordings, length), not {found.shape}")
    return found


def check_window(asked: int | None, window: int) -> None:
    """Refuses a `num_segment_frames` other than the model's window.

    Raises:
        ValueError: it is another.
    """
    if asked is not None and asked != window:
        raise ValueError(
            f"num_segment_frames={asked}: this model hears windows of exactly {window} frames. Leave it out"
        )


def _chosen(asked: Any, config: GenerationConfig, name: str) -> Any:
    return getattr(config, name, None) if asked is None else asked


def _vocabulary(model: Config) -> int:
    return int(model.get("vocab_size") or 0)


def _timestamps(asked: bool | None, config: GenerationConfig, *, short: bool) -> bool:
    found = _chosen(asked, config, "return_timestamps")
    if not short:
        if asked is False or (asked is None and found is False):
            raise ValueError(
                "You have passed more than 3000 mel input features (> 30 seconds) which automatically enables "
                "long-form generation which requires the model to predict timestamp tokens. Please either pass "
                "`return_timestamps=True` or make sure to pass no more than 3000 mel input features."
            )
        found = True
    if found and getattr(config, "no_timestamps_token_id", None) is None:
        raise ValueError(
            "You are trying to return timestamps, but the generation config is not properly set: the model's "
            "generation_config.json must have `no_timestamps_token_id`"
        )
    return bool(found)


def _language_and_task(asked: Asked, config: GenerationConfig) -> tuple[str | None, tuple[str, ...] | None]:
    multilingual = getattr(config, "is_multilingual", None)
    if asked.is_multilingual is not None:
        if multilingual is None:
            raise _outdated("is_multilingual", "is_multilingual")
        multilingual = asked.is_multilingual
    if multilingual is False and (asked.task is not None or asked.language is not None):
        raise ValueError(
            "Cannot specify `task` or `language` for an English-only model. If the model is intended to be "
            "multilingual, pass `is_multilingual=True` to generate, or update the generation config."
        )
    if asked.language is not None and getattr(config, "lang_to_id", None) is None:
        raise _outdated("language", "lang_to_id")
    if asked.task is not None and getattr(config, "task_to_id", None) is None:
        raise _outdated("task", "task_to_id")
    language = _chosen(asked.language, config, "language")
    if language is None or isinstance(language, str):
        languages = None if language is None else (language,)
    else:
        languages = tuple(language)
        if any(one is None for one in languages):
            raise TypeError(
                "Expected `language` to be `None`, a single string (e.g. `'en'`), or a list of strings with length "
                "equal to the batch size (e.g. `('en', 'fr')` for a batch size of 2). Got a list containing `None`."
            )
    return _chosen(asked.task, config, "task"), languages


def _outdated(argument: str, field: str) -> ValueError:
    return ValueError(
        f"The generation config is outdated and is thus not compatible with the `{argument}` argument to `generate`: "
        f"the model's generation_config.json has no `{field}`"
    )


def _temperatures(asked: float | Sequence[float] | None) -> tuple[float, ...]:
    found = asked if isinstance(asked, Sequence) else (asked,)
    if not found or any(one is not None and one < 0 for one in found):
        raise ValueError(f"temperature must be a number from 0 on, or several of them, not {asked!r}")
    return tuple(0.0 if one is None else float(one) for one in found)


def _prompt_always(asked: str | None, *, conditioned: bool) -> bool:
    asked = asked or _FIRST
    if asked not in (_FIRST, _ALL):
        raise ValueError(f"`prompt_condition_type={asked}` does not exist: it is {_FIRST!r} or {_ALL!r}")
    if asked == _ALL and not conditioned:
        raise ValueError(
            "Make sure to set `condition_on_prev_tokens=True` when setting `prompt_condition_type='all-segments'`."
        )
    return asked == _ALL


def _alignment_heads(config: GenerationConfig, task: str | None) -> tuple[tuple[int, int], ...]:
    if task == "translate":
        logger.warning("Token-level timestamps may not be reliable for task 'translate'.")
    heads = getattr(config, "alignment_heads", None)
    if heads is None:
        raise ValueError(
            "Model generation config has no `alignment_heads`, token-level timestamps not available. Write the (layer, "
            "head) pairs that OpenAI gives for this size into generation_config.json, and export the model again"
        )
    return tuple((int(layer), int(head)) for layer, head in heads)


def warn_of_unknown_length() -> None:
    """Says that silence after the speech is aligned, too."""
    warn_once(
        "When setting `return_token_timestamps` to `True`, make sure to pass an `attention_mask` to get precise "
        "token-level timestamps: the feature extractor gives it with `return_attention_mask=True`."
    )
