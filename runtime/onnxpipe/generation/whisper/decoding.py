"""Decode one batch of windows at one temperature."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.generation.api import search
from onnxpipe.generation.builders import ProcessorContext, build_criteria, build_processors
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.mode import GenerationMode, generation_mode
from onnxpipe.generation.prepare import SpecialTokens, resolve_lengths, special_tokens
from onnxpipe.generation.processors import (
    LogitsProcessorList,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)
from onnxpipe.generation.protocols import Array, GenerationModel, Streamer
from onnxpipe.generation.request import DecodingRequest, SearchResult
from onnxpipe.generation.seed import RowStreams
from onnxpipe.generation.whisper.likelihood import Likelihood, recorded_averages
from onnxpipe.generation.whisper.protocols import EncoderOutput, WhisperModel
from onnxpipe.generation.whisper.settings import WhisperSettings
from onnxpipe.generation.whisper.timestamps import WhisperTimeStampLogitsProcessor


@dataclass(frozen=True)
class Extras:
    """The caller's additions to decoding; see `onnxpipe.generation.generate`."""

    processors: Sequence[Callable[[Array, Array], Any]] = ()
    criteria: Sequence[Callable[..., Any]] = ()
    allowed: Callable[[int, Array], Sequence[int]] | None = None
    streamer: Streamer | None = None
    assistant: GenerationModel | None = None
    tokenizer: Any = None


@dataclass(frozen=True)
class WindowBatch:
    """Windows that are decoded together.

    Attributes:
        rows: int64 (windows,): the numbers of their recordings.
        features: float32 (windows, mels, frames).
        encoded: the encoder's output for them.
        prompt: int64 (windows, length): the decoder's prompts.
        streams: random numbers of each; None without sampling.
    """

    rows: Array
    features: Array
    encoded: EncoderOutput
    prompt: Array
    streams: RowStreams | None

    def of(self, places: Array) -> WindowBatch:
        """Select windows by place, int64 (n,)."""
        return WindowBatch(
            self.rows[places],
            self.features[places],
            self.encoded.select(places),
            self.prompt[places],
            None if self.streams is None else self.streams.of(places.tolist()),
        )


@dataclass(frozen=True)
class DecodedWindow:
    """The decoded tokens of one window.

    Attributes:
        sequence: int64 (length,): everything, with prompt, end token and padding.
        start: tokens of the prompt.
        count: tokens after it, the end token included.
        ended: whether the last of these is an end token.
        average: mean log-probability of a token, if a threshold needs it.
        details: `scores` and `logits` (lists of float32 (vocabulary,)), `sequences_scores`, `beam_indices`, as needed.
        temperature: at which it was decoded.
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
        """int64 (count,): the generated tokens, with the end token."""
        return self.sequence[self.start : self.start + self.count]

    @property
    def tokens(self) -> Array:
        """The same without it."""
        return self.complete[:-1] if self.ended else self.complete


def decode_windows(
    model: WhisperModel, settings: WhisperSettings, extras: Extras, batch: WindowBatch, temperature: float, limit: int
) -> list[DecodedWindow]:
    """Decode each window of a batch.

    Args:
        model: the model.
        settings: the call.
        extras: the caller's additions.
        batch: the windows.
        temperature: 0 for the likeliest tokens (or beams), else for sampling.
        limit: most tokens of a row, prompt included.
    """
    config = _config(settings, temperature, limit)
    mode = generation_mode(config, assistant=extras.assistant is not None)
    length = batch.prompt.shape[1]
    resolve_lengths(config, model, length, default_max=config.max_new_tokens is not None)
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
    request = _request(model, extras, batch, config, tokens, processors)
    result = search(request, mode, extras.assistant)
    ends = _ends(result.sequences[:, length:], tokens)
    averages: Sequence[float | None] = [None] * len(ends)
    if likelihood is not None:
        averages = likelihood.averages(result, length, ends).tolist()
    elif settings.logprob_threshold is not None:
        averages = recorded_averages(result, length, ends).tolist()
    return [
        DecodedWindow(
            sequence=result.sequences[row],
            start=length,
            count=count,
            ended=tokens.eos is not None and bool(result.sequences[row, length + count - 1] in tokens.eos),
            average=averages[row],
            details=_details(result, row, config, judged=settings.judged),
            temperature=temperature,
        )
        for row, count in enumerate(ends)
    ]


_SIMPLE = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE, GenerationMode.BEAM_SEARCH)


def _config(settings: WhisperSettings, temperature: float, limit: int) -> GenerationConfig:
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
    model: WhisperModel,
    settings: WhisperSettings,
    extras: Extras,
    batch: WindowBatch,
    config: GenerationConfig,
    tokens: SpecialTokens,
) -> LogitsProcessorList:
    """Build the generic processors, then Whisper's, then the caller's; and the warpers, for sampling."""
    original, length = settings.config, batch.prompt.shape[1]
    own: list[Any] = []
    if original.begin_suppress_tokens is not None and extras.assistant is None:  # guesses may end at once
        own.append(SuppressTokensAtBeginLogitsProcessor(original.begin_suppress_tokens, length))
    if original.suppress_tokens is not None:
        own.append(SuppressTokensLogitsProcessor(original.suppress_tokens))
    if settings.timestamps:
        end = original.bos_token_id if tokens.eos is None else int(tokens.eos[0])
        latest = getattr(original, "max_initial_timestamp_index", None)
        own.append(WhisperTimeStampLogitsProcessor(settings.timestamp_begin - 1, end or 0, length, latest))
    context = ProcessorContext(model, length, batch.features, None, tokens.eos, (None, None), _allowed(extras, batch))
    return build_processors(config, context, [*own, *extras.processors])


def _allowed(extras: Extras, batch: WindowBatch) -> Callable[[int, Array], Sequence[int]] | None:
    """The caller's function, called with the numbers of recordings."""
    function, rows = extras.allowed, batch.rows.tolist()
    return None if function is None else lambda row, ids: function(rows[row], ids)


