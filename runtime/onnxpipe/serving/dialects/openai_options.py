"""The parameters of OpenAI's text endpoints, as those of a generating pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxpipe.serving.bodies import json_type
from onnxpipe.serving.faults import bad_request
from onnxpipe.serving.parameters import unknown_field
from onnxpipe.serving.scores import CountPenalty
from onnxpipe.serving.served import ServedModel
from onnxpipe.serving.settings import ServeSettings

#: Fields that say nothing of the answer.
_NOTES = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key"})
#: Fields that are refused unless they have one of these values.
_FIXED: Mapping[str, tuple[Any, ...]] = {
    "store": (None, False), "service_tier": (None, "auto", "default"), "modalities": (None, ["text"]),
    "suffix": (None, ""), "best_of": (None, 1), "audio": (None,), "prediction": (None,), "web_search_options": (None,),
    "reasoning_effort": (None,), "functions": (None,), "function_call": (None,), "verbosity": (None,),
}  # fmt: skip
#: Parameters of sampling that have the same name here.
_SAME = frozenset({"top_p", "top_k", "min_p", "repetition_penalty", "seed"})
_READ = frozenset({
    "model", "stream", "stream_options", "n", "stop", "temperature", "max_tokens", "frequency_penalty",
    "presence_penalty", "logit_bias",
})  # fmt: skip

Numbers = tuple[float, float]


def text_fields(own: frozenset[str]) -> frozenset[str]:
    """Return the fields of a text endpoint: those that all have, and its own."""
    return _READ | _SAME | _NOTES | own


def check_fields(body: Mapping[str, Any], own: frozenset[str]) -> None:
    """Refuse fields that are unknown, or ask for what is not done here."""
    known = text_fields(own) | _FIXED.keys()
    for name, value in body.items():
        if name in _FIXED and name not in own and value not in _FIXED[name]:
            raise bad_request(f"{name} is not supported here: leave it out", name)
        if name not in known:
            raise unknown_field(name, known, "field")


def generation_options(
    body: Mapping[str, Any], served: ServedModel, settings: ServeSettings, *, default_tokens: int | None = None
) -> dict[str, Any]:
    """Turn the parameters of a request into keywords of the pipeline's call."""
    options: dict[str, Any] = {name: body[name] for name in _SAME if body.get(name) is not None}
    limit = number(body, "max_completion_tokens", (1, settings.max_new_tokens), whole=True)
    limit = number(body, "max_tokens", (1, settings.max_new_tokens), whole=True) if limit is None else limit
    if limit is not None or default_tokens is not None:
        options["max_new_tokens"] = limit if limit is not None else default_tokens
    temperature = number(body, "temperature", (0, 2))
    if temperature is not None:
        options |= {"do_sample": False} if temperature == 0 else {"do_sample": True, "temperature": temperature}
    elif {"top_p", "top_k", "min_p", "seed"} & options.keys():
        options["do_sample"] = True
    if temperature == 0:
        options = {name: value for name, value in options.items() if name not in ("top_p", "top_k", "min_p")}
    stops = body.get("stop")
    if stops is not None:
        listed = [stops] if isinstance(stops, str) else stops
        if not isinstance(listed, list) or len(listed) > 4 or not all(isinstance(s, str) and s for s in listed):
            raise bad_request("stop is a text, or up to 4 of them", "stop")
        if listed:
            options["stop_sequence"] = listed
    options = served.read_parameters(options, settings)
    penalties = [number(body, name, (-2, 2)) or 0.0 for name in ("frequency_penalty", "presence_penalty")]
    if any(penalties):
        options["logits_processor"] = [CountPenalty(*penalties)]
    if body.get("logit_bias"):
        options["sequence_bias"] = _bias(body["logit_bias"], served)
    return options


def _bias(given: Any, served: ServedModel) -> dict[tuple[int, ...], float]:
    if not isinstance(given, Mapping) or len(given) > 1024:
        raise bad_request("logit_bias is an object of up to 1024 tokens", "logit_bias")
    found: dict[tuple[int, ...], float] = {}
    for token, bias in given.items():
        fits = isinstance(bias, (int, float)) and not isinstance(bias, bool) and -100 <= bias <= 100
        if not token.isdecimal() or int(token) >= served.pipe.model.vocab_size or not fits:
            raise bad_request("logit_bias has ids of tokens as keys, and numbers from -100 to 100", "logit_bias")
        if bias:
            found[(int(token),)] = float(bias)
    return found


def number(body: Mapping[str, Any], name: str, limits: Numbers, *, whole: bool = False) -> Any:
    """Read a number; None where it is not there.

    Raises:
        RequestFault: 400: it is no number, or out of its limits.
    """
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise bad_request(f"{name} is {'a whole number' if whole else 'a number'}, got {json_type(value)}", name)
    if not limits[0] <= value <= limits[1]:
        raise bad_request(f"{name}={value} is not in {limits[0]:g} to {limits[1]:g}", name)
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    """Read a switch; False where it is not there."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad_request(f"{name} is true or false, got {json_type(value)}", name)
    return bool(value)


def with_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream ends with the numbers of its tokens."""
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, Mapping) or not set(options) <= {"include_usage", "include_obfuscation"}:
        raise bad_request("stream_options has include_usage", "stream_options")
    return flag(options, "include_usage")
