"""Make the decoder's prompt: language, task, whether there are timestamps, and the text of previous windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from onnxpipe.bundle import Config
from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.logs import warn_once
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.protocols import EncoderOutput, WhisperModel
from onnxpipe.generation.whisper.settings import WhisperSettings
from onnxpipe.processing.text.speech.whisper_languages import TASKS, code_of


def detect_language(model: WhisperModel, encoded: EncoderOutput, config: GenerationConfig) -> Array:
    """Detect the language of each window: its token, int64 (windows,), the likeliest one after the start token.

    Raises:
        ValueError: the model's generation_config.json names no languages.
    """
    tokens = _token_table(config, "lang_to_id")
    if not tokens:
        raise UnsupportedError(
            f"{model.name_or_path} has only one language: its generation_config.json has no `lang_to_id`"
        )
    start = np.full((len(encoded), 1), config.decoder_start_token_id, np.int64)
    known = np.array(sorted(tokens.values()), np.int64)
    logits = next_logits(model, start, encoded)
    return np.asarray(known[logits[:, known].argmax(-1)])


def next_logits(model: WhisperModel, tokens: Array, encoded: EncoderOutput) -> Array:
    """Compute the logits, float32 (windows, vocabulary), after int64 (windows, length)."""
    return model.start(tokens, {"encoder_outputs": encoded}, max_length=tokens.shape[1] + 1).prefill()


def first_tokens(settings: WhisperSettings, model: WhisperModel, encoded: EncoderOutput | None, count: int) -> Array:
    """Make the first tokens of each recording's transcription: int64 (recordings, length).

    Args:
        settings: the call.
        model: for its config, and to detect the language.
        encoded: the recordings' first windows, if the language must be detected; see `must_detect_language`.
        count: number of recordings.

    Raises:
        ValueError: a language or task that the model does not know; another number of languages than recordings.
    """
    config, languages = settings.config, settings.languages
    if languages is not None and len(languages) not in (1, count):
        raise UnsupportedError(
            "When passing a list of languages, the length of the list must match the batch size. Expected length of "
            f"{count}, but got {len(languages)} languages."
        )
    if not isinstance(config.decoder_start_token_id, Integral):
        raise UnsupportedError(f"decoder_start_token_id={config.decoder_start_token_id!r}: pass one token for Whisper")
    start = [config.decoder_start_token_id, *_forced(settings, model.config)]
    spoken: Sequence[int] | None = None
    if languages is not None:
        spoken = [_language(one, _token_table(config, "lang_to_id")) for one in languages]
    elif encoded is not None:
        spoken = detect_language(model, encoded, config).tolist()
    each: Sequence[int | None] = [None] if spoken is None else spoken
    rows = [_row(list(start), language, settings) for language in each]
    return np.broadcast_to(np.array(rows, np.int64), (count, len(rows[0])))


def must_detect_language(settings: WhisperSettings, model: WhisperModel) -> bool:
    """Whether the language must be detected: the model has several, and neither call nor config names one."""
    config = settings.config
    if settings.languages is not None or getattr(config, "lang_to_id", None) is None:
        return False
    forced = _forced(settings, model.config)
    return not forced or forced[0] is None


def _forced(settings: WhisperSettings, model: Config) -> list[int | None]:
    """Read the tokens after the first one from old configs that list them by position; None for an open language."""
    if settings.task is not None or settings.languages is not None:
        return []
    forced = getattr(settings.config, "forced_decoder_ids", None)
    forced = model.get("forced_decoder_ids") if forced is None else forced
    if not forced:
        return []
    warn_once(
        "Using custom `forced_decoder_ids` from the (generation) config. This is deprecated in favor of the `task` and "
        "`language` flags/config options."
    )
    if forced[0][0] != 1:
        return []
    places = [place for place, _ in forced]
    if places != list(range(1, len(forced) + 1)):
        raise UnsupportedError(
            "You are using token ids in `forced_decoder_ids` that do not seem to correctly follow the prompt pattern "
            f"of Whisper: {forced} must have an entry for every place from 1 on"
        )
    return [token for _, token in forced]


def _language(name: Any, known: Mapping[str, int]) -> int:
    if not isinstance(name, str):
        raise UnsupportedError(f"language={name!r}: pass the name or the code of a language")
    name = name.lower()
    token = name if name in known else f"<|{code_of(name)}|>"
    if token not in known:
        raise UnsupportedError(
            f"{token} is not supported by this specific model as it is not in the `generation_config.lang_to_id`. (You "
            "should just add it to the generation config)"
        )
    return known[token]


def _row(tokens: list[Any], language: int | None, settings: WhisperSettings) -> list[int]:
    """Make the first tokens of one recording."""
    config, task = settings.config, settings.task
    if language is not None:
        tokens[1:2] = [language]
    tasks = _token_table(config, "task_to_id")
    if task is not None:
        if task not in TASKS:
            raise UnsupportedError(f"The `{task}` task is not supported. The task should be one of `{list(TASKS)}`")
        tokens.append(_task_token(task, tasks))
    elif settings.languages is not None and tasks and not any(token in tokens for token in tasks.values()):
        tokens.append(_task_token("transcribe", tasks))
    none = getattr(config, "no_timestamps_token_id", None)
    if none is not None and not settings.timestamps and tokens[-1] != none:
        tokens.append(none)
    elif settings.timestamps and tokens[-1] == none:
        tokens.pop()
    return [token for token in tokens if token is not None]


def _token_table(config: GenerationConfig, name: str) -> Mapping[str, int]:
    """Get the tokens by language or task of a generation config; none where it has no such table."""
    table = getattr(config, name, None) or {}
    if not isinstance(table, Mapping) or not all(type(token) is int and token >= 0 for token in table.values()):
        raise BundleError(f"generation_config.json: {name} must map names to ids of tokens, and is {table!r:.80}")
    return table


def _task_token(task: str, tasks: Mapping[str, int]) -> int:
    if task not in tasks:
        raise UnsupportedError(
            f"the model does not know the task {task!r}: `task_to_id` of its generation_config.json has only "
            f"{', '.join(tasks)}"
        )
    return tasks[task]


def window_prompt(
    settings: WhisperSettings, first: Array, previous: Sequence[Array], *, conditioned: bool, positions: int
) -> Array:
    """Make the decoder's prompt for a window: int64 (length,).

    Args:
        settings: the call.
        first: int64 (n,): the recording's `first_tokens`.
        previous: tokens of its segments so far, and of a prompt for the first of them.
        conditioned: whether they go before the window's text.
        positions: positions of the decoder; less than half of them are for the previous text.
    """
    if conditioned and previous:
        stamp = settings.timestamp_begin
        parts = [one[:-1] if len(one) > 2 and one[-2] >= stamp else one for one in previous]
        before = np.concatenate(parts)[-(positions // 2 - 1) :]
        mark = settings.prompt if settings.prompt is not None and settings.prompt_always else _mark(settings)
        return np.concatenate((mark, before, first))
    if settings.prompt is not None:
        return np.concatenate((settings.prompt, first))
    return first


def _mark(settings: WhisperSettings) -> Array:
    """The token before the previous text, int64 (1,); (0,) where the model has none."""
    config = settings.config
    token = getattr(config, "prev_sot_token_id", None)
    suppressed = config.suppress_tokens
    if token is None and suppressed is not None and len(suppressed) >= 2:
        token = suppressed[-2]  # its place in configs that are older than its name
    return np.array([] if token is None else [token], np.int64)


def as_first_segment(settings: WhisperSettings) -> Array | None:
    """The prompt as if it were the text before the recording; None where there is none, or it is for every window."""
    if settings.prompt is None or settings.prompt_always:
        return None
    marked = len(settings.prompt) and settings.prompt[0] == getattr(settings.config, "prev_sot_token_id", None)
    return settings.prompt[1:] if marked else settings.prompt
