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
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from onnxpipe_export import tracing
from onnxpipe_export.graphs.seq2seq.decoder_kind import TEXT_DECODER, DecoderKind, encoder_output
from onnxpipe_export.graphs.seq2seq.layers import DecoderAttention, Layers
from onnxpipe_export.graphs.seq2seq.speech_patches import traceable


class DecoderModule(torch.nn.Module):  # type: ignore[misc]
    """A decoder from ([encoder_attention_mask,] input_ids, encoder_hidden_states, four caches a layer,
    use_cache_branch) to (logits, last hidden state, four caches a layer[, a cross attention's probabilities a layer]).

    The four caches are own keys and values, cross keys and values.

    Args:
        model: the original.
        layers: from `find_layers`.
        kind: which kind of decoder it has.
    """

    def __init__(self, model: Any, layers: Layers, kind: DecoderKind = TEXT_DECODER) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.kind = kind
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
        mask, rest = (tensors[0], tensors[1:]) if self.kind.masked else (None, tensors)
        ids, states, past, use_cache = rest[0], rest[1], rest[2:-1], rest[-1]
        step = _Step(self, mask, ids, states, past, self._fresh(states, use_cache))
        with step.inside(self.kind.decoder(self.model), self.layers):
            logits, hidden = self._run_model(mask, ids, states, step)
        present = [tensor for number in range(len(self.layers)) for tensor in (*step.own[number], *step.cross[number])]
        weights = [step.weights[number] for number in range(len(self.layers))] if self.kind.weights else []
        return (logits, hidden, *present, *weights)

    def _run_model(self, mask: Any, ids: Any, states: Any, step: _Step) -> tuple[Any, Any]:
        """Run the model: logits, and the last hidden state that they are computed from."""
        if self.kind.takes_media:
            with traceable(self.model):
                logits, last, _ = self.kind.run(
                    self.model, input_ids=ids, encoder_hidden_states=states, past_key_values=step,
                    use_cache=True,
                )  # fmt: skip
            return logits, last
        hidden: list[Any] = []
        body = self.kind.decoder(self.model)
        body = body.base_model if self.kind.language_model else body
        hook = body.register_forward_hook(lambda module, args, output: hidden.append(output[0]))
        try:
            logits = self.model(
                attention_mask=mask,
                encoder_outputs=encoder_output(states),
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
        every = self._product("cross", states[:, : fresh_length(states, use_cache)])
        count, width = 2 * len(self.layers) * heads, self.layers.cross[0].inner // heads
        split = every.view(every.shape[0], every.shape[1], count, width).transpose(1, 2).split(heads, dim=1)
        return list(zip(split[::2], split[1::2], strict=True))


def fresh_length(states: Any, use_cache: Any) -> Any:
    """Compute how many of the encoder's states are read: all of them in the first call, none where the cache has them.

    Args:
        states: float32 (texts, length, width).
        use_cache: bool (1,).
    """
    length = torch._shape_as_tensor(states)[1]
    return torch.where(use_cache[0], torch.zeros_like(length), length)


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
        self.cross = fresh if module.kind.takes_media else [self._joined(number) for number in range(len(fresh))]
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
            for name in ("create_causal_mask", "create_sliding_window_causal_mask", "create_bidirectional_mask"):
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
        return _mix(query, key, value, self._future_and_bias(attention), attention.softcap)

    def _over_text(self, number: int, attention: DecoderAttention, hidden: Any) -> Any:
        """Compute cross attention, (texts, heads, beams * length, width)."""
        heads = attention.heads
        query = self._module._product(f"query_{number}", hidden)
        query = query.view(self._texts, -1, heads, attention.inner // heads).transpose(1, 2)
        if not self._module.kind.takes_media:
            return _mix(query, *self.cross[number], self._padding, attention.softcap)
        mixed, weights = _mix_apart(query, self._kept(number), self._fresh[number], self._padding)
        if self._module.kind.weights:
            apart = weights.view(self._texts, heads, -1, self._length, weights.shape[-1]).transpose(1, 2)
            self.weights[number] = apart.reshape(self._rows, heads, self._length, weights.shape[-1])
        return mixed

    def _future_and_bias(self, attention: DecoderAttention) -> Any:
        """Return what is added to the scores of self attention: T5's bias by distance, and the mask of the future.

        T5 has one bias for all layers, at the first; UMT5 has one at each. Beyond a sliding window the past is masked.
        """
        module = attention.module
        if attention.window is not None:
            far = self._places[None, :] <= self._own_places[:, None] - attention.window
            return self._future + torch.where(far, torch.finfo(torch.float32).min / 2, 0.0)
        if getattr(module, "has_relative_attention_bias", False):
            buckets = _buckets(module, self._places[None, :] - self._own_places[:, None])
            bias = module.relative_attention_bias(buckets).permute(2, 0, 1)[None]
            self._first_bias = bias + self._future
        return self._future if self._first_bias is None else self._first_bias


def _home(module: Any) -> Any:
    """Return the Python module in which the class of a torch module is, with the functions that it calls."""
    return sys.modules[type(module).__module__]


def _mix(query: Any, key: Any, value: Any, added: Any, softcap: float | None = None) -> Any:
    """Weight the values by the queries' products with the keys."""
    scores = torch.matmul(query, key.transpose(2, 3))
    scores = (scores if softcap is None else torch.tanh(scores / softcap) * softcap) + added
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
