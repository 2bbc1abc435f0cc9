"""`generate`: generate token ids with a model, as transformers' `GenerationMixin.generate` does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.builders import ProcessorContext, build_criteria, build_processors
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.logs import warn_once
from onnxpipe.generation.mode import GenerationMode, generation_mode
from onnxpipe.generation.outputs import (
    GenerateBeamDecoderOnlyOutput,
    GenerateBeamEncoderDecoderOutput,
    GenerateDecoderOnlyOutput,
    GenerateEncoderDecoderOutput,
    GenerateOutput,
)
from onnxpipe.generation.prepare import (
    SpecialTokens,
    array_argument,
    check_names,
    decoder_start,
    inferred_mask,
    main_input,
    resolve_lengths,
    special_tokens,
)
from onnxpipe.generation.protocols import Array, GenerationModel, Streamer
from onnxpipe.generation.request import DecodingRequest, SearchResult
from onnxpipe.generation.seed import row_streams
from onnxpipe.generation.streamers import as_streamer
from onnxpipe.generation.supported import check_supported
from onnxpipe.generation.validation import arguments_refused, check_size

_BEAMS = frozenset(
    (
        GenerationMode.BEAM_SEARCH,
        GenerationMode.BEAM_SAMPLE,
        GenerationMode.GROUP_BEAM_SEARCH,
        GenerationMode.CONSTRAINED_BEAM_SEARCH,
    )
)

_LENGTHS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens")


def generate(
    model: GenerationModel,
    inputs: Any = None,
    generation_config: GenerationConfig | None = None,
    logits_processor: Sequence[Callable[[Array, Array], Any]] | None = None,
    stopping_criteria: Sequence[Callable[..., Any]] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, Array], Sequence[int]] | None = None,
    synced_gpus: bool | None = None,
    assistant_model: GenerationModel | None = None,
    streamer: Streamer | Callable[[Array], Any] | None = None,
    negative_prompt_ids: Any = None,
    negative_prompt_attention_mask: Any = None,
    use_model_defaults: bool | None = None,
    custom_generate: Callable[..., Any] | None = None,
    *,
    seed: int | Sequence[int] | None = None,
    response_format: Any = None,
    **kwargs: Any,
) -> Any:
    """Generate token ids after prompts.

    Args:
        model: the model.
        inputs: int (prompts, length): the prompts; they may also come under the model's own name for them.
        generation_config: parameters; what it leaves unset is the model's `generation_config`'s.
        logits_processor: further ones, after those of the parameters; one of the same class replaces it.
        stopping_criteria: the same for these.
        prefix_allowed_tokens_fn: (number of the prompt, int64 (length,)) to the tokens that may follow.
        synced_gpus: of PyTorch only; True is refused.
        assistant_model: a smaller model with the same tokenizer that guesses ahead; the text stays the same.
        streamer: takes the prompt and then every token; a plain callable takes the new tokens only.
        negative_prompt_ids: for `guidance_scale`: the prompt to lead away from.
        negative_prompt_attention_mask: its mask.
        use_model_defaults: False leaves the model's `generation_config` out.
        custom_generate: a function that decodes instead; it is called with the model, int64 (rows, length),
            `logits_processor`, `stopping_criteria`, `generation_config`, those of its own keywords that are passed
            here, and the model's inputs.
        seed: of sampling: one number, or one per prompt. The same seed gives the same tokens, alone or in a batch.
        response_format: the form that the text must have, as in the OpenAI API ({"type": "json_schema", ...}); needs
            `tokenizer=` and the extra `grammar`.
        **kwargs: fields of GenerationConfig, which win; `tokenizer`, `assistant_tokenizer`; else inputs of the model.
            `trust_remote_code`, which transformers wants for some searches, has no effect: all of them are here.

    Returns:
        int64 (prompts * num_return_sequences, length), rows of a prompt adjacent: the prompt and the generated tokens;
        for an encoder-decoder the decoder's start and the generated tokens. With `return_dict_in_generate` a
        GenerateOutput.

    Raises:
        UnsupportedError: parameters that contradict each other, an unused argument, a prompt that is too long, an
            argument that this runtime does not support.
        UnfinishedAnswerError: a text stopped before it had the form of `response_format`.
    """
    if synced_gpus:
        raise UnsupportedError("synced_gpus=True is of PyTorch's distributed training; leave it out")
    kwargs.pop("trust_remote_code", None)  # nothing here comes from the Hub: every search is this package's own
    extras = _extract(custom_generate, kwargs)
    tokenizer, assistant_tokenizer = kwargs.pop("tokenizer", None), kwargs.pop("assistant_tokenizer", None)
    with arguments_refused():
        resolved = _resolve(model, generation_config, kwargs, use_model_defaults)
        config = resolved.config
        mode = generation_mode(config, assistant=assistant_model is not None)
        check_supported(config, mode, streamer=streamer is not None, custom=custom_generate is not None)
        check_names(model, resolved.inputs)
        extra = _Extra(
            logits_processor,
            stopping_criteria,
            prefix_allowed_tokens_fn,
            as_streamer(streamer),
            tokenizer,
            response_format,
            seed,
            (array_argument(negative_prompt_ids), array_argument(negative_prompt_attention_mask)),
        )
        request = _prepare(model, inputs, resolved, extra)
    if custom_generate is not None:
        return custom_generate(
            model,
            request.expanded,
            logits_processor=request.processors,
            stopping_criteria=request.criteria,
            generation_config=config,
            **extras,
            **request.inputs,
        )
    result = search(request, mode, assistant_model, tokenizer, assistant_tokenizer)
    request.check_finished(result)
    return _result(request, result, beams=mode in _BEAMS)


def begin(
    model: GenerationModel,
    inputs: Any = None,
    generation_config: GenerationConfig | None = None,
    logits_processor: Sequence[Callable[[Array, Array], Any]] | None = None,
    stopping_criteria: Sequence[Callable[..., Any]] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, Array], Sequence[int]] | None = None,
    streamer: Streamer | Callable[[Array], Any] | None = None,
    use_model_defaults: bool | None = None,
    *,
    seed: int | Sequence[int] | None = None,
    response_format: Any = None,
    tokenizer: Any = None,
    **kwargs: Any,
) -> DecodingRequest:
    """Begin a greedy search or sampling that somebody else decodes step by step; for the arguments see `generate`.

    Raises:
        UnsupportedError: as `generate`; also for any other search.
    """
    with arguments_refused():
        resolved = _resolve(model, generation_config, kwargs, use_model_defaults)
        mode = generation_mode(resolved.config, assistant=False)
        check_supported(resolved.config, mode, streamer=streamer is not None, custom=False)
        check_names(model, resolved.inputs)
        if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
            raise UnsupportedError(f"{mode.value} is not decoded together with other calls")
        extra = _Extra(
            logits_processor, stopping_criteria, prefix_allowed_tokens_fn, as_streamer(streamer), tokenizer,
            response_format, seed, (None, None),
        )  # fmt: skip
        return _prepare(model, inputs, resolved, extra)


def search(
    request: DecodingRequest,
    mode: GenerationMode,
    assistant_model: GenerationModel | None = None,
    tokenizer: Any = None,
    assistant_tokenizer: Any = None,
) -> SearchResult:
    """Run the search `mode`; the assistant and the tokenizers are `generate`'s."""
    if mode is GenerationMode.ASSISTED_GENERATION:
        from onnxpipe.generation.assisted import assisted

        return assisted(request, assistant_model, tokenizer, assistant_tokenizer)
    return _load_search(mode)(request)


