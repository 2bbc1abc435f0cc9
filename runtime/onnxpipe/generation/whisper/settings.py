"""The settings of one call to Whisper's `generate`: its arguments, checked, with the model's defaults filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from onnxpipe.bundle import Config
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.logs import logger, warn_once
from onnxpipe.generation.prepare import array_argument
from onnxpipe.generation.protocols import Array

_FIRST, _ALL = "first-segment", "all-segments"


@dataclass(frozen=True)
class WhisperArguments:
    """The arguments of `generate` that only Whisper has; see `models.speech_to_text.whisper.Whisper.generate`."""

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
class WhisperSettings:
    """The arguments with defaults filled in.

    Attributes:
        config: every generation parameter; fields that only Whisper has are among its extra ones.
        timestamps: whether timestamps are generated.
        timestamp_begin: the first timestamp's token.
        languages: of each recording; one for all; or None: the config's, else the detected one.
        task: "transcribe", "translate", or None.
        prompt: int64 (n,): tokens before the text, or None.
        prompt_always: before every window's text, rather than before the first's alone.
        conditioned: whether a window's text goes before the next one's.
        temperatures: to be tried one after the other; 0 takes the likeliest token.
        compression_ratio_threshold, logprob_threshold, no_speech_threshold: when another temperature is tried, and when
            a window is silence; None: never.
        alignment_heads: (layer, head) of the attention that follows the speech, for token timestamps; else None.
        num_frames: int64 (recordings,): frames of speech in each, for token timestamps; None if not known.
        time_precision: seconds of a timestamp's step.
        time_precision_features: seconds of a frame.
        segments: whether segments are returned.
        named: whether the result has names (`return_dict_in_generate`).
        once: one window of each recording alone, with prompt and end tokens.
        opening: int64 (recordings, n): the decoder's first tokens in the first window; None for those that follow from
            the other settings.
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
        """Whether scores or attention of a decoding are needed besides its tokens."""
        return self.alignment_heads is not None or self.logprob_threshold is not None

    @classmethod
    def of(
        cls, arguments: WhisperArguments, config: GenerationConfig, model: Config, *, short: bool, window: int
    ) -> WhisperSettings:
        """Make the settings of a call.

        Args:
            arguments: its arguments.
            config: its generation parameters, the model's and the defaults filled in; `return_dict_in_generate` and
                the tasks' fields are not changed in it.
            model: the model's config.json.
            short: whether all recordings fit in one window.
            window: frames of a window.

        Raises:
            ValueError: arguments that the model's generation_config.json does not support, or that contradict each
                other.
        """
        check_window(arguments.num_segment_frames, window)
        timestamps = _timestamps(arguments.return_timestamps, config, short=short)
        task, languages = _language_and_task(arguments, config)
        limits = {
            name: _chosen(getattr(arguments, name), config, name)
            for name in ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold")
        }
        if limits["no_speech_threshold"] is not None and limits["logprob_threshold"] is None:
            raise ValueError(
                "no_speech_threshold needs logprob_threshold: a window is silence if it fails both. Pass e.g. "
                "logprob_threshold=-1.0"
            )
        conditioned = bool(_chosen(arguments.condition_on_prev_tokens, config, "condition_on_prev_tokens"))
        no_stamps = getattr(config, "no_timestamps_token_id", None)
        prompt = None if arguments.prompt_ids is None else np.asarray(array_argument(arguments.prompt_ids), np.int64)
        if prompt is not None and prompt.ndim != 1:
            raise ValueError(f"prompt_ids must be one row of tokens, not an array of shape {prompt.shape}")
        named = arguments.return_dict_in_generate
        once = arguments.force_unique_generate_call
        return cls(
            config=config,
            timestamps=timestamps,
            timestamp_begin=no_stamps + 1 if no_stamps is not None else _vocabulary(model) + 1,
            languages=languages,
            task=task,
            prompt=prompt,
            prompt_always=_prompt_always(arguments.prompt_condition_type, conditioned=conditioned),
            conditioned=conditioned,
            temperatures=_temperatures(arguments.temperature),
            **limits,
            alignment_heads=_alignment_heads(config, task) if arguments.return_token_timestamps else None,
            num_frames=None
            if arguments.num_frames is None
            else np.atleast_1d(np.asarray(arguments.num_frames, np.int64)),
            time_precision=arguments.time_precision,
            time_precision_features=arguments.time_precision_features,
            segments=arguments.return_segments,
            named=bool(config.return_dict_in_generate if named is None else named),
            once=bool(getattr(config, "force_unique_generate_call", False) if once is None else once),
            opening=_rows(arguments.decoder_input_ids),
        )


