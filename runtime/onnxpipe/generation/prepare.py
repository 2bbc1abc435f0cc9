"""Turn the arguments of `generate` into arrays: prompt, mask, the decoder's start, special tokens, lengths."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.logs import logger, warn_once
from onnxpipe.generation.protocols import Array, GenerationModel
from onnxpipe.processing.arrays import to_array


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens of one call.

    Attributes:
        eos: int64 (n,), or None.
        pad: fills finished rows; eos[0] if unset; or None.
        start: int64 (1,) or (prompts,): the first token of an encoder-decoder's decoder, or None.
    """

    eos: Array | None
    pad: int | None
    start: Array | None


def array_argument(value: Any) -> Any:
    """Convert a list, a number or a tensor of another library to NumPy; a mapping, a text or None stays as it is."""
    return value if value is None or isinstance(value, (Mapping, str)) else to_array(value)


def check_names(model: GenerationModel, inputs: Mapping[str, Any]) -> None:
    """Raise UnsupportedError for arguments that are neither the config's nor the model's, in transformers' words."""
    known = model.input_names | {model.main_input_name}
    unused = [name for name, value in inputs.items() if value is not None and name not in known]
    if unused:
        raise UnsupportedError(
            f"The following `model_kwargs` are not used by the model: {unused} (note: typos in the generate arguments "
            "will also show up in this list)"
        )


def main_input(
    model: GenerationModel, inputs: Any, others: dict[str, Any], config: GenerationConfig
) -> tuple[Array, dict[str, Any]]:
    """Find the prompt, under whichever name it was passed, and the other arguments.

    Returns:
        int64 (prompts, length) (for an encoder-decoder: the encoder's input), and the rest.

    Raises:
        ValueError: passed twice; or not at all, and there is no bos token to start from.
    """
    name = model.main_input_name
    others = {key: value for key, value in others.items() if value is not None}
    named = others.pop(name, None)
    if named is not None and inputs is not None:
        raise ValueError(
            f"`inputs`: {inputs}` were passed alongside {name} which is not allowed. Make sure to either pass {inputs} "
            f"or {name}=..."
        )
    prompt = array_argument(inputs if named is None else named)
    if prompt is not None and prompt.ndim == 2 and prompt.shape[1] == 0 and not model.is_encoder_decoder:
        others.pop("attention_mask", None)
        return _from_bos(config, len(prompt)), others
    if prompt is None:
        prompt = _absent(model, others, config)
    if name == "input_ids":
        if prompt.ndim != 2 or not np.issubdtype(prompt.dtype, np.integer):
            raise ValueError(
                f"`{name}` must be integers of shape (prompts, length), not {prompt.dtype} of shape {prompt.shape}"
            )
        prompt = prompt.astype(np.int64, copy=False)
    mask = others.get("attention_mask")
    if mask is not None and name == "input_ids" and mask.ndim != 2:
        raise ValueError("`attention_mask` passed to `generate` must be 2D.")
    return prompt, others


def _absent(model: GenerationModel, others: Mapping[str, Any], config: GenerationConfig) -> Array:
    states = _states(others.get("encoder_outputs"))
    if model.is_encoder_decoder and states is not None:
        return np.full(states.shape[:2], -100, np.int64)  # no ids: the processors that need them are left out
    rows = next((len(value) for value in others.values() if isinstance(value, np.ndarray) and value.ndim), 1)
    return _from_bos(config, rows)


def _from_bos(config: GenerationConfig, rows: int) -> Array:
    if config.bos_token_id is None:
        raise ValueError("`bos_token_id` has to be defined when no `input_ids` are provided.")
    return np.full((rows, 1), config.bos_token_id, np.int64)


def _states(encoder_outputs: Any) -> Array | None:
    """Take the last hidden states from an encoder's output: an array, a tuple or a ModelOutput."""
    if encoder_outputs is None or isinstance(encoder_outputs, np.ndarray):
        return encoder_outputs
    first = encoder_outputs["last_hidden_state"] if isinstance(encoder_outputs, Mapping) else encoder_outputs[0]
    array: Array = array_argument(first)
    return array


def special_tokens(model: GenerationModel, config: GenerationConfig, *, has_mask: bool, prompts: int) -> SpecialTokens:
    """Find the special tokens, with defaults for unset ones; warns about batches without a mask."""
    eos = None if config.eos_token_id is None else np.atleast_1d(np.asarray(config.eos_token_id, np.int64))
    if eos is not None and not eos.size:
        eos = None
    pad = config.pad_token_id
    start = None
    if model.is_encoder_decoder:
        first = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
        if first is None:
            raise ValueError(
                "`decoder_start_token_id` or `bos_token_id` has to be defined for encoder-decoder generation."
            )
        start = np.atleast_1d(np.asarray(first, np.int64))
    unmasked = not has_mask and prompts > 1
    if pad is None and eos is not None:
        if unmasked:
            logger.warning(
                "The attention mask and the pad token id were not set, with a batched input. As a consequence, you may "
                "observe unexpected behavior. Please pass your input's `attention_mask` to obtain reliable results."
            )
        pad = int(eos[0])
    elif eos is not None and pad in eos and unmasked:
        warn_once(
            "The attention mask is not set with a batched input, and cannot be inferred from input because pad token "
            "is same as eos token. As a consequence, you may observe unexpected behavior. Please pass your input's "
            "`attention_mask` to obtain reliable results."
        )
    if eos is not None and (eos < 0).any():
        logger.warning(
            "`eos_token_id` should consist of positive integers, but is %s. Your generation will not stop until the "
            "maximum length is reached.",
            eos.tolist(),
        )
    return SpecialTokens(eos, pad, start)


