"""Random weights that write about images: text that depends on the image, varies and ends, without ties.

As in `zoo.text.generator_weights`: the last norm's weights have random signs, its bias takes the mean away, logits have
a standard deviation of 3, and the end is the likeliest next token at about one step of 12. Marks are unlikely. Queries
of decoders are small: attention that picks one place alone is a decision, which the rounding of fewer bits tips.
"""

from __future__ import annotations

import copy
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_STEPS = 24
_CROSS = ("encoder_attn", "crossattention", "encoder_decoder_attention")
_QUERIES = ("query", "q_proj", "q_attn")


@dataclass(frozen=True)
class Writer:
    """A model that writes, as far as its weights need it.

    Attributes:
        model: the torch module.
        norm: the path of the last norm.
        head: the output layer.
        run: (the same model in float64, pixels of an image, token ids) to logits (1, length, vocabulary).
        start: the decoder's first tokens.
        end: what ends a text.
        unlikely: what should never be written.
        words: of ordinary text.
    """

    model: Any
    norm: str
    head: Callable[[Any], Any]
    run: Callable[[Any, Any, Any], Any]
    start: tuple[int, ...]
    end: int
    unlikely: tuple[int, ...]
    words: range


def fill(writer: Writer, seed: str, images: Sequence[Any]) -> None:
    """Overwrite the weights of the model, drawn from `seed` and their places; settle it on images, a row each."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _draw(writer, seed)
        torch.set_default_dtype(torch.float64)  # TrOCR of transformers 4.57 makes masks of the default type
        _settle(writer, images)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(before)


def _draw(writer: Writer, seed: str) -> None:
    """Draw all weights; the last norm's have random signs, and rows of unlikely tokens are small."""
    import torch

    model, norm = writer.model, writer.model.get_submodule(writer.norm)
    draw(model, seed, norm.weight)
    weight = writer.head(model).weight
    rows = torch.full((len(weight), 1), 0.3)
    rows[writer.words.start : writer.words.stop] = 1.0
    rows[writer.end] = 1.0
    rows[list(writer.unlikely)] = 0.1
    with torch.no_grad():
        weight.mul_(rows)


def draw(model: Any, seed: str, last: Any = None) -> None:
    """Overwrite every parameter: norms near one, words N(0, 1), matrices N(0, 3 / fan-in) or more.

    Args:
        model: the torch module.
        seed: any text.
        last: the weights of the last norm, which get random signs.
    """
    import torch

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    transposed = {id(module.weight) for module in model.modules() if type(module).__name__ == "Conv1D"}
    queries = 0.6
    if model.config.model_type == "pix2struct":  # its products are not divided by the root of a head's width
        queries /= float(model.config.text_config.d_kv) ** 0.5
    scales = bool(getattr(getattr(model.config, "decoder", None), "scale_embedding", False))
    for place, name, parameter in _places(model):
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{place}".encode())).standard_normal(tuple(parameter.shape))
        if parameter is last:
            values = np.sign(noise) * (1 + 0.1 * np.abs(noise))
        elif id(parameter) in embeddings or "position_embed" in name:
            places = any(word in name for word in ("position", "wpe", "relative", "row_emb", "column_emb"))
            values = noise * (0.5 if places else 1.0 / (parameter.shape[1] ** 0.5 if scales else 1.0))
        elif parameter.dim() > 1:
            inner = parameter.shape[:1] if id(parameter) in transposed else parameter.shape[1:]
            values = noise * (_gain(name, queries) / float(np.prod(inner)) ** 0.5)
        else:
            values = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.asarray(values, np.float32)))


def _places(model: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield each parameter with its name, and its place among those of its kind.

    Names and the order of layers of different kinds differ between transformers 4 and 5, this place does not.
    """
    seen: Counter[str] = Counter()
    known: set[int] = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in known:
                known.add(id(parameter))
                kind = f"{type(module).__name__}/{name}/{tuple(parameter.shape)}"
                seen[kind] += 1
                yield f"{kind}/{seen[kind]}", f"{path}.{name}", parameter


def _gain(name: str, queries: float) -> float:
    """The scale of the matrix `name`; larger where the image comes in. `queries`: that of a decoder's queries."""
    if "decoder" in name and any(word in name for word in _QUERIES):
        return queries
    if any(word in name for word in _CROSS):
        return 3.0
    return 2.5 if "decoder" in name and any(word in name for word in ("out_proj", "c_proj", "dense")) else 1.7


def _settle(writer: Writer, images: Sequence[Any]) -> None:
    """Measured in float64 and rounded, so that rounding errors of the forward pass do not reach the weights."""
    import torch

    norm, head = writer.model.get_submodule(writer.norm), writer.head(writer.model)
    words = slice(writer.words.start, writer.words.stop)
    with torch.no_grad():
        if getattr(norm, "bias", None) is not None:  # no token is likely after everything
            norm.bias.sub_(_answers(writer, images)[0].mean(0).round(decimals=1).float())
        scale = round(3.0 / float(_answers(writer, images)[1][:, words].std()), 2)
        norm.weight.mul_(scale)
        if getattr(norm, "bias", None) is not None:
            norm.bias.mul_(scale)
        logits = _answers(writer, images)[1]
        own, best = logits[:, writer.end], logits[:, words].max(-1).values
        place = len(own) // 12
        factors = [torch.where(s * own > 0, s * best / own, torch.inf).abs().sort().values[place] for s in (1, -1)]
        factor = round(float(min(factors)), 1)
        head.weight[writer.end] *= factor if factors[0] <= factors[1] else -factor


def _answers(writer: Writer, images: Sequence[Any]) -> tuple[Any, Any]:
    """What the last norm gives and the logits, after every word of a random text for each image."""
    import torch

    exact = copy.deepcopy(writer.model).double()
    seen: list[Any] = []
    exact.get_submodule(writer.norm).register_forward_hook(lambda module, inputs, output: seen.append(output))
    rng, logits = np.random.default_rng(5), []
    for image in images:
        words = rng.integers(writer.words.start, writer.words.stop, _STEPS)
        ids = torch.from_numpy(np.concatenate([writer.start, words])[None])
        logits.append(writer.run(exact, image.double(), ids)[0, -_STEPS:])
    hidden = torch.cat([one[0, -_STEPS:] for one in seen])
    return hidden.detach(), torch.cat(logits).detach()
