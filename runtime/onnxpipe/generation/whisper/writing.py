"""One batch of windows, decoded at one temperature."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.generation.api import find
from onnxpipe.generation.assemble import Setting, build_criteria, build_processors
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.mode import GenerationMode, generation_mode
from onnxpipe.generation.prepare import SpecialTokens, settle_lengths, special_tokens
from onnxpipe.generation.processors import (
    LogitsProcessorList,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)
from onnxpipe.generation.protocols import Array, GenerationModel, Streamer
from onnxpipe.generation.run import Found, Run
from onnxpipe.generation.seed import RowStreams
from onnxpipe.generation.whisper.likelihood import Likelihood, recorded_averages
from onnxpipe.generation.whisper.protocols import Heard, Listener
from onnxpipe.generation.whisper.settings import Settings
from onnxpipe.generation.whisper.timestamps import WhisperTimeStampLogitsProcessor


@dataclass(frozen=True)
class Extras:
    """What a caller may add to decoding; see `onnxpipe.generation.generate`."""

    processors: Sequence[Callable[[Array, Array], Any]] = ()
    criteria: Sequence[Callable[..., Any]] = ()
    allowed: Callable[[int, Array], Sequence[int]] | None = None
    streamer: Streamer | None = None
    assistant: GenerationModel | None = None
    tokenizer: Any = None


@dataclass(frozen=True)
class Batch:
    """Windows that are decoded together.

    Attributes:
        rows: int64 (windows,): the numbers of their recordings.
        features: float32 (windows, mels, frames).
        heard: what the encoder made of them.
        prompt: int64 (windows, length): what the decoder starts from.
        streams: random numbers of each; None where nothing is sampled.
    """

    rows: Array
    features: Array
    heard: Heard
    prompt: Array
    streams: RowStreams | None

    def of(self, places: Array) -> Batch:
        """Some of the windows, int64 (n,)."""
        return Batch(
            self.rows[places],
            self.features[places],
            self.heard.select(places),
            self.prompt[places],
            None if self.streams is None else self.streams.of(places.tolist()),
        )


@dataclass(frozen=True)
class Written:
    """What was written of one window.

    Attributes:
        sequence: int64 (length,): everything, with prompt, end token and padding.
        start: tokens of the prompt.
        count: tokens after it, the end token included.
        ended: whether the last of these is an end token.
        average: mean log-probability of a token, if it was asked for.
        details: `scores` and `logits` (a list of float32 (vocabulary,)), `sequences_scores`, `beam_indices`, as asked.
        temperature: at which it was written.
    """

    sequence: Array
    start: int
    count: int
    ended: bool
    average: float | None
    details: dict[str, Any]
    temperature: float

    @property
    def complete(self) -> Array:
        """int64 (count,): what was written, with the end token."""
        return self.sequence[self.start : self.start + self.count]

    @property
    def tokens(self) -> Array:
        """The same without it."""
        return self.complete[:-1] if self.ended else self.complete


def write(
    model: Listener, settings: Settings, extras: Extras, batch: Batch, temperature: float, limit: int
) -> list[Written]:
    """The text of each window of a batch.

    Args:
        model: the model.
        settings: the call.
        extras: what the caller adds.
        batch: the windows.
        temperature: 0 for the likeliest tokens (or beams), else of sampling.
        limit: most tokens of a row, prompt included.
    """
    config = _config(settings, temperature, limit)
    mode = generation_mode(config, assistant=extras.assistant is not None)
    length = batch.prompt.shape[1]
    settle_lengths(config, model, length, default_max=config.max_new_tokens is not None, default_min=True)
    tokens = special_tokens(model, config, has_mask=True, prompts=len(batch.rows))
    likelihood = None
    if settings.logprob_threshold is not None:
        if mode in _SIMPLE:
            likelihood = Likelihood(config.temperature or 1.0, config.length_penalty or 0.0)
        else:
            config.output_scores = config.return_dict_in_generate = True
    processors = _processors(model, settings, extras, batch, config, tokens)
    if likelihood is not None:
        processors = LogitsProcessorList([*processors, likelihood])
    run = _run(model, extras, batch, config, tokens, processors)
    found = find(run, mode, extras.assistant)
    ends = _ends(found.sequences[:, length:], tokens)
    averages: Sequence[float | None] = [None] * len(ends)
    if likelihood is not None:
        averages = likelihood.averages(found, length, ends).tolist()
    elif settings.logprob_threshold is not None:
        averages = recorded_averages(found, length, ends).tolist()
    return [
        Written(
            sequence=found.sequences[row],
            start=length,
            count=count,
            ended=tokens.eos is not None and bool(found.sequences[row, length + count - 1] in tokens.eos),
            average=averages[row],
            details=_details(found, row, config, judged=settings.judged),
            temperature=temperature,
        )
        for row, count in enumerate(ends)
    ]


_SIMPLE = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE, GenerationMode.BEAM_SEARCH)


def _config(settings: Settings, temperature: float, limit: int) -> GenerationConfig:
    """The parameters of one decoding."""
    config = copy.deepcopy(settings.config)
    config.do_sample = temperature > 0
    config.temperature = temperature or 1.0
    config.num_beams = 1 if temperature > 0 else config.num_beams
    config.num_return_sequences = 1
    config.return_dict_in_generate = settings.named or settings.judged
    config.suppress_tokens = config.begin_suppress_tokens = None  # `_processors` has them, in another order
    config.max_length = limit
    return config


def _processors(
    model: Listener,
    settings: Settings,
    extras: Extras,
    batch: Batch,
    config: GenerationConfig,
    tokens: SpecialTokens,
) -> LogitsProcessorList:
    """The generic processors, then Whisper's, then the caller's; of sampling the warpers."""
    given, length = settings.config, batch.prompt.shape[1]
    own: list[Any] = []
    if given.begin_suppress_tokens is not None and extras.assistant is None:  # guesses may end at once
        own.append(SuppressTokensAtBeginLogitsProcessor(given.begin_suppress_tokens, length))
    if given.suppress_tokens is not None:
        own.append(SuppressTokensLogitsProcessor(given.suppress_tokens))
    if settings.timestamps:
        end = given.bos_token_id if tokens.eos is None else int(tokens.eos[0])
        latest = getattr(given, "max_initial_timestamp_index", None)
        own.append(WhisperTimeStampLogitsProcessor(settings.timestamp_begin - 1, end or 0, length, latest))
    setting = Setting(model, length, batch.features, None, tokens.eos, (None, None), _allowed(extras, batch))
    return build_processors(config, setting, [*own, *extras.processors])


def _allowed(extras: Extras, batch: Batch) -> Callable[[int, Array], Sequence[int]] | None:
    """The caller's function, asked with the numbers of recordings."""
    asked, rows = extras.allowed, batch.rows.tolist()
    return None if asked is None else lambda row, ids: asked(rows[row], ids)


