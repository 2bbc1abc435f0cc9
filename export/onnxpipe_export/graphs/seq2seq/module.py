"""The module that is traced for the decoder of an encoder-decoder model: flat tensors in, flat tensors out.

The model's own decoder runs, but its attention is computed here, in as few steps as the shapes allow:

- keys and values of all layers' cross attention are one product with the encoder's states. With `use_cache_branch` the
  states are cut to no rows first, so the product is empty and only the cache is used. So there is no `If`, and the file
  is one graph for the first call and the others.
- k beams of a text stand one after the other, so their queries (texts * k, length, heads, width) are, without a copy,
  (texts, k * length, heads, width), and meet the keys and values of their text, which exist once.
- queries, keys and values of self attention are one product and one transposition.
- the states of audio and images are many (1,500 for 30 seconds, 577 for 384 x 384 pixels), so keys and values are not
  copied to join those of the cache with those of no states: queries meet each half by itself, and only the scores are
  joined.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput

from onnxpipe_export import tracing
from onnxpipe_export.graphs.seq2seq.speech_patches import traceable

_SELF = re.compile(r"(^|\.)(self_attn|SelfAttention|attn|attention\.self|self_attention\.attention)$")
"""Names of self-attentions: of BART and its kin, T5, GPT-2, BERT (whose output layer is apart), and Pix2Struct."""
_CROSS = re.compile(
    r"(^|\.)(encoder_attn|EncDecAttention|cross_attention|crossattention(\.self)?|encoder_decoder_attention\.attention)$"
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
class DecoderKind:
    """How a decoder differs from others.

    Attributes:
        takes_media: its encoder takes audio or images. As the model's own forward then needs more than the encoder's
            states, the decoder and the output layer are called instead.
        masked: it takes a mask of the encoder's states.
        weights: it returns the probabilities of its cross attentions, from which word timestamps are computed.
        language_model: the name of the model's part that is a whole language model, with an output layer of its own;
            "" where the model has the output layer.
    """

    takes_media: bool = False
    masked: bool = True
    weights: bool = False
    language_model: str = ""

    def decoder(self, model: Any) -> Any:
        """Return the part of `model` that decodes: the language model, or the decoder without an output layer."""
        return getattr(model, self.language_model) if self.language_model else model.get_decoder()

    def output_layer(self, model: Any) -> Any:
        """Return the layer that computes the logits, with a row of its weight for each token."""
        return (self.decoder(model) if self.language_model else model).get_output_embeddings()


TEXT_DECODER = DecoderKind()


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
        return linear.weight, linear.bias


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


def find_layers(model: Any, form: DecoderKind = TEXT_DECODER) -> Layers | None:
    """Find the attentions of the model's decoder; None unless each layer has one self- and one cross-attention.

    None too for a decoder with an output layer of its own where `form` names no language model.
    """
    decoder = form.decoder(model)
    if not form.language_model and getattr(decoder, "get_output_embeddings", lambda: None)() is not None:
        return None
    named = list(decoder.named_modules())
    own = [module for name, module in named if _SELF.search(name) and _computes(module)]
    cross = [module for name, module in named if _CROSS.search(name) and _computes(module)]
    if not own or len(own) != len(cross) or not all(_is_plain(module) for module in (*own, *cross)):
        return None
    answers = _count_answers(model, [*own, *cross], form)
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
    return linear is not None and len({one.out_features for one in linear[:3]}) == 1


def _count_answers(model: Any, modules: list[Any], form: DecoderKind) -> dict[Any, int]:
    """Count the values that the forward of each module returns, in a run of the model."""
    counts: dict[Any, int] = {}
    hooks = [m.register_forward_hook(lambda module, _, answer: counts.update({module: len(answer)})) for m in modules]
    end = getattr(model.config, "eos_token_id", None)
    token = torch.full((1, 2), end if isinstance(end, int) else 0)
    try:
        with torch.inference_mode(), tracing.quiet():
            if form.takes_media:
                states = torch.zeros(1, 3, DecoderAttention(modules[-1], 0).merged(1)[0].shape[1])
                form.decoder(model)(input_ids=token, encoder_hidden_states=states)
            else:
                model(input_ids=token, decoder_input_ids=token)
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def run_decoder(model: Any, form: DecoderKind, **inputs: Any) -> tuple[Any, Any, Any]:
    """Run the decoder of a model of audio or images.

    Returns:
        Logits (rows, length, vocabulary), the last hidden state (rows, length, width), and what the decoder returned.
    """
    decoder = form.decoder(model)
    if not form.language_model:
        answer = decoder(**inputs)
        return form.output_layer(model)(answer.last_hidden_state), answer.last_hidden_state, answer
    body, hidden = decoder.base_model, []
    inner = [body, *(getattr(body, name) for name in ("decoder", "final_layer_norm") if hasattr(body, name))]
    hooks = [part.register_forward_hook(lambda module, args, output: hidden.append(output)) for part in inner]
    try:
        answer = decoder(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    first = hidden[0]  # some language models call the decoder inside their body, and not the body
    return answer.logits, first if isinstance(first, torch.Tensor) else first[0], answer


class DecoderModule(torch.nn.Module):  # type: ignore[misc]
    """A decoder from ([encoder_attention_mask,] input_ids, encoder_hidden_states, four caches a layer,
    use_cache_branch) to (logits, last hidden state, four caches a layer[, a cross attention's probabilities a layer]).

    The four caches are own keys and values, cross keys and values.

    Args:
        model: the original.
        layers: from `find_layers`.
        form: which kind of decoder it has.
    """

    def __init__(self, model: Any, layers: Layers, form: DecoderKind = TEXT_DECODER) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.form = form
        for number, (own, cross) in enumerate(zip(layers.own, layers.cross, strict=True)):
            self._keep(f"own_{number}", own.merged(0, 1, 2))
            self._keep(f"query_{number}", cross.merged(0))
        parts = [cross.merged(1, 2) for cross in layers.cross]
        biases = [bias for _, bias in parts if bias is not None]
        self._keep("cross", (torch.cat([weight for weight, _ in parts]), torch.cat(biases) if biases else None))

    def _keep(self, name: str, pair: tuple[Any, Any]) -> None:
        self.register_buffer(f"{name}_weight", pair[0])
        self.register_buffer(f"{name}_bias", pair[1])

    def _product(self, name: str, value: Any) -> Any:
        return functional.linear(value, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias"))

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        """Run the decoder; see the class."""
        mask, rest = (tensors[0], tensors[1:]) if self.form.masked else (None, tensors)
        ids, states, past, use_cache = rest[0], rest[1], rest[2:-1], rest[-1]
        step = _Step(self, mask, ids, states, past, self._fresh(states, use_cache))
        with step.inside(self.form.decoder(self.model), self.layers):
            logits, hidden = self._run_model(mask, ids, states, step)
        present = [tensor for number in range(len(self.layers)) for tensor in (*step.own[number], *step.cross[number])]
        weights = [step.weights[number] for number in range(len(self.layers))] if self.form.weights else []
        return (logits, hidden, *present, *weights)

    def _run_model(self, mask: Any, ids: Any, states: Any, step: _Step) -> tuple[Any, Any]:
        """Run the model: logits, and the last hidden state that they are computed from."""
        if self.form.takes_media:
            with traceable(self.model):
                logits, last, _ = run_decoder(
                    self.model, self.form, input_ids=ids, encoder_hidden_states=states, past_key_values=step,
                    use_cache=True,
                )  # fmt: skip
            return logits, last
        hidden: list[Any] = []
        hook = self.model.get_decoder().register_forward_hook(lambda module, args, output: hidden.append(output[0]))
        try:
            logits = self.model(
                attention_mask=mask,
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                decoder_input_ids=ids,
                past_key_values=step,
                use_cache=True,
                return_dict=True,
            ).logits
        finally:
            hook.remove()
        return logits, hidden[0]

    def _fresh(self, states: Any, use_cache: Any) -> list[tuple[Any, Any]]:
        """Compute the cross keys and values of each layer from the states; from none of them if the cache is used."""
        heads = self.layers.cross[0].heads
        length = torch._shape_as_tensor(states)[1]
        fresh = states[:, : torch.where(use_cache[0], torch.zeros_like(length), length)]
        every = self._product("cross", fresh)
        count, width = 2 * len(self.layers) * heads, self.layers.cross[0].inner // heads
        split = every.view(every.shape[0], every.shape[1], count, width).transpose(1, 2).split(heads, dim=1)
        return list(zip(split[::2], split[1::2], strict=True))


class _Step:
    """One run of the decoder; the model takes it for its cache, and reads nothing but the length from it."""

    is_compileable = False

    def __init__(
        self,
        module: DecoderModule,
        mask: Any,
        ids: Any,
        states: Any,
        past: tuple[Any, ...],
        fresh: list[tuple[Any, Any]],
    ) -> None:
        self._module = module
        self._past = past
        self._rows, self._length = ids.shape[0], ids.shape[1]
        self._texts = states.shape[0]
        self._before = torch._shape_as_tensor(past[0])[2]
        self._fresh = fresh
        self.own: dict[int, tuple[Any, Any]] = {}
        self.cross = fresh if module.form.takes_media else [self._joined(number) for number in range(len(fresh))]
        self.weights: dict[int, Any] = {}
        lowest = torch.finfo(torch.float32).min
        self._padding = None if mask is None else torch.where(mask[:, None, None, :] > 0, 0.0, lowest)
        self._own_places = torch.arange(self._length) + self._before
        self._places = torch.arange(self._before + torch._shape_as_tensor(ids)[1])
        future = self._places[None, :] > self._own_places[:, None]
        self._future = torch.where(future, lowest, 0.0)[None, None]
        self._first_bias: Any = None

    @property
    def self_attention_cache(self) -> _Step:
        """The cache of the tokens: this step, which some decoders ask for the length by this name."""
        return self

    def get_seq_length(self, layer: int = 0) -> Any:
        """Return the number of tokens so far."""
        return self._before

    def _kept(self, number: int) -> tuple[Any, Any]:
        """Return the cross keys and values of a layer that the cache has."""
        return self._past[4 * number + 2], self._past[4 * number + 3]

    def _joined(self, number: int) -> tuple[Any, Any]:
        """Join the cached cross keys and values with those of the states: one of the two is empty."""
        (key, value), (fresh_key, fresh_value) = self._kept(number), self._fresh[number]
        return torch.cat([key, fresh_key], dim=2), torch.cat([value, fresh_value], dim=2)

    @contextlib.contextmanager
    def inside(self, decoder: Any, layers: Layers) -> Iterator[None]:
        """Let the decoder attend through this step inside, and make no masks and no cache of its own."""
        home = _home(decoder)
        with contextlib.ExitStack() as stack:
            for name in ("create_causal_mask", "create_bidirectional_mask"):
                if hasattr(home, name):
                    stack.enter_context(tracing.replaced(home, name, lambda *args, **kwargs: None))
            if hasattr(home, "EncoderDecoderCache"):
                stack.enter_context(tracing.replaced(home, "EncoderDecoderCache", _Step))
            for number, (own, cross) in enumerate(zip(layers.own, layers.cross, strict=True)):
                stack.enter_context(tracing.replaced(own.module, "forward", self._attend(number, own, own=True)))
                stack.enter_context(tracing.replaced(cross.module, "forward", self._attend(number, cross, own=False)))
            yield

    def _attend(self, number: int, attention: DecoderAttention, own: bool) -> Any:
        """Make the replacement of an attention's forward."""

        def forward(hidden_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
            if own:
                mixed = self._over_tokens(number, attention, hidden_states, kwargs.get("position_embeddings"))
            else:
                mixed = self._over_text(number, attention, hidden_states)
            flat = mixed.transpose(1, 2).reshape(self._rows, self._length, attention.inner)
            return (attention.output(flat), *[None] * (attention.answers - 1))

        return forward

    def _over_tokens(self, number: int, attention: DecoderAttention, hidden: Any, rotation: Any) -> Any:
        """Compute self attention, (rows, heads, length, width).

        Args:
            number: of the layer.
            attention: the original.
            hidden: float32 (rows, length, model width).
            rotation: cosines and sines of the tokens' positions, where the model rotates queries and keys.
        """
        heads = attention.heads
        every = self._module._product(f"own_{number}", hidden)
        parts = every.view(self._rows, self._length, 3 * heads, attention.inner // heads).transpose(1, 2)
        query, key, value = parts.split(heads, dim=1)
        if rotation is not None:
            query, key = _home(attention.module).apply_rotary_pos_emb(query, key, *rotation)
        key = torch.cat([self._past[4 * number], key], dim=2)
        value = torch.cat([self._past[4 * number + 1], value], dim=2)
        self.own[number] = (key, value)
        return _mix(query, key, value, self._future_and_bias(attention.module))

    def _over_text(self, number: int, attention: DecoderAttention, hidden: Any) -> Any:
        """Compute cross attention, (texts, heads, beams * length, width)."""
        heads = attention.heads
        query = self._module._product(f"query_{number}", hidden)
        query = query.view(self._texts, -1, heads, attention.inner // heads).transpose(1, 2)
        if not self._module.form.takes_media:
            return _mix(query, *self.cross[number], self._padding)
        mixed, weights = _mix_apart(query, self._kept(number), self._fresh[number], self._padding)
        if self._module.form.weights:
            apart = weights.view(self._texts, heads, -1, self._length, weights.shape[-1]).transpose(1, 2)
            self.weights[number] = apart.reshape(self._rows, heads, self._length, weights.shape[-1])
        return mixed

    def _future_and_bias(self, module: Any) -> Any:
        """Return what is added to the scores of self attention: T5's bias by distance, and the mask of the future.

        T5 has one bias for all layers, at the first; UMT5 has one at each.
        """
        if getattr(module, "has_relative_attention_bias", False):
            buckets = _buckets(module, self._places[None, :] - self._own_places[:, None])
            bias = module.relative_attention_bias(buckets).permute(2, 0, 1)[None]
            self._first_bias = bias + self._future
        return self._future if self._first_bias is None else self._first_bias


def _home(module: Any) -> Any:
    """Return the Python module in which the class of a torch module is, with the functions that it calls."""
    return sys.modules[type(module).__module__]


def _mix(query: Any, key: Any, value: Any, added: Any) -> Any:
    """Weight the values by the queries' products with the keys."""
    scores = torch.matmul(query, key.transpose(2, 3)) + added
    return torch.matmul(functional.softmax(scores, dim=-1), value)


def _mix_apart(query: Any, kept: tuple[Any, Any], fresh: tuple[Any, Any], added: Any) -> tuple[Any, Any]:
    """Attend over two sets of keys and values, of which one is empty; also return the weights of both together."""
    scores = torch.cat([torch.matmul(query, key.transpose(2, 3)) for key, _ in (kept, fresh)], dim=-1)
    weights = functional.softmax(scores if added is None else scores + added, dim=-1)
    middle = kept[0].shape[2]
    return torch.matmul(weights[..., :middle], kept[1]) + torch.matmul(weights[..., middle:], fresh[1]), weights


def _buckets(module: Any, distance: Any) -> Any:
    """Compute T5's buckets of distances, as its decoder does."""
    with contextlib.suppress(TypeError):
        return module._relative_position_bucket(
            distance,
            bidirectional=False,
            num_buckets=module.relative_attention_num_buckets,
            max_distance=module.relative_attention_max_distance,
        )
    return module._relative_position_bucket(distance)