def inferred_mask(prompt: Array, tokens: SpecialTokens) -> Array:
    """Infer a mask, int64 (prompts, length): 0 for padding if the ids show it; else all 1."""
    readable = tokens.pad is not None and (tokens.eos is None or tokens.pad not in tokens.eos)
    return (prompt != tokens.pad).astype(np.int64) if readable else np.ones(prompt.shape, np.int64)


def decoder_start(
    model: GenerationModel, inputs: dict[str, Any], start: Array, prompts: int
) -> tuple[Array, dict[str, Any]]:
    """Make the first tokens of an encoder-decoder's decoder, int64 (prompts, length), and the other arguments."""
    inputs = dict(inputs)
    ids = inputs.pop("decoder_input_ids", None)
    if ids is None and model.main_input_name != "input_ids":
        ids = inputs.pop("input_ids", None)
    if start.size not in (1, prompts):
        raise ValueError(f"`decoder_start_token_id` expected to have length {prompts} but got {start.size}")
    first = np.broadcast_to(start.reshape(-1, 1), (prompts, 1)).astype(np.int64)
    if ids is None:
        return first, inputs
    ids = np.asarray(ids, np.int64)
    if ids.ndim != 2 or len(ids) != prompts:
        raise ValueError(f"`decoder_input_ids` must have shape ({prompts}, length), not {ids.shape}")
    if _begins_anyhow(model.config) or not (ids[:, :1] != first).all():
        return ids, inputs
    if "decoder_attention_mask" in inputs:
        mask = inputs["decoder_attention_mask"]
        inputs["decoder_attention_mask"] = np.concatenate((np.ones_like(mask[:, :1]), mask), axis=1)
    return np.concatenate((first, ids), axis=1), inputs


def _begins_anyhow(config: Any) -> bool:
    """Whether a decoder's text may begin with any token: Whisper's and Donut's tasks have first tokens of their own."""
    encoder = config.get("encoder") or {}
    donut = config.get("model_type") == "vision-encoder-decoder" and "donut" in str(encoder.get("model_type"))
    return donut or config.get("model_type") == "whisper"


def resolve_lengths(
    config: GenerationConfig,
    model: GenerationModel,
    length: int,
    *,
    default_max: bool,
    passed: Collection[str] = (),
) -> None:
    """Let `max_length` and `min_length` of the config count whole rows, and check them.

    Args:
        config: changed in place.
        model: for its number of positions.
        length: tokens of the prompt.
        default_max: whether max_length is the default.
        passed: the parameters that the caller set; of those that the model's own config has, nothing is said.

    Raises:
        ValueError: no token fits after the prompt.
    """
    _warn_of_precedence(config, passed)
    if config.max_new_tokens is not None:
        config.max_length = config.max_new_tokens + length
    elif default_max or config.max_length is None:
        config.max_length = (20 if config.max_length is None else config.max_length) + length
        positions = model.config.get_text_config().get("max_position_embeddings")
        if isinstance(positions, int):
            config.max_length = min(config.max_length, positions)
    if config.min_new_tokens is not None:
        config.min_length = config.min_new_tokens + length
    _check_lengths(config, config.max_length, length, model, default_max=default_max)


def _warn_of_precedence(config: GenerationConfig, passed: Collection[str]) -> None:
    """Warn where a length that the caller passed has no effect."""
    for total, new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        values = getattr(config, new), getattr(config, total)
        if total not in passed or values[0] is None:
            continue
        if new in passed:
            message = "Both `%s` (=%s) and `%s`(=%s) seem to have been set. `%s` will take precedence."
            logger.warning(message, new, values[0], total, values[1], new)
        else:
            message = "`%s` (=%s) has no effect, as the model's generation config has `%s` (=%s): pass `%s` instead."
            logger.warning(message, total, values[1], new, values[0], new)


def _check_lengths(
    config: GenerationConfig, longest: int, length: int, model: GenerationModel, *, default_max: bool
) -> None:
    if default_max and config.max_new_tokens is None:
        warnings.warn(
            f"Using the model-agnostic default `max_length` (={longest}) to control the generation length. We "
            "recommend setting `max_new_tokens` to control the maximum length of the generation.",
            UserWarning,
            stacklevel=6,
        )
    if length >= longest:
        name = "decoder_input_ids" if model.is_encoder_decoder else "input_ids"
        raise ValueError(
            f"Input length of {name} is {length}, but `max_length` is set to {longest}. This can lead to unexpected "
            "behavior. You should consider increasing `max_length` or, better yet, setting `max_new_tokens`."
        )
    shortest = [("min_length", config.min_length, config.min_length or 0, "is")]
    if config.min_new_tokens is not None:
        shortest.append(
            (
                "min_new_tokens",
                config.min_new_tokens,
                config.min_new_tokens + length,
                f"when added to the prompt length ({length}), is",
            )
        )
    for name, value, least, verb in shortest:
        if least > longest:
            warnings.warn(
                f"Unfeasible length constraints: `{name}` ({value}) {verb} larger than the maximum possible length "
                f"({longest}). Generation will stop at the defined maximum length. You should decrease the minimum "
                "length and/or increase the maximum length.",
                UserWarning,
                stacklevel=6,
            )