@dataclass(frozen=True)
class _ResolvedCall:
    """The merged config of a call, whether its length is the default, the lengths it passes, and the model's inputs."""

    config: GenerationConfig
    default_max: bool
    passed: frozenset[str]
    inputs: dict[str, Any]


@dataclass(frozen=True)
class _Extra:
    processors: Sequence[Callable[[Array, Array], Any]] | None
    criteria: Sequence[Callable[..., Any]] | None
    allowed: Callable[[int, Array], Sequence[int]] | None
    streamer: Streamer | None
    tokenizer: Any
    response_format: Any
    seed: int | Sequence[int] | None
    negative: tuple[Array | None, Array | None]


def _extract(custom: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take the keywords of a custom function out of `kwargs`."""
    if custom is None:
        return {}
    if not callable(custom):
        raise UnsupportedError(
            f"custom_generate={custom!r}: code from the Hub is never run; pass a function of your own"
        )
    usual = {"model", "input_ids", "logits_processor", "stopping_criteria", "generation_config"}
    own = set(inspect.signature(custom).parameters) - usual
    return {name: kwargs.pop(name) for name in sorted(own) if name in kwargs}


def _resolve(
    model: GenerationModel, passed: GenerationConfig | None, kwargs: dict[str, Any], use_model_defaults: bool | None
) -> _ResolvedCall:
    """Merge the config: the call's keywords before the config it passes before the model's before the defaults."""
    fallbacks = () if use_model_defaults is False else (model.generation_config,)
    sources = [one for one in (passed, *fallbacks) if one is not None]
    config = (GenerationConfig() if passed is None else passed).filled(*fallbacks)
    own = {name: value for name, value in kwargs.items() if config.has(name)}
    if passed is not None and own:
        warn_once(
            f"Passing `generation_config` together with generation-related arguments=({set(own)}) is deprecated and "
            "will be removed in future versions. Please pass either a `generation_config` object OR all generation "
            "parameters explicitly, but not both."
        )
    config.update(**own)
    return _ResolvedCall(
        config,
        default_max=own.get("max_length") is None and all(one.max_length is None for one in sources),
        passed=frozenset(
            name for name in _LENGTHS if own.get(name) is not None or getattr(passed, name, None) is not None
        ),
        inputs={name: array_argument(value) for name, value in kwargs.items() if name not in own},
    )


def _prepare(model: GenerationModel, inputs: Any, resolved: _ResolvedCall, extra: _Extra) -> DecodingRequest:
    """Make the request of a search: prompt, processors, stopping criteria, random numbers."""
    config = resolved.config
    has_mask = resolved.inputs.get("attention_mask") is not None
    source, others = main_input(model, inputs, resolved.inputs, config)
    tokens = special_tokens(model, config, has_mask=has_mask, prompts=len(source))
    prompt, others = _decoder_prompt(model, source, others, tokens)
    if config.token_healing:
        from onnxpipe.generation.healing import heal

        prompt, others["attention_mask"] = heal(model, prompt, others.get("attention_mask"), extra.tokenizer)
    copies = max(config.num_beams or 1, config.num_return_sequences or 1)
    check_size(len(prompt), copies, model.vocab_size, "the vocabulary")
    if extra.streamer is not None:
        extra.streamer.put(np.repeat(prompt, copies, axis=0))
    resolve_lengths(config, model, prompt.shape[1], default_max=resolved.default_max, passed=resolved.passed)
    mask = others.get("decoder_attention_mask" if model.is_encoder_decoder else "attention_mask")
    padded = None if mask is None or (mask == 1).all() else np.repeat(mask, copies, axis=0)
    longest = max(config.max_length or 0, prompt.shape[1] + 1)
    if (config.num_beams or 1) > 1:
        check_size(len(prompt), copies, longest, "max_length")
    context = ProcessorContext(model, prompt.shape[1], source, padded, tokens.eos, extra.negative, extra.allowed)
    criteria = build_criteria(config, model, tokens.eos, extra.tokenizer, extra.criteria)
    custom = [*(extra.processors or ()), *_grammar(extra, tokens, model.vocab_size, criteria.max_length)]
    return DecodingRequest(
        model=model,
        config=config,
        prompt=prompt,
        inputs=others,
        copies=copies,
        eos=tokens.eos,
        pad=tokens.pad,
        processors=build_processors(config, context, custom),
        criteria=criteria,
        streams=row_streams(extra.seed, len(prompt), copies) if config.do_sample else None,
        streamer=extra.streamer,
        max_length=max(criteria.max_length or 0, prompt.shape[1] + 1),
    )


def _decoder_prompt(
    model: GenerationModel, source: Array, others: dict[str, Any], tokens: SpecialTokens
) -> tuple[Array, dict[str, Any]]:
    """Make the decoder's first tokens, int64 (prompts, length), and the model's other arguments."""
    if tokens.start is None:
        if "attention_mask" not in others:
            others["attention_mask"] = inferred_mask(source, tokens)
        return source, others
    # Not the placeholder for encoder_outputs alone; audio samples are floats, of which half are below 0.
    if source.ndim != 2 or not np.issubdtype(source.dtype, np.integer) or not (source < 0).any():
        others[model.main_input_name] = source
    return decoder_start(model, others, tokens.start, len(source))


def _grammar(extra: _Extra, tokens: SpecialTokens, vocab_size: int, max_length: int | None) -> list[Any]:
    """Make the processor of `response_format`, if there is one."""
    if extra.response_format is None:
        return []
    if extra.tokenizer is None:
        raise ValueError("`response_format` needs the model's tokenizer: pass `tokenizer=` to `generate`")
    from onnxpipe.generation.grammar import grammar_processor

    eos = [] if tokens.eos is None else tokens.eos.tolist()
    processor = grammar_processor(extra.response_format, extra.tokenizer, eos, vocab_size, max_length)
    return [] if processor is None else [processor]


def _load_search(mode: GenerationMode) -> Callable[[DecodingRequest], SearchResult]:
    """Import the function of a search; a module is loaded when it is first needed."""
    if mode in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        from onnxpipe.generation.sample import sample

        return sample
    if mode in (GenerationMode.BEAM_SEARCH, GenerationMode.BEAM_SAMPLE):
        from onnxpipe.generation.beams import beam_search

        return beam_search
    if mode is GenerationMode.GROUP_BEAM_SEARCH:
        from onnxpipe.generation.group_beams import group_beam_search

        return group_beam_search
    if mode is GenerationMode.CONSTRAINED_BEAM_SEARCH:
        from onnxpipe.generation.constrained_beams import constrained_beam_search

        return constrained_beam_search
    from onnxpipe.generation.contrastive import contrastive_search

    return contrastive_search


def _result(request: DecodingRequest, result: SearchResult, *, beams: bool) -> Array | GenerateOutput:
    """Make the caller's result."""
    if not request.config.return_dict_in_generate:
        return result.sequences
    record = result.record
    fields: dict[str, Any] = {
        "sequences": result.sequences,
        "scores": record.so_far(),
        "logits": None if record.logits is None else tuple(record.logits),
    }
    if not beams:
        kind = GenerateEncoderDecoderOutput if request.model.is_encoder_decoder else GenerateDecoderOnlyOutput
        return kind(**fields)
    fields["sequences_scores"] = result.sequences_scores if request.config.output_scores else None
    fields["beam_indices"] = result.beam_indices
    if request.model.is_encoder_decoder:
        return GenerateBeamEncoderDecoderOutput(**fields)
    return GenerateBeamDecoderOnlyOutput(**fields)
