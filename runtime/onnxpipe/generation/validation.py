"""Check the values of a GenerationConfig, with transformers' messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from onnxpipe.errors import OnnxPipeError, UnsupportedError
from onnxpipe.generation.fields import CACHE_IMPLEMENTATIONS
from onnxpipe.generation.logs import warn_once

if TYPE_CHECKING:
    from onnxpipe.generation.config import GenerationConfig

#: Fields that only sampling uses, with the value that has no effect.
SAMPLING: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "min_p": None,
    "top_h": None,
    "typical_p": 1.0,
    "top_k": 50,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
#: Fields that are whole numbers, with their least value. (`top_k` is checked where it is used: files say -1 for all.)
_COUNTS = {
    "max_new_tokens": 1, "max_length": 0, "min_length": 0, "min_new_tokens": 0, "num_beams": 1, "num_beam_groups": 1,
    "num_return_sequences": 1, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0,
}  # fmt: skip
#: Fields that are numbers, with their least and greatest value; None for none. A length to the power of 60 is still a
#: number.
_NUMBERS: dict[str, tuple[float | None, float | None]] = {
    "temperature": (None, None), "top_p": (0, 1), "min_p": (0, 1), "typical_p": (0, 1), "epsilon_cutoff": (0, 1),
    "eta_cutoff": (0, 1), "repetition_penalty": (None, None), "encoder_repetition_penalty": (None, None),
    "length_penalty": (-60, 60), "diversity_penalty": (None, None), "penalty_alpha": (0, None),
    "guidance_scale": (None, None), "max_time": (0, None),
}  # fmt: skip
#: Fields that are yes or no.
_SWITCHES = (
    "do_sample", "use_cache", "renormalize_logits", "remove_invalid_values", "low_memory", "token_healing",
    "return_dict_in_generate",
)  # fmt: skip
#: Fields that are tokens: an id or a list of ids.
_TOKENS = (
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "suppress_tokens",
    "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id",
)  # fmt: skip
_OUTPUTS = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")

#: Most numbers of an array of a search: a batch of 64, with 10 beams, of 256,000 tokens has a third of them.
_MOST_NUMBERS = 1 << 29


@contextlib.contextmanager
def arguments_refused() -> Iterator[None]:
    """Turn the ValueErrors of checks into UnsupportedErrors, which are ValueErrors too: the arguments are at fault."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, OnnxPipeError):
            raise
        raise UnsupportedError(str(error)) from error


@arguments_refused()
def validate(config: GenerationConfig, *, strict: bool, given: frozenset[str] | None) -> None:
    """Raise UnsupportedError for impossible values; log (or raise, if strict) fields that will be ignored.

    Args:
        config: the config.
        strict: raise for fields that will be ignored, too.
        given: the fields that were set by the caller; those from a file are not warned about. None: all were.
    """
    _values(config)
    _return_sequences(config)
    _forced_and_suppressed(config)
    issues = _ignored(config, given)
    if not issues:
        return
    if strict:
        lines = "\n".join(f"- `{name}`: {text}" for name, text in issues.items())
        raise ValueError(
            f"GenerationConfig is invalid: \n{lines}\nIf you're using a pretrained model, note that some of these "
            "attributes may be set through the model's `generation_config.json` file."
        )
    warn_once(f"The following generation flags are not valid and may be ignored: {list(issues)}.")


def _values(config: GenerationConfig) -> None:
    early = config.early_stopping
    if not (early is None or early == "never" or early is True or early is False):
        raise ValueError(f"`early_stopping` must be a boolean or 'never', but is {early}.")
    if isinstance(config.max_new_tokens, Real) and config.max_new_tokens <= 0:
        raise ValueError(f"`max_new_tokens` must be greater than 0, but is {config.max_new_tokens}.")
    for name, least in _COUNTS.items():
        value = getattr(config, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < least):
            raise ValueError(f"{name}={value!r}: pass a whole number, at least {least}")
    for name, (lowest, highest) in _NUMBERS.items():
        value = getattr(config, name)
        if value is not None and not _is_number(value, lowest, highest):
            raise ValueError(f"{name}={value!r}: pass a number{_range(lowest, highest)}")
    for name in _SWITCHES:
        value = getattr(config, name)
        if value is not None and value not in (True, False):
            raise ValueError(f"{name}={value!r}: pass True or False")
    for name in _TOKENS:
        value = getattr(config, name)
        if value is not None and not _is_tokens(value):
            raise ValueError(f"{name}={value!r}: pass the id of a token, a whole number, or a list of those")
    decay = config.exponential_decay_length_penalty
    if decay is not None and not (
        isinstance(decay, (tuple, list))
        and len(decay) == 2
        and all(_is_number(each, None, None) for each in decay)
        and float(decay[0]).is_integer()
    ):
        raise ValueError(
            f"exponential_decay_length_penalty={decay!r}: pass a whole number, the tokens before it begins, "
            "and its factor"
        )
    weight = config.assistant_ensemble_weight
    if weight is not None and not 0.0 < weight < 1.0:
        raise ValueError(
            f"`assistant_ensemble_weight` must be in the open interval `(0.0, 1.0)`, but is {weight}. Use `None` for "
            "standard (lossless) speculative decoding."
        )
    cache = config.cache_implementation
    if cache is not None and cache not in (*CACHE_IMPLEMENTATIONS, "paged"):
        raise ValueError(f"Invalid `cache_implementation` ({cache}). Choose one of: {CACHE_IMPLEMENTATIONS}")
    if config.watermarking_config is not None:
        config.watermarking_config.validate()