def _request(
    model: WhisperModel,
    extras: Extras,
    batch: WindowBatch,
    config: GenerationConfig,
    tokens: SpecialTokens,
    processors: LogitsProcessorList,
) -> DecodingRequest:
    criteria = build_criteria(config, model, tokens.eos, extras.tokenizer, extras.criteria)
    if extras.streamer is not None:
        extras.streamer.put(batch.prompt)
    return DecodingRequest(
        model=model,
        config=config,
        prompt=batch.prompt,
        inputs={model.main_input_name: batch.features, "encoder_outputs": batch.encoded},
        copies=config.num_beams or 1,
        eos=tokens.eos,
        pad=tokens.pad,
        processors=processors,
        criteria=criteria,
        streams=batch.streams if config.do_sample else None,
        streamer=extras.streamer,
        max_length=max(criteria.max_length or 0, batch.prompt.shape[1] + 1),
    )


def _ends(generated: Array, tokens: SpecialTokens) -> list[int]:
    """Count the tokens of each row of int64 (rows, length), up to and including its first end token."""
    if tokens.eos is None:
        return [generated.shape[1]] * len(generated)
    ends = np.isin(generated, tokens.eos)
    counts: list[int] = np.where(ends.any(-1), ends.argmax(-1) + 1, generated.shape[1]).tolist()
    return counts


def _details(result: SearchResult, row: int, config: GenerationConfig, *, judged: bool) -> dict[str, Any]:
    """Collect the further outputs of a row, with `return_dict_in_generate`."""
    if not config.return_dict_in_generate:
        return {}
    beams, record = result.beam_indices, result.record
    places = None if beams is None else beams[row].tolist()
    details: dict[str, Any] = {}
    if record.scores is not None:
        pairs = zip(record.scores, [row] * len(record.scores) if places is None else places, strict=False)
        details["scores"] = [scores[place] for scores, place in pairs]
    if record.logits is not None:
        details["logits"] = [logits[row] for logits in record.logits]
    if beams is not None:
        details["beam_indices"] = beams[row]
        if result.sequences_scores is not None and (config.output_scores or judged):
            details["sequences_scores"] = result.sequences_scores[row]
    return details
