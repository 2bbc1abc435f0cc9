"""The module that is traced for MusicGen's decoder, and the original with the same arguments: flat tensors.

Attention and caches are those of `seq2seq.module`. MusicGen's own is around it: the states of the text are projected
and masked, a row's codes of all codebooks are added up, and one product computes the logits of all codebooks.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from onnxpipe_export import tracing
from onnxpipe_export.graphs.causal_lm.cache import pairs
from onnxpipe_export.graphs.seq2seq.layers import DecoderAttention, Layers
from onnxpipe_export.graphs.seq2seq.module import DecoderModule, fresh_length

_ANSWERS = 2
"""How many values the forward of an attention returns: its output, and weights."""
_POSITIONS = 4096
"""The fewest rows of the table of sines, 82 seconds of music; transformers makes new ones as it needs them."""


class MusicgenModule(DecoderModule):
    """MusicGen's decoder from (encoder_attention_mask, input_ids, encoder_hidden_states, four caches a layer,
    use_cache_branch) to (logits, four caches a layer); see `musicgen.CodebookDecoderExport`.

    Args:
        model: a MusicgenForConditionalGeneration.
    """

    def __init__(self, model: Any) -> None:
        layers = model.decoder.model.decoder.layers
        own, cross = (
            tuple(DecoderAttention(getattr(layer, name), _ANSWERS) for layer in layers)
            for name in ("self_attn", "encoder_attn")
        )
        super().__init__(_Codebooks(model.decoder), Layers(own, cross))
        self.codebooks = int(model.decoder.num_codebooks)
        self.project = getattr(model, "enc_to_dec_proj", torch.nn.Identity())

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        """Run the decoder; see the class."""
        mask, ids, states, use_cache = *tensors[:3], tensors[-1]
        kept = fresh_length(states, use_cache)
        states = self.project(states[:, :kept]) * mask[:, :kept, None]
        codes = ids.view(-1, self.codebooks, ids.shape[1]).transpose(1, 2)
        with tracing.replaced(self.model.get_decoder().embed_positions, "forward", self.model.positions):
            logits, _, *present = super().forward(mask, codes, states, *tensors[3:])
        return (logits, *present)


class _Codebooks(torch.nn.Module):  # type: ignore[misc]
    """A decoder of codes with the interface that `DecoderModule` needs; its ids are (rows, length, codebooks)."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("head", torch.cat([head.weight for head in decoder.lm_heads]).detach())
        table = decoder.model.decoder.embed_positions
        rows = max(_POSITIONS, int(table.weights.shape[0]))
        self.register_buffer("table", table.get_embedding(rows, table.embedding_dim))

    def get_decoder(self) -> Any:
        """Return the transformer itself."""
        return self.decoder.model.decoder

    def positions(self, codes: Any, past_key_values_length: Any = 0) -> Any:
        """Embed positions in place of the original, whose table grows by a branch."""
        return self.table.index_select(0, torch.arange(codes.shape[2]) + past_key_values_length)

    def forward(self, decoder_input_ids: Any, encoder_outputs: Any, past_key_values: Any, **others: Any) -> Any:
        """Compute logits (rows * codebooks, length, vocabulary)."""
        rows, length, codebooks = decoder_input_ids.shape
        hidden = self.get_decoder()(
            input_ids=decoder_input_ids.transpose(1, 2).reshape(-1, length),
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            past_key_values=past_key_values,
            use_cache=True,
        ).last_hidden_state
        logits = torch.nn.functional.linear(hidden, self.head).view(rows, length, codebooks, -1)
        return SimpleNamespace(logits=logits.transpose(1, 2).reshape(rows * codebooks, length, logits.shape[-1]))


def run_original(model: Any, mask: Any, ids: Any, states: Any, *rest: Any) -> tuple[Any, ...]:
    """Compute the original's logits and caches, from the arguments of `MusicgenModule`."""
    past, use_cache = rest[:-1], bool(rest[-1][0])
    cache = EncoderDecoderCache(
        _filled(past[0::4], past[1::4]), _filled(*(past[2::4], past[3::4]) if use_cache else ())
    )
    answer = model(
        attention_mask=mask,
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        decoder_input_ids=ids,
        past_key_values=cache,
        use_cache=True,
        return_dict=True,
    )
    own, cross = pairs(cache.self_attention_cache), pairs(cache.cross_attention_cache)
    return (answer.logits, *(tensor for both in zip(own, cross, strict=True) for pair in both for tensor in pair))


def _filled(keys: Any = (), values: Any = ()) -> Any:
    """Make a cache of these keys and values; an empty one where they have no length."""
    cache = DynamicCache()  # made without a config, it drops no tokens
    for layer, (key, value) in enumerate(zip(keys, values, strict=True)):
        if key.shape[2]:
            cache.update(key, value, layer)
    return cache