def _run(
    model: Listener,
    extras: Extras,
    batch: Batch,
    config: GenerationConfig,
    tokens: SpecialTokens,
    processors: LogitsProcessorList,
) -> Run:
    criteria = build_criteria(config, model, tokens.eos, extras.tokenizer, extras.criteria)
    if extras.streamer is not None:
        extras.streamer.put(batch.prompt)
    return Run(
        model=model,
        config=config,
        prompt=batch.prompt,
        inputs={model.main_input_name: batch.features, "encoder_outputs": batch.heard},
        copies=config.num_beams or 1,
        eos=tokens.eos,
        pad=tokens.pad,
        processors=processors,
        criteria=criteria,
        streams=batch.streams if config.do_sample else None,
        streamer=extras.streamer,
        max_length=max(criteria.max_length or 0, batch.prompt.shape[1] + 1),
    )


def _ends(written: Array, tokens: SpecialTokens) -> list[int]:
    """How many tokens of each row of int64 (rows, length) were written: up to its first end token, and that."""
    if tokens.eos is None:
        return [written.shape[1]] * len(written)
    ends = np.isin(written, tokens.eos)
    counts: list[int] = np.where(ends.any(-1), ends.argmax(-1) + 1, written.shape[1]).tolist()
    return counts


def _details(found: Found, row: int, config: GenerationConfig, *, judged: bool) -> dict[str, Any]:
    """What else is known of a row, where the caller asked for names."""
    if not config.return_dict_in_generate:
        return {}
    beams, record = found.beam_indices, found.record
    places = None if beams is None else beams[row].tolist()
    details: dict[str, Any] = {}
    if record.scores is not None:
        pairs = zip(record.scores, [row] * len(record.scores) if places is None else places, strict=False)
        details["scores"] = [scores[place] for scores, place in pairs]
    if record.logits is not None:
        details["logits"] = [logits[row] for logits in record.logits]
    if beams is not None:
        details["beam_indices"] = beams[row]
        if found.sequences_scores is not None and (config.output_scores or judged):
            details["sequences_scores"] = found.sequences_scores[row]
    return details
