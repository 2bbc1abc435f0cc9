"""Causal language models: logits for token rows, and text by `generate()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.causal_lm.decoder import PaddedDecoder, RaggedDecoder
from onnxpipe.models.causal_lm.graph import CausalGraph
from onnxpipe.models.causal_lm.inputs import DecoderInputs, EmbeddedTokens, TokenEmbeddings, TokenIds, one_row
from onnxpipe.models.causal_lm.slots import SlotCache
from onnxpipe.models.causal_lm.switching import SwitchingDecoder
from onnxpipe.models.causal_lm.uncached import CausalDecoder, UncachedDecoder
from onnxpipe.models.generative import GenerativeModel
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.model_output import ModelOutput

Array = NDArray[Any]


class CausalLM(GenerativeModel):
    """A decoder-only language model: call it for logits, or `generate()` text.

    Args:
        bundle: the folder it came from.
        graph: its graphs.
        name_or_path: what the user called it.
        embeddings: embeds tokens for a decoder that takes no ids; None for one that does.
    """

    def __init__(
        self, bundle: Bundle, graph: CausalGraph, name_or_path: str, embeddings: TokenEmbeddings | None = None
    ) -> None:
        super().__init__(bundle, graph.session, graph.precision, name_or_path)
        self.graph = graph
        self.embeddings = embeddings

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> CausalLM:
        """Load the model of a bundle's decoder graphs."""
        graph = CausalGraph.load(bundle, opener)
        takes_ids = "input_ids" in graph.session.inputs
        embeddings = None if takes_ids else TokenEmbeddings(opener("embed_tokens")[0])
        graph.check_inputs((*(("input_ids",) if embeddings is None else embeddings.session.outputs), "position_ids"))
        return cls(bundle, graph, name_or_path, embeddings)

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Compute the logits of a batch, without a cache.

        Args:
            input_ids: token ids, int, shape (batch, sequence), padded on either side.
            attention_mask: 1 for tokens, 0 for padding, same shape; all ones by default.
            position_ids: refused: positions are counted from the mask, as `generate()` does.
            past_key_values: refused: the cache is `generate()`'s own.
            use_cache: without effect; no cache is given back.
            return_dict: False gives a tuple.

        Returns:
            `ModelOutput` with `logits`, float32 (batch, sequence, vocabulary); zeros at padding.

        Raises:
            UnsupportedError: an argument that is refused.
            ValueError: no input, or a mask of another shape.
        """
        return self.whole(input_ids, attention_mask, position_ids, past_key_values, images={}, return_dict=return_dict)

    def whole(
        self,
        input_ids: Any,
        attention_mask: Any,
        position_ids: Any,
        past_key_values: Any,
        *,
        images: Mapping[str, Any],
        return_dict: bool,
    ) -> Any:
        """Compute the logits of whole rows; for the arguments see `__call__`."""
        for name, value in (("position_ids", position_ids), ("past_key_values", past_key_values)):
            if value is not None:
                raise UnsupportedError(
                    f"{name}= is not supported: generate() counts positions and keeps the cache itself"
                )
        if input_ids is None:
            raise ValueError("input_ids must be given: int, shape (batch, sequence)")
        ids = np.asarray(to_array(input_ids), np.int64)
        rows = _rows(ids, attention_mask)
        inside = _mask(ids, attention_mask)
        logits = np.zeros((*ids.shape, self.vocab_size), np.float32)
        logits[inside] = np.concatenate(self._logits(rows, self.decoder_inputs(rows, images))) if rows else 0
        outputs = ModelOutput(logits=logits)
        return outputs if return_dict else outputs.to_tuple()

    def decoder_inputs(self, rows: list[Array], inputs: Mapping[str, Any]) -> DecoderInputs:
        """Make what the graph is fed for the tokens of prompts.

        Args:
            rows: int64 (length,) each, without padding.
            inputs: what else the call was passed.
        """
        return TokenIds(rows) if self.embeddings is None else EmbeddedTokens(self.embeddings, rows)

    def _logits(self, rows: list[Array], inputs: DecoderInputs) -> list[Array]:
        """float32 (length, vocabulary) for each row, int64 (length,)."""
        lengths = np.array([len(row) for row in rows])
        width, graph = int(lengths.max()), self.graph
        shift = np.zeros_like(lengths) if graph.ragged else width - lengths
        places = np.arange(width) - shift[:, None]
        inside = (places >= 0) & (places < lengths[:, None])
        tokens = inputs.prompt(inside, np.where(inside, places, 0))
        if graph.states and not inside.all():  # a state would take the padding in
            every = np.arange(width)
            return [
                self._run(one_row(tokens, i, every[shown]), np.ones((1, lengths[i]), bool))[0]
                for i, shown in enumerate(inside)
            ]
        logits = self._run(tokens, inside)
        return [logits[i][inside[i]] for i in range(len(rows))]

    def _run(self, tokens: dict[str, Array], inside: Array) -> Array:
        """float32 (rows, width, vocabulary) for tokens that are where `inside`, bool (rows, width), is true."""
        graph = self.graph
        graph.check_length(inside.shape[1], len(inside))
        feeds: dict[str, Any] = graph.feeds(tokens, inside.astype(np.int64), 0, cached=False)
        if graph.prompt is graph.session:
            feeds |= {name: value.numpy() for name, value in graph.buffers(len(inside), 0).items()}
        try:
            return graph.prompt.run(feeds, ["logits"])["logits"]
        except RuntimeError as error:
            raise graph.explained(error, inside.shape[1]) from error

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})

    def slots(self, count: int, keep: bool | None = None) -> SlotCache | None:
        """Make the caches of several decodings that come and go; None where the graph cannot have them.

        It needs GroupQueryAttention, no states, rotary frequencies that stay the same, ids as its input, and memory
        that is numpy's.

        Args:
            count: the most rows.
            keep: let prompts continue from what was run before. None leaves that out where activations are rounded to 8
                bits: what was run token by token differs from what is run at once in the last bits of a float, which
                rounding can turn into another token.
        """
        graph = self.graph
        fits = (
            graph.ragged
            and not graph.states
            and graph.changes_after is None
            and self.embeddings is None
            and graph.prompt is graph.session
        )
        keep = self.precision != "int8" if keep is None else keep
        return SlotCache(graph, count, keep=keep) if fits and graph.session.device.type == "cpu" else None

    def prompt_of(self, prompt: Array, inputs: Mapping[str, Any]) -> Array:
        """Return the tokens of the one prompt of a decoding without its padding: int64 (length,)."""
        (row,) = _rows(np.asarray(prompt, np.int64), inputs.get("attention_mask"))
        return row

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> CausalDecoder | SwitchingDecoder:
        """Begin a decoding of a batch of prompts; see `onnxpipe.generation.protocols.GenerationModel`."""
        prompts = _rows(np.asarray(prompt, np.int64), inputs.get("attention_mask"))
        limit = self.graph.changes_after
        if limit is not None and min(map(len, prompts)) <= limit < max_length and self.graph.caches:

            def start(rows: Sequence[Array], copies: int) -> CausalDecoder:
                return self._decoder(rows, {}, copies, max_length, hidden)

            return SwitchingDecoder(start, prompts, copies, limit)
        return self._decoder(prompts, inputs, copies, max_length, hidden)

    def _decoder(
        self, prompts: Sequence[Array], inputs: Mapping[str, Any], copies: int, max_length: int, hidden: bool
    ) -> CausalDecoder:
        tokens = self.decoder_inputs(list(prompts), inputs)
        if self.graph.uncached:
            return UncachedDecoder(self.graph, prompts, copies, hidden=hidden, inputs=tokens)
        if self.graph.ragged:
            return RaggedDecoder(self.graph, prompts, copies, max_length, hidden=hidden, inputs=tokens)
        return PaddedDecoder(self.graph, prompts, copies, hidden=hidden, inputs=tokens)


def _mask(ids: Array, attention_mask: Any) -> Array:
    if ids.ndim != 2:
        raise ValueError(f"input_ids has the shape {ids.shape}; the model takes (batch, sequence)")
    if attention_mask is None:
        return np.ones(ids.shape, bool)
    mask = to_array(attention_mask).astype(bool)
    if mask.shape != ids.shape:
        raise ValueError(f"attention_mask has the shape {mask.shape} and input_ids {ids.shape}: they must be equal")
    return mask


def _rows(ids: Array, attention_mask: Any) -> list[Array]:
    """Strip the padding of each row; a row of nothing but padding keeps its last token, as a graph needs one."""
    mask = _mask(ids, attention_mask)
    mask[~mask.any(axis=1), -1:] = True
    return [row[kept] for row, kept in zip(ids, mask, strict=True)]