def _rows(tokens: Any) -> Array | None:
    if tokens is None:
        return None
    rows = np.asarray(array_argument(tokens), np.int64)
    if rows.ndim != 2:
        raise ValueError(f"decoder_input_ids must have the shape (recordings, length), not {rows.shape}")
    return rows


def check_window(num_segment_frames: int | None, window: int) -> None:
    """Refuse a `num_segment_frames` other than the model's window.

    Raises:
        ValueError: it is another.
    """
    if num_segment_frames is not None and num_segment_frames != window:
        raise ValueError(f"num_segment_frames must be {window} for this model, not {num_segment_frames}. Leave it out")


def _chosen(value: Any, config: GenerationConfig, name: str) -> Any:
    return getattr(config, name, None) if value is None else value


def _vocabulary(model: Config) -> int:
    return int(model.get("vocab_size") or 0)


def _timestamps(passed: bool | None, config: GenerationConfig, *, short: bool) -> bool:
    timestamps = _chosen(passed, config, "return_timestamps")
    if not short:
        if passed is False or (passed is None and timestamps is False):
            raise ValueError(
                "You have passed more than 3000 mel input features (> 30 seconds) which automatically enables "
                "long-form generation which requires the model to predict timestamp tokens. Please either pass "
                "`return_timestamps=True` or make sure to pass no more than 3000 mel input features."
            )
        timestamps = True
    if timestamps and getattr(config, "no_timestamps_token_id", None) is None:
        raise ValueError(
            "You are trying to return timestamps, but the generation config is not properly set: the model's "
            "generation_config.json must have `no_timestamps_token_id`"
        )
    return bool(timestamps)


def _language_and_task(
    arguments: WhisperArguments, config: GenerationConfig
) -> tuple[str | None, tuple[str, ...] | None]:
    multilingual = getattr(config, "is_multilingual", None)
    if arguments.is_multilingual is not None:
        if multilingual is None:
            raise _outdated("is_multilingual", "is_multilingual")
        multilingual = arguments.is_multilingual
    if multilingual is False and (arguments.task is not None or arguments.language is not None):
        raise ValueError(
            "Cannot specify `task` or `language` for an English-only model. If the model is intended to be "
            "multilingual, pass `is_multilingual=True` to generate, or update the generation config."
        )
    if arguments.language is not None and getattr(config, "lang_to_id", None) is None:
        raise _outdated("language", "lang_to_id")
    if arguments.task is not None and getattr(config, "task_to_id", None) is None:
        raise _outdated("task", "task_to_id")
    language = _chosen(arguments.language, config, "language")
    if language is None or isinstance(language, str):
        languages = None if language is None else (language,)
    else:
        languages = tuple(language)
        if any(one is None for one in languages):
            raise TypeError(
                "Expected `language` to be `None`, a single string (e.g. `'en'`), or a list of strings with length "
                "equal to the batch size (e.g. `('en', 'fr')` for a batch size of 2). Got a list containing `None`."
            )
    return _chosen(arguments.task, config, "task"), languages


def _outdated(argument: str, field: str) -> ValueError:
    return ValueError(
        f"The generation config is outdated and is thus not compatible with the `{argument}` argument to `generate`: "
        f"the model's generation_config.json has no `{field}`"
    )


def _temperatures(temperature: float | Sequence[float] | None) -> tuple[float, ...]:
    several = temperature if isinstance(temperature, Sequence) else (temperature,)
    if not several or any(one is not None and not (isinstance(one, Real) and one >= 0) for one in several):
        raise ValueError(f"temperature must be 0 or a positive number, or several of them, not {temperature!r}")
    return tuple(0.0 if one is None else float(one) for one in several)


def _prompt_always(condition_type: str | None, *, conditioned: bool) -> bool:
    condition_type = condition_type or _FIRST
    if condition_type not in (_FIRST, _ALL):
        raise ValueError(f"`prompt_condition_type={condition_type}` does not exist: it is {_FIRST!r} or {_ALL!r}")
    if condition_type == _ALL and not conditioned:
        raise ValueError(
            "Make sure to set `condition_on_prev_tokens=True` when setting `prompt_condition_type='all-segments'`."
        )
    return condition_type == _ALL


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
    """Warn that silence after the speech is aligned, too."""
    warn_once(
        "When setting `return_token_timestamps` to `True`, make sure to pass an `attention_mask` to get precise "
        "token-level timestamps: the feature extractor gives it with `return_attention_mask=True`."
    )
