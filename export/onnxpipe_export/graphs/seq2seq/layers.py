"""Find the attentions of a decoder, whatever its family calls them and their parts."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

import torch

from onnxpipe_export import tracing
from onnxpipe_export.graphs.seq2seq.decoder_kind import TEXT_DECODER, DecoderKind

_SELF = re.compile(r"(^|\.)(self_attn|SelfAttention|attn|attention\.self|self_attention\.attention)$")
"""Names of self-attentions: of BART and its kin, T5, GPT-2, BERT (whose output layer is apart), and Pix2Struct."""
_CROSS = re.compile(
    r"(^|\.)(encoder_attn|EncDecAttention|cross_attn|cross_attention|crossattention(\.self)?|"
    r"encoder_decoder_attention\.attention)$"
)
_PROJECTIONS: tuple[tuple[str, str, str, str | None], ...] = (
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q", "k", "v", "o"),
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("query", "key", "value", "output"),
    ("query", "key", "value", None),
)
"""Names of the layers for queries, keys, values and output; None where the output layer is not the attention's."""
_HEADS = ("num_heads", "n_heads", "num_attention_heads")
"""Names of the number of heads."""


@dataclass(frozen=True)
class DecoderAttention:
    """An attention of the model's decoder.

    Attributes:
        module: the torch module, whose forward is replaced.
        answers: how many values its forward returns.
    """

    module: Any
    answers: int

    @property
    def heads(self) -> int:
        """Number of heads."""
        named = next((getattr(self.module, name) for name in _HEADS if getattr(self.module, name, None)), None)
        return int(named or self.inner // self.module.head_dim)

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return int(self._projection(0)[0].shape[0])

    def output(self, value: Any) -> Any:
        """Apply the output projection, if the attention has it."""
        if _is_gpt2(self.module):
            return self.module.c_proj(value)
        name = next(names[3] for names in _PROJECTIONS if _has(self.module, names))
        return value if name is None else getattr(self.module, name)(value)

    def merged(self, *numbers: int) -> tuple[Any, Any]:
        """Stack the weights and biases (None without one) of the projections `numbers`: 0 query, 1 key, 2 value.

        The query's are scaled, so that the scores need not be.
        """
        pairs = [self._projection(number) for number in numbers]
        scales = [self._scaling if number == 0 else 1.0 for number in numbers]
        merged = torch.cat([weight * scale for (weight, _), scale in zip(pairs, scales, strict=True)]).detach()
        if all(bias is None for _, bias in pairs):
            return merged, None
        biases = [torch.zeros(len(weight)) if bias is None else bias for weight, bias in pairs]
        return merged, torch.cat([bias * scale for bias, scale in zip(biases, scales, strict=True)]).detach()

    @property
    def _scaling(self) -> float:
        scaling, size = (getattr(self.module, name, None) for name in ("scaling", "attention_head_size"))
        if scaling is not None:
            return float(scaling)
        return 1.0 if size is None else float(size) ** -0.5

    def _projection(self, number: int) -> tuple[Any, Any]:
        """Return the weight, (outputs, inputs), and the bias of a projection: 0 query, 1 key, 2 value."""
        if _is_gpt2(self.module):
            return _gpt2_projection(self.module, number)
        names = next(names for names in _PROJECTIONS if _has(self.module, names))
        linear = getattr(self.module, str(names[number]))
        weight, bias = self._for_each_query(linear.weight, number), linear.bias
        return weight, None if bias is None else self._for_each_query(bias, number)

    def _for_each_query(self, value: Any, number: int) -> Any:
        """Repeat the rows of a weight or bias for each of the heads of queries that share a head of keys and values."""
        groups = 1 if number == 0 else _groups(self.module)
        if groups == 1:
            return value
        return value.unflatten(0, (-1, self.module.head_dim)).repeat_interleave(groups, dim=0).flatten(0, 1)

    @property
    def softcap(self) -> float | None:
        """The largest magnitude of a score, reached by a tangent; None where scores are free."""
        cap = getattr(self.module, "attn_logit_softcapping", None)
        return None if cap is None else float(cap)

    @property
    def window(self) -> int | None:
        """How many tokens it sees, itself the last; None for all."""
        window = getattr(self.module, "sliding_window", None)
        return None if window is None else int(window)


@dataclass(frozen=True)
class Layers:
    """The attentions of a decoder, one of each kind a layer.

    Attributes:
        own: those over the tokens so far.
        cross: those over the encoder's states.
    """

    own: tuple[DecoderAttention, ...]
    cross: tuple[DecoderAttention, ...]

    def __len__(self) -> int:
        return len(self.own)


def _has(module: Any, names: tuple[str, str, str, str | None]) -> bool:
    return all(name is None or hasattr(module, name) for name in names)


def _is_gpt2(module: Any) -> bool:
    """Tell whether an attention has GPT-2's layers, which keep their weights as (inputs, outputs), several in one."""
    return hasattr(module, "c_attn") and hasattr(module, "c_proj")


def _gpt2_projection(module: Any, number: int) -> tuple[Any, Any]:
    """Cut the projection `number` out of GPT-2's layers: a cross-attention has one for queries and one for the rest."""
    separate = hasattr(module, "q_attn")
    layer = module.q_attn if separate and number == 0 else module.c_attn
    place, count = (0, 1) if layer is not module.c_attn else (number - 1, 2) if separate else (number, 3)
    return layer.weight.T.chunk(count)[place], layer.bias.chunk(count)[place]


def find_layers(model: Any, kind: DecoderKind = TEXT_DECODER) -> Layers | None:
    """Find the attentions of the model's decoder; None unless each layer has one self- and one cross-attention.

    None too for a decoder with an output layer of its own where `kind` names no language model.
    """
    decoder = kind.decoder(model)
    if not kind.language_model and getattr(decoder, "get_output_embeddings", lambda: None)() is not None:
        return None
    named = list(decoder.named_modules())
    own = [module for name, module in named if _SELF.search(name) and _computes(module)]
    cross = [module for name, module in named if _CROSS.search(name) and _computes(module)]
    if not own or len(own) != len(cross) or not all(_is_plain(module) for module in (*own, *cross)):
        return None
    answers = _count_answers(model, [*own, *cross], kind)
    return Layers(*(tuple(DecoderAttention(module, answers[module]) for module in modules) for modules in (own, cross)))


def _computes(module: Any) -> bool:
    """Tell whether a module of an attention's name attends itself; BERT's is around one that does."""
    return not hasattr(module, "self")


def _is_plain(module: Any) -> bool:
    """Tell whether an attention has linear layers, as many keys as queries, and a signature known here."""
    first = next(iter(inspect.signature(module.forward).parameters), "")  # FSMT's has the length before the batch
    if first != "hidden_states" or not any(getattr(module, name, None) for name in (*_HEADS, "head_dim")):
        return False
    if _is_gpt2(module):
        return not getattr(module, "reorder_and_upcast_attn", False)
    every = [[getattr(module, name) for name in names if name] for names in _PROJECTIONS if _has(module, names)]
    linear = next((layers for layers in every if all(isinstance(one, torch.nn.Linear) for one in layers)), None)
    if linear is None:
        return False
    query, key, value = (one.out_features for one in linear[:3])
    return bool(query == key * _groups(module) == value * _groups(module))


def _groups(module: Any) -> int:
    """Count the heads of queries for each head of keys and values."""
    return int(getattr(module, "num_key_value_groups", 1))


def _count_answers(model: Any, modules: list[Any], kind: DecoderKind) -> dict[Any, int]:
    """Count the values that the forward of each module returns, in a run of the model."""
    counts: dict[Any, int] = {}
    hooks = [m.register_forward_hook(lambda module, _, answer: counts.update({module: len(answer)})) for m in modules]
    end = getattr(model.config, "eos_token_id", None)
    token = torch.full((1, 2), end if isinstance(end, int) else 0)
    try:
        with torch.inference_mode(), tracing.quiet():
            if kind.takes_media:
                states = torch.zeros(1, 3, DecoderAttention(modules[-1], 0).merged(1)[0].shape[1])
                kind.decoder(model)(input_ids=token, encoder_hidden_states=states)
            else:
                model(input_ids=token, decoder_input_ids=token)
    finally:
        for hook in hooks:
            hook.remove()
    return counts
