"""Random weights that generate varied text that ends, and no tie between the best tokens.

The last norm's weights have random signs (a tied head would repeat the last token else) and its bias takes the mean
away (a few tokens would follow everything else); logits have a standard deviation of 3, and the end of the text is the
best next token at about one step of 12.
"""

from __future__ import annotations

import copy
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

_MARK = re.compile(r"<(?!0x).*>|__\w+__|madeupword\d|[a-z]{2}_[A-Z]{2}|[a-z]{3}_[A-Z][a-z]{3}")
"""Tokens that are not text: control tokens, languages, unused ones."""

_PLACES = ("position", "wpe", "relative")
"""In the names of embeddings of positions."""

_MIXERS = ("o_proj", "out_proj", "attn.c_proj", "attention.dense", "Attention.o.", "self_attn.dense")
"""In the names of the matrices after attention: larger, so that the next token depends on more than the last one."""

_QUERY = re.compile(r"Attention\.q\.|q_proj")
_FEED = re.compile(r"\.fc[12]\.|DenseReluDense|mlp")


@dataclass(frozen=True)
class Gains:
    """Scales of the embeddings and of the matrices that make queries, follow attention, and feed forward."""

    words: float
    queries: float
    mixers: float
    feeds: float


def fill(model: Any, gains: Gains, seed: str, vocabulary: dict[str, int], ids: dict[str, int | list[int]]) -> None:
    """Overwrite the weights of `model`, drawn from `seed` and their names. `ids`: its special ids by name."""
    _draw(model, gains, seed)
    _dim(model, vocabulary, ids)
    _calibrate(model, model.config, ids)


def _draw(model: Any, gains: Gains, seed: str) -> None:
    """Overwrite every parameter: norms near one, matrices N(0, 2.25/fan-in), the last norm with random signs."""
    import torch

    words = gains.words / _embedding_scale(model)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    last = _last_norm(model)
    signs = {id(last.weight)}
    transposed = "GPT2" in type(model).__name__
    for name, parameter in [*model.named_parameters(), *_biases(model)]:
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(tuple(parameter.shape))
        if id(parameter) in signs:
            values = np.sign(noise) * (1 + 0.1 * np.abs(noise)) - _unit(last)
        elif id(parameter) in embeddings:
            values = noise * (0.5 if any(word in name for word in _PLACES) else words)
        elif parameter.dim() > 1:
            gain = _gain(name, gains)
            values = noise * (gain / parameter.shape[0 if transposed else -1] ** 0.5)
        else:
            norm = name.endswith("weight") and "norm" in name.lower().replace("ln_", "norm")
            values = 0.1 * noise + (1.0 - _unit(last) if norm else 0.0)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))


def _gain(name: str, gains: Gains) -> float:
    """The scale of the matrix `name`; a unit input makes outputs of this standard deviation."""
    if any(word in name for word in _MIXERS):
        return gains.mixers
    if _QUERY.search(name):
        return gains.queries
    return gains.feeds if _FEED.search(name) else 1.5


def _embedding_scale(model: Any) -> float:
    """What the family multiplies its embeddings by before the first layer."""
    config = model.config
    if getattr(config, "scale_embedding", False) or "Gemma" in type(model).__name__:
        return 8.0  # The square root of the hidden size.
    return float(getattr(config, "embedding_multiplier", 1.0))


def _biases(model: Any) -> list[tuple[str, Any]]:
    """Marian's bias of the logits: a buffer, and not zero in real checkpoints."""
    return [(n, b) for n, b in model.named_buffers() if n == "final_logits_bias" and "Marian" in type(model).__name__]


def _unit(norm: Any) -> float:
    """What the norm adds to its weight: Gemma's compute x · (1 + weight)."""
    return 1.0 if type(norm).__name__.startswith("Gemma") else 0.0


def _last_norm(model: Any) -> Any:
    """The norm before the head."""
    modules = dict(model.named_modules())
    for name in (
        "transformer.ln_f",
        "gpt_neox.final_layer_norm",
        "model.decoder.final_layer_norm",
        "model.norm",
        "model.final_layernorm",
        "decoder.final_layer_norm",
        "model.decoder.layer_norm",
    ):
        if name in modules:
            return modules[name]
    return [module for name, module in modules.items() if name.endswith("final_layer_norm") and "decoder" in name][-1]


def _dim(model: Any, vocabulary: dict[str, int], ids: dict[str, int | list[int]]) -> None:
    """Make marks, languages and unused rows unlikely, single bytes less likely than words."""
    import torch

    kept = {i for name, i in ids.items() if name == "eos_token_id" for i in ([i] if isinstance(i, int) else i)}
    rows = torch.full((model.get_output_embeddings().weight.shape[0], 1), 0.4)
    for token, i in vocabulary.items():
        if i in kept or not _MARK.fullmatch(token):
            rows[i] = 0.7 if token.startswith("<0x") else 1.0
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(rows)


def _calibrate(model: Any, config: Any, ids: dict[str, int | list[int]]) -> None:
    """Logits of standard deviation 3; the end is the best token at one step of 12. Measured on random tokens.

    Measured in float64 and rounded, so that rounding errors of the forward pass do not reach the weights.
    """
    import torch

    norm, head = _last_norm(model), model.get_output_embeddings()
    with torch.no_grad():
        if getattr(norm, "bias", None) is not None:  # No token is likely after everything.
            norm.bias.sub_(torch.from_numpy(np.round(_hidden(model, config, ids).mean(0), 1)))
        scale = round(3.0 / float(_logits(model, config, ids).std()), 2)
        norm.weight.add_(_unit(norm)).mul_(scale).sub_(_unit(norm))
        if getattr(norm, "bias", None) is not None:
            norm.bias.mul_(scale)
        ends = ids["eos_token_id"]
        for end in [ends] if isinstance(ends, int) else ends:
            logits = _logits(model, config, ids)
            own = logits[:, end].clone()
            logits[:, end] = -torch.inf
            best, place = logits.max(-1).values, len(own) // (12 if isinstance(ends, int) else 12 * len(ends))
            factors = [torch.where(s * own > 0, s * best / own, torch.inf).abs().sort().values[place] for s in (1, -1)]
            factor = round(float(min(factors)), 1)
            head.weight[end] *= factor if factors[0] <= factors[1] else -factor


def _hidden(model: Any, config: Any, ids: dict[str, int | list[int]]) -> np.ndarray:
    """What the last norm gives after the same tokens as in `_logits`."""
    seen: list[Any] = []
    exact = copy.deepcopy(model).double()
    _last_norm(exact).register_forward_hook(lambda module, inputs, output: seen.append(output))
    _logits(exact, config, ids)
    states: np.ndarray = seen[0].detach().numpy()
    return states.reshape(20, 24, -1)[:, 4:].reshape(-1, states.shape[-1])


def _logits(model: Any, config: Any, ids: dict[str, int | list[int]]) -> Any:
    """Logits after every token of 20 random texts of 24 tokens."""
    import torch

    rng = np.random.default_rng(5)
    tokens = torch.from_numpy(rng.integers(300, 900, (20, 24)))
    feeds = {"input_ids": tokens}
    if config.is_encoder_decoder:
        answers = torch.from_numpy(rng.integers(300, 900, (20, 24)))
        answers[:, 0] = ids["decoder_start_token_id"]
        feeds["decoder_input_ids"] = answers
    with torch.no_grad():
        return copy.deepcopy(model).double()(**feeds).logits[:, 4:].reshape(-1, config.vocab_size).clone()
