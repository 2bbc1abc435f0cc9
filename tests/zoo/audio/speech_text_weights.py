"""Random weights that transcribe: text that depends on the audio, varies and ends, without ties.

As in `generator_weights`: the last norm's weights have random signs, its bias (if any) takes the mean away, logits have
a standard deviation of 3, and the end is the likeliest next token at about one step of 12. Marks are unlikely. Times
together are as likely as the best word at about one step of 8, and languages differ by the audio.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_STEPS = 24


@dataclass(frozen=True)
class Marks:
    """Ids of tokens that are not text.

    Attributes:
        start: the decoder's first tokens.
        end: what ends a text.
        unlikely: what should never be written.
        languages: of which one is likeliest at the start.
        times: what stands for a time.
        words: of ordinary text.
    """

    start: tuple[int, ...]
    end: int
    unlikely: tuple[int, ...]
    words: range
    languages: tuple[int, ...] = ()
    times: range = range(0)


def fill(model: Any, seed: str, marks: Marks, recordings: Sequence[dict[str, Any]]) -> None:
    """Overwrite the weights of `model`, drawn from `seed` and their names.

    Args:
        model: a speech encoder-decoder.
        seed: any text.
        marks: its special ids.
        recordings: its inputs while it is settled: feeds of one row each.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _draw(model, seed)
        _dim(model, marks)
        _settle(model, marks, recordings)
    finally:
        torch.set_num_threads(before)


def _draw(model: Any, seed: str) -> None:
    import torch

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    last = _last_norm(model)
    words = 1.0 / (model.get_output_embeddings().weight.shape[1] ** 0.5 if _scales(model) else 1.0)
    statistics = [(name, buffer) for name, buffer in model.named_buffers() if "running" in name]
    for name, parameter in [*model.named_parameters(), *statistics]:
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(tuple(parameter.shape))
        if name.endswith("running_var"):
            values = np.exp(0.3 * noise)
        elif parameter is last.weight:
            values = np.sign(noise) * (1 + 0.1 * np.abs(noise))
        elif id(parameter) in embeddings:
            values = noise * (0.5 if "position" in name or "distance" in name else words)
        elif parameter.dim() > 1:
            values = noise * (_gain(name) / float(np.prod(parameter.shape[1:])) ** 0.5)
        else:
            values = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.asarray(values, np.float32)))


def _gain(name: str) -> float:
    """The scale of the matrix `name`; larger where the audio, and the text so far, come in."""
    if "encoder_attn" in name or "cross_attention" in name:
        return 3.0
    if "decoder" in name and ("out_proj" in name or "o_proj" in name):
        return 2.5
    return 1.7


def _scales(model: Any) -> bool:
    return bool(getattr(model.config, "scale_embedding", False))


def _last_norm(model: Any) -> Any:
    """The norm before the output layer."""
    decoder = model.get_decoder()
    return decoder.norm if hasattr(decoder, "norm") else decoder.layer_norm


def _dim(model: Any, marks: Marks) -> None:
    """Make marks and rows without a token unlikely, and times each less likely than words."""
    import torch

    weight = model.get_output_embeddings().weight
    rows = torch.full((len(weight), 1), 0.3)
    rows[marks.words.start : marks.words.stop] = 1.0
    rows[marks.end] = 1.0
    for language in marks.languages:
        rows[language] = 0.8
    rows[marks.times.start : marks.times.stop] = 0.5
    rows[list(marks.unlikely)] = 0.1
    with torch.no_grad():
        weight.mul_(rows)


def _settle(model: Any, marks: Marks, recordings: Sequence[dict[str, Any]]) -> None:
    """Measured in float64 and rounded, so that rounding errors of the forward pass do not reach the weights."""
    import torch

    norm, head = _last_norm(model), model.get_output_embeddings()
    words = slice(marks.words.start, marks.words.stop)
    with torch.no_grad():
        hidden, _ = _answers(model, marks, recordings)
        if getattr(norm, "bias", None) is not None:  # No token is likely after everything.
            norm.bias.sub_(hidden.mean(0).round(decimals=1).float())
        scale = round(3.0 / float(_answers(model, marks, recordings)[1][:, words].std()), 2)
        norm.weight.mul_(scale)
        if getattr(norm, "bias", None) is not None:
            norm.bias.mul_(scale)
        _often(head, marks.end, _answers(model, marks, recordings)[1], words, 12)
        if len(marks.times):
            times = slice(marks.times.start, marks.times.stop)
            head.weight[times] *= _factor_of_times(_answers(model, marks, recordings)[1], words, times)


def _often(head: Any, end: int, logits: Any, words: slice, steps: int) -> None:
    """Scale the row of `end` so that it is the likeliest at one of so many steps."""
    import torch

    own, best = logits[:, end], logits[:, words].max(-1).values
    place = len(own) // steps
    factors = [torch.where(s * own > 0, s * best / own, torch.inf).abs().sort().values[place] for s in (1, -1)]
    factor = round(float(min(factors)), 1)
    head.weight[end] *= factor if factors[0] <= factors[1] else -factor


def _factor_of_times(logits: Any, words: slice, times: slice) -> float:
    """By how much the rows of times are to be scaled so that all together win at one of eight steps."""
    import torch

    best = logits[:, words].max(-1).values
    for factor in np.arange(0.2, 3.0, 0.1):
        together = torch.logsumexp(factor * logits[:, times], dim=-1)
        if float((together > best).double().mean()) > 1 / 8:
            return round(float(factor), 1)
    return 3.0


def _answers(model: Any, marks: Marks, recordings: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    """What the last norm gives and the logits, after every word of a random text for each recording."""
    import torch

    exact = copy.deepcopy(model).double()
    seen: list[Any] = []
    _last_norm(exact).register_forward_hook(lambda module, inputs, output: seen.append(output))
    rng = np.random.default_rng(5)
    logits = []
    for recording in recordings:
        words = rng.integers(marks.words.start, marks.words.stop, _STEPS)
        ids = torch.from_numpy(np.concatenate([marks.start, words])[None])
        given = {name: value.double() if value.is_floating_point() else value for name, value in recording.items()}
        logits.append(exact(**given, decoder_input_ids=ids, use_cache=False).logits[0, len(marks.start) :])
    hidden = torch.cat([one[0, len(marks.start) :] for one in seen])
    return hidden.detach(), torch.cat(logits).detach()