def _is_number(value: Any, lowest: float | None, highest: float | None) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real) or value != value:  # NaN is not equal to itself
        return False
    return (lowest is None or float(value) >= lowest) and (highest is None or float(value) <= highest)


def _is_tokens(value: Any) -> bool:
    listed = value.tolist() if hasattr(value, "tolist") else value
    tokens = listed if isinstance(listed, (list, tuple)) else [listed]
    return all(isinstance(token, Integral) and not isinstance(token, bool) for token in tokens)


def _range(lowest: float | None, highest: float | None) -> str:
    if highest is not None:
        return f" from {lowest} to {highest}"
    return "" if lowest is None else f", at least {lowest}"


def check_forced_tokens(config: GenerationConfig, vocab_size: int) -> None:
    """Refuse forced tokens that the vocabulary does not have: a negative one would count from its end.

    Raises:
        ValueError: names the field, the token, and the size of the vocabulary.
    """
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        forced = getattr(config, name)
        for token in () if forced is None else (forced,) if isinstance(forced, Integral) else forced:
            if isinstance(token, bool) or not isinstance(token, Integral) or not 0 <= int(token) < vocab_size:
                raise ValueError(f"{name}={token!r}: pass a token of the vocabulary, from 0 to {vocab_size - 1}")


def check_size(prompts: int, copies: int, width: int, what: str) -> None:
    """Refuse a call whose scores or tokens would fill the memory: `prompts` * `copies` rows of `width` numbers each.

    Raises:
        ValueError: more than 536,870,912 numbers (2 GiB of float32).
    """
    if prompts * copies * max(width, 1) > _MOST_NUMBERS:
        raise ValueError(
            f"{prompts} prompts with {copies} rows each (the larger of num_beams and num_return_sequences) of {width} "
            f"numbers ({what}) are more than {_MOST_NUMBERS}: pass fewer prompts, or a smaller value of these"
        )


def _return_sequences(config: GenerationConfig) -> None:
    count, beams = config.num_return_sequences, config.num_beams or 1
    if count is None or count <= 1:
        return
    if beams == 1 and not config.do_sample:
        raise ValueError(
            "Greedy methods (do_sample != True) without beam search do not support `num_return_sequences` different "
            f"than 1 (got {count})."
        )
    if beams > 1 and count > beams:
        raise ValueError(
            f"`num_return_sequences` ({count}) has to be smaller or equal to `num_beams` ({config.num_beams})."
        )


def _forced_and_suppressed(config: GenerationConfig) -> None:
    if config.suppress_tokens is None:
        return
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        forced = getattr(config, name)
        if forced is None:
            continue
        tokens = {forced} if isinstance(forced, int) else set(forced)
        if tokens and tokens <= set(config.suppress_tokens):
            raise ValueError(
                f"Every token in `{name}` ({sorted(tokens)}) is also in `suppress_tokens`. Forcing a token while "
                "suppressing it leaves none that could be generated. Remove the overlapping token(s) from either "
                f"`{name}` or `suppress_tokens` (if you meant to prevent an early EOS token, use `min_new_tokens` "
                "instead)."
            )


def _ignored(config: GenerationConfig, given: frozenset[str] | None) -> dict[str, str]:
    """Find fields that will be ignored, each with the reason."""
    issues: dict[str, str] = {}
    if config.pad_token_id is not None and config.pad_token_id < 0:
        issues["pad_token_id"] = f"`pad_token_id` should be positive but got {config.pad_token_id}."
    if config.do_sample is not True:
        for name, neutral in SAMPLING.items():
            value = getattr(config, name)
            if name == "top_k" and config.penalty_alpha:
                continue  # contrastive search reads it
            if value is not None and value != neutral and _worth_warning("do_sample", name, given):
                issues[name] = (
                    f"`do_sample` is not set to `True`. However, `{name}` is set to `{value}` -- this flag is only "
                    f"used in sample-based generation modes. You should set `do_sample=True` or unset `{name}`."
                )
    if (config.num_beams or 1) == 1:
        for name, neutral in (("early_stopping", False), ("length_penalty", 1.0)):
            value = getattr(config, name)
            if value is not None and value != neutral and _worth_warning("num_beams", name, given):
                issues[name] = (
                    f"`num_beams` is set to {config.num_beams}. However, `{name}` is set to `{value}` -- this flag is "
                    f"only used in beam-based generation modes. You should set `num_beams>1` or unset `{name}`."
                )
    if config.return_dict_in_generate is not True:
        for name in _OUTPUTS:
            if getattr(config, name) is True:
                issues[name] = (
                    f"`return_dict_in_generate` is NOT set to `True`, but `{name}` is. When `return_dict_in_generate` "
                    f"is not `True`, `{name}` is ignored."
                )
    return issues


def _worth_warning(outer: str, inner: str, given: frozenset[str] | None) -> bool:
    """Whether to warn: not if the caller chose the mode and the ignored field comes from a file."""
    return given is None or inner in given or outer not in given
