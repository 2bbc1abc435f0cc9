"""Build the logits processors and stopping criteria of a config, in transformers' order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.generation import processors as p
from onnxpipe.generation import warpers as w
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.green_list import WatermarkLogitsProcessor
from onnxpipe.generation.guidance import UnbatchedClassifierFreeGuidanceLogitsProcessor
from onnxpipe.generation.logs import warn_once
from onnxpipe.generation.protocols import Array, GenerationModel, TextTokenizer
from onnxpipe.generation.sequences import (
    EncoderNoRepeatNGramLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    SequenceBiasLogitsProcessor,
)
from onnxpipe.generation.stop_strings import StopStringCriteria
from onnxpipe.generation.stopping import (
    EosTokenCriteria,
    MaxLengthCriteria,
    MaxTimeCriteria,
    StoppingCriteriaList,
)
from onnxpipe.generation.validation import arguments_refused, check_forced_tokens


@dataclass(frozen=True)
class ProcessorContext:
    """The part of a call that processors need besides the config.

    Attributes:
        model: the model.
        length: tokens of the prompt.
        source: int64 (prompts, n): the encoder's input; of a decoder-only model the prompt.
        mask: int64 (rows, length): the prompt's mask, if some of it is padding; else None.
        eos: the end tokens, or None.
        negative: negative_prompt_ids and negative_prompt_attention_mask.
        allowed: prefix_allowed_tokens_fn.
    """

    model: GenerationModel
    length: int
    source: Array
    mask: Array | None
    eos: Array | None
    negative: tuple[Array | None, Array | None]
    allowed: Callable[[int, Array], Sequence[int]] | None


@arguments_refused()
def build_processors(
    config: GenerationConfig, context: ProcessorContext, custom: Sequence[Any] | None
) -> p.LogitsProcessorList:
    """Build all processors of a call.

    Args:
        config: every parameter, with lengths in whole rows.
        context: the rest of the call.
        custom: the user's; one of a class that is built here replaces it, the others follow.
    """
    check_forced_tokens(config, context.model.vocab_size)
    built = [*_first(config, context), *_lengths_and_tokens(config, context)]
    normalise = [p.LogitNormalization()] if config.renormalize_logits is True else []
    every = _merged("logits processor", built, custom)
    if config.do_sample:
        every += _warpers(config, context)
    if config.watermarking_config is not None:
        vocab = context.model.config.get_text_config().get("vocab_size") or context.model.vocab_size
        every.append(WatermarkLogitsProcessor(vocab, **config.watermarking_config.to_dict()))
    return p.LogitsProcessorList(every + normalise)


@arguments_refused()
def build_criteria(
    config: GenerationConfig,
    model: GenerationModel,
    eos: Array | None,
    tokenizer: TextTokenizer | None,
    custom: Sequence[Any] | None,
) -> StoppingCriteriaList:
    """Build all stopping criteria of a call; `tokenizer` is for stop strings."""
    built: list[Any] = []
    if config.max_length is not None:
        built.append(
            MaxLengthCriteria(config.max_length, model.config.get_text_config().get("max_position_embeddings"))
        )
    if config.max_time is not None:
        built.append(MaxTimeCriteria(config.max_time))
    if config.stop_strings is not None:
        if tokenizer is None:
            raise ValueError(
                "There are one or more stop strings, either in the arguments to `generate` or in the model's "
                "generation config, but we could not locate a tokenizer. When generating with stop strings, you must "
                "pass the model's tokenizer to the `tokenizer` argument of `generate`."
            )
        built.append(StopStringCriteria(tokenizer, config.stop_strings))
    if eos is not None:
        built.append(EosTokenCriteria(eos))
    return StoppingCriteriaList(_merged("stopping criteria", built, custom))


def _first(config: GenerationConfig, context: ProcessorContext) -> list[Any]:
    """Build those that read the whole row: guidance, biases, repetition."""
    built: list[Any] = []
    if config.guidance_scale is not None and config.guidance_scale != 1:
        built.append(
            UnbatchedClassifierFreeGuidanceLogitsProcessor(
                config.guidance_scale, context.model, *context.negative, max_length=config.max_length or 0
            )
        )
    if config.sequence_bias is not None:
        built.append(SequenceBiasLogitsProcessor(config.sequence_bias))
    readable = (
        context.source.ndim == 2 and np.issubdtype(context.source.dtype, np.integer) and not (context.source < 0).any()
    )
    penalty = config.encoder_repetition_penalty
    if penalty is not None and penalty != 1.0:
        if readable:
            built.append(p.EncoderRepetitionPenaltyLogitsProcessor(penalty, context.source))
        else:
            _needs_ids("encoder_repetition_penalty")
    if config.repetition_penalty is not None and config.repetition_penalty != 1.0:
        skipped = None if context.mask is None else (context.mask != 0).argmax(-1)
        built.append(p.RepetitionPenaltyLogitsProcessor(config.repetition_penalty, skipped))
    size = config.no_repeat_ngram_size
    if size is not None and size > 0:
        built.append(NoRepeatNGramLogitsProcessor(size))
    size = config.encoder_no_repeat_ngram_size
    if size is not None and size > 0:
        if readable:
            built.append(EncoderNoRepeatNGramLogitsProcessor(size, context.source))
        else:
            _needs_ids("encoder_no_repeat_ngram_size")
    if config.bad_words_ids is not None:
        built.append(NoBadWordsLogitsProcessor(config.bad_words_ids, context.eos))
    return built


def _lengths_and_tokens(config: GenerationConfig, context: ProcessorContext) -> list[Any]:
    """Build those for lengths and for allowed, forced and forbidden tokens."""
    built: list[Any] = []
    if context.eos is not None and (config.min_length or 0) > 0:
        built.append(p.MinLengthLogitsProcessor(config.min_length or 0, context.eos))
    if context.eos is not None and (config.min_new_tokens or 0) > 0:
        built.append(p.MinNewTokensLengthLogitsProcessor(context.length, config.min_new_tokens or 0, context.eos))
    if context.allowed is not None:
        built.append(p.PrefixConstrainedLogitsProcessor(context.allowed, config.num_beams or 1))
    if config.forced_bos_token_id is not None:
        built.append(p.ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        built.append(p.ForcedEOSTokenLogitsProcessor(config.max_length or 0, config.forced_eos_token_id))
    if config.remove_invalid_values is True:
        built.append(p.InfNanRemoveLogitsProcessor())
    if config.exponential_decay_length_penalty is not None:
        built.append(
            p.ExponentialDecayLengthPenalty(config.exponential_decay_length_penalty, context.eos, context.length)
        )
    if config.suppress_tokens is not None:
        built.append(p.SuppressTokensLogitsProcessor(config.suppress_tokens))
    if config.begin_suppress_tokens is not None:
        begin = context.length if context.length > 1 or config.forced_bos_token_id is None else context.length + 1
        built.append(p.SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin))
    return built


def _warpers(config: GenerationConfig, context: ProcessorContext) -> list[Any]:
    """Build those of sampling. With beams they keep a token besides the end tokens, to continue with."""
    keep = 1
    if (config.num_beams or 1) > 1:
        keep = 2 if context.eos is None else len(context.eos) + 1
    built: list[Any] = []
    if config.temperature is not None and config.temperature != 1.0:
        built.append(w.TemperatureLogitsWarper(config.temperature))
    if config.top_h is not None:
        built.append(w.TopHLogitsWarper(config.top_h))
    if config.top_k is not None and config.top_k != 0:
        built.append(w.TopKLogitsWarper(config.top_k, min_tokens_to_keep=keep))
    if config.top_p is not None and config.top_p < 1.0:
        built.append(w.TopPLogitsWarper(config.top_p, min_tokens_to_keep=keep))
    if config.min_p is not None:
        built.append(w.MinPLogitsWarper(config.min_p, min_tokens_to_keep=keep))
    if config.typical_p is not None and config.typical_p < 1.0:
        built.append(w.TypicalLogitsWarper(config.typical_p, min_tokens_to_keep=keep))
    if config.epsilon_cutoff is not None and 0.0 < config.epsilon_cutoff < 1.0:
        built.append(w.EpsilonLogitsWarper(config.epsilon_cutoff, min_tokens_to_keep=keep))
    if config.eta_cutoff is not None and 0.0 < config.eta_cutoff < 1.0:
        built.append(w.EtaLogitsWarper(config.eta_cutoff, min_tokens_to_keep=keep))
    return built


def _needs_ids(name: str) -> None:
    warnings.warn(
        f"Passing `{name}` requires some form of `input_ids` to be passed to `generate`, ignoring the argument.",
        UserWarning,
        stacklevel=7,
    )


def _merged(kind: str, built: list[Any], custom: Sequence[Any] | None) -> list[Any]:
    """Replace each built one by the user's of the same class, and append the user's others."""
    merged = []
    for one in built:
        own = next((other for other in custom or () if type(other) is type(one)), None)
        if own is not None:
            warn_once(
                f"A custom {kind} of type {type(own)} has been passed to `.generate()`, but it was also created in "
                f"`.generate()`, given its parameterization. The custom {type(own)} will take precedence. Please check "
                f"the docstring of {type(own)} to see related `.generate()` flags."
            )
        merged.append(one if own is None else own)
    return merged + [other for other in custom or () if not any(other is one for one in merged)]
