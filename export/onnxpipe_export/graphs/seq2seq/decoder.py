"""Export the decoder of an encoder-decoder model as one graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.fuse import share_tables
from onnxpipe_export.graphs.encoder import attention
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run
from onnxpipe_export.graphs.seq2seq.decoder_kind import TEXT_DECODER, DecoderKind, encoder_output
from onnxpipe_export.graphs.seq2seq.experts import traceable_experts
from onnxpipe_export.graphs.seq2seq.layers import Layers
from onnxpipe_export.graphs.seq2seq.module import DecoderModule
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import seq2seq

_MOST_LOGITS = _MOST_WEIGHTS = 2**24
"""Numbers in the largest answer that is compared: 64 MB."""
_GENERATED = 16
"""Tokens that the original generates for each text."""
_SHORT = 12
"""How many of long states are kept where any will do."""
_SEED = 11
_ANSWERS = ("logits", "last_hidden_state")


class EncoderSource(Protocol):
    """The encoder's export, as far as the decoder needs it."""

    def rows(self, tokenizer: Any) -> Sequence[Sized]:
        """Return inputs of different lengths for the encoder: texts, or recordings."""

    def encode(self, rows: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Run the original's encoder on a batch.

        Returns:
            The states, float32 (rows, length, width), padded at the right; and their mask, int64 (rows, length).
        """


@dataclass(frozen=True, kw_only=True)
class Seq2SeqDecoderExport:
    """The export of `decoder_model_merged`: the next logits of k beams for each text.

    Inputs, with `rows` = texts * k, the beams of a text one after the other:

    - encoder_attention_mask int64 (texts, encoder length), where the decoder takes a mask of the states
    - input_ids int64 (rows, length)
    - encoder_hidden_states float32 (texts, encoder length, width)
    - past_key_values.N.decoder.key, .value (rows, heads, past, head width)
    - past_key_values.N.encoder.key, .value (texts, heads, encoder length, head width); length 0 in the first call
    - use_cache_branch bool (1,): false in the first call, when the states give the cross keys and values; then true

    Outputs: logits (rows, length, vocabulary), last_hidden_state (rows, length, width), and present.N.* as the past.
    Where the encoder takes audio or images, present.N.encoder.* have the length 0 in all calls but the first, whose are
    to be kept; and where word timestamps are computed, there are cross_attentions.N (rows, heads, length, encoder
    length).

    Attributes:
        checkpoint: the model.
        layers: the attentions of its decoder.
        source: its encoder.
        max_length: the longest row, in tokens, that it takes.
        kind: which kind of decoder it is.
    """

    checkpoint: Checkpoint
    layers: Layers
    source: EncoderSource
    max_length: int
    kind: DecoderKind = TEXT_DECODER

    name = "decoder_model_merged"
    decisions = frozenset({"logits"})

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs; see the class."""
        pasts = (f"past_key_values.{cache}" for cache in self._caches)
        mask = ("encoder_attention_mask",) if self.kind.masked else ()
        return (*mask, "input_ids", "encoder_hidden_states", *pasts, "use_cache_branch")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs; see the class."""
        return (*_ANSWERS, *(f"present.{cache}" for cache in self._caches), *self._weights)

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions of graphs that run one token at a time."""
        return seq2seq.MEDIA_DECODER if self.kind.takes_media else seq2seq.DECODER

    @cached_property
    def _caches(self) -> tuple[str, ...]:
        names = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")
        return tuple(f"{layer}.{name}" for layer in range(len(self.layers)) for name in names)

    @property
    def _weights(self) -> tuple[str, ...]:
        return tuple(f"cross_attentions.{layer}" for layer in range(len(self.layers) if self.kind.weights else 0))

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        feeds = self._example()
        example = {name: torch.from_numpy(feeds[name]) for name in self.inputs}
        module = DecoderModule(self.checkpoint.model, self.layers, self.kind).eval()
        with traceable_experts(self.checkpoint.model):
            tracing.trace(module, example, self.outputs, self._axes(), path)

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the graph to fewer nodes with the same numbers; store a tied embedding once."""
        optimise(graph)
        if self.kind.takes_media:
            share_tables(graph)

    def _example(self) -> dict[str, np.ndarray]:
        """Make two texts, three beams each, two tokens after four: no two sizes are equal by chance."""
        generator = np.random.default_rng(_SEED)
        ids = generator.integers(5, max(self._vocabulary, 6), (6, 2))
        mask = np.ones((2, 7), np.int64)
        mask[1, 5:] = 0
        feeds = {"encoder_attention_mask": mask, "input_ids": ids}
        feeds["encoder_hidden_states"] = generator.standard_normal((2, 7, self._width)).astype(np.float32)
        for cache in self._caches:
            shape = (
                (6, self._heads, 4, self._head_width) if ".decoder." in cache else (2, self._heads, 7, self._head_width)
            )
            feeds[f"past_key_values.{cache}"] = generator.standard_normal(shape).astype(np.float32)
        return {**feeds, "use_cache_branch": np.array([True])}

    def _axes(self) -> dict[str, dict[int, str]]:
        text, rows = {0: "batch_size"}, {0: "decoder_batch_size", 1: "sequence_length"}
        axes = {
            "encoder_attention_mask": {**text, 1: "encoder_sequence_length"},
            "input_ids": rows,
            "encoder_hidden_states": {**text, 1: "encoder_sequence_length"},
            **dict.fromkeys(_ANSWERS, rows),
        }
        for name in self._weights:
            axes[name] = {0: "decoder_batch_size", 2: "sequence_length", 3: "encoder_sequence_length"}
        if not self.kind.masked:
            del axes["encoder_attention_mask"]
        for cache in self._caches:
            own = ".decoder." in cache
            first = {0: "decoder_batch_size"} if own else text
            past, present = ("past_sequence_length", "total_sequence_length") if own else (
                "encoder_past_sequence_length", "encoder_total_sequence_length")  # fmt: skip
            axes[f"past_key_values.{cache}"] = {**first, 2: past}
            axes[f"present.{cache}"] = {**first, 2: present}
        return axes

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make cases of first calls: one text and several, padded at the right, with one beam and with four."""
        texts = self.source.rows(tokenizer)
        short = sorted(texts, key=len)
        cases = [Case(self._cut(self._first(short[:1], 1, 1)), golden=True)]
        for text, ids in zip(texts, self._generated(texts), strict=True):
            feeds = self._first([text], 1, 9)
            cases += [Case(feeds, calibrates=True), Case(feeds | {"input_ids": ids[None]})]
        cases += [Case(self._first(texts[:3], beams, length)) for beams, length in ((1, 1), (1, 5), (4, 1), (4, 3))]
        longest = min(self.max_length, max(_MOST_LOGITS // self._vocabulary, 1))
        return [*cases, Case(self._cut(self._first(short[-1:], 1, longest)))]

    def reference(self, feeds: Feeds) -> Feeds:
        """Compute the original's logits and last hidden states for a first call, and cross attentions if few."""
        mask = feeds.get("encoder_attention_mask")
        return self._run_original(feeds["encoder_hidden_states"], mask, feeds["input_ids"])

    def mask_of(self, feeds: Feeds) -> None:
        """Return None: the decoder's rows have no padding."""

    def chains(self, run: Run, tokenizer: Any) -> Iterator[tuple[Feeds, Feeds]]:
        """Run three texts, padded, with one and with four beams: a first call, single tokens and several at once."""
        texts = self.source.rows(tokenizer)
        for chosen, beams in ((texts[:3], 1), (texts[2:5], 4), (texts[5:6], 4)):
            if chosen:
                feeds = self._first(chosen, beams, min(12, self.max_length))
                yield self.reference(feeds), self.walk(run, feeds, (2, 1, 1, 4, 1, 3))

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compute the largest difference of a row's answer alone and in a batch, over a first call and further tokens.

        A row is compared with itself padded just as far: padding moves where kernels cut their sums, which the rounding
        of activations to 8 bits makes visible. That it changes nothing else, `chains` shows.
        """
        texts = self.source.rows(tokenizer)[:6]
        length = min(4, self.max_length)
        together = self._first(texts, 1, length)
        mask = together.get("encoder_attention_mask")
        answer = self.walk(run, together, (1, 1, 2))
        worst = 0.0
        for row, text in enumerate(texts):
            alone = self._first([text], 1, length) | {"input_ids": together["input_ids"][row : row + 1]}
            alone["encoder_hidden_states"] = together["encoder_hidden_states"][row : row + 1]
            if mask is not None:
                alone["encoder_attention_mask"] = mask[row : row + 1]
            single = self.walk(run, alone, (1, 1, 2))
            worst = max(worst, *(float(np.abs(single[name][0] - answer[name][row]).max()) for name in _ANSWERS))
        return worst

    def walk(self, run: Run, feeds: Feeds, lengths: Sequence[int]) -> dict[str, np.ndarray]:
        """Compute the answers to all tokens of a first call's feeds in pieces of these lengths, on the caches."""
        ids, pieces, at = feeds["input_ids"], [], 0
        names = (*_ANSWERS, *self._weights)
        current: dict[str, np.ndarray] = dict(feeds)
        for length in lengths:
            piece = ids[:, at : at + length]
            if not piece.size:
                break
            answer = run(current | {"input_ids": piece})
            if not answer.keys() >= set(self.outputs):  # the original returns no caches: all at once is the same
                return dict(run({**feeds, "input_ids": ids[:, : sum(lengths)]}))
            pieces.append([answer[name] for name in names])
            grown = [cache for cache in self._caches if at == 0 or ".decoder." in cache]
            current |= {f"past_key_values.{cache}": answer[f"present.{cache}"] for cache in grown}
            current["use_cache_branch"] = np.array([True])
            at += length
        axes = {name: 2 if name in self._weights else 1 for name in names}
        return {name: np.concatenate(parts, axis=axes[name]) for name, parts in zip(names, zip(*pieces), strict=True)}

    def _first(self, texts: Sequence[Any], beams: int, length: int) -> dict[str, np.ndarray]:
        """Make feeds of a first call: the texts padded at the right, random tokens after the decoder's first."""
        states, mask = self.source.encode(texts)
        ids = np.random.default_rng(_SEED).choice(self._ordinary, (len(texts) * beams, length))
        ids[:, 0] = self._start
        feeds = {"encoder_attention_mask": mask} if self.kind.masked else {}
        feeds |= {"input_ids": ids, "encoder_hidden_states": states}
        for cache in self._caches:
            rows = len(ids) if ".decoder." in cache else len(texts)
            feeds[f"past_key_values.{cache}"] = np.zeros((rows, self._heads, 0, self._head_width), np.float32)
        return {**feeds, "use_cache_branch": np.array([False])}

    def _cut(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Keep only the first of the states, where the encoder takes audio or images and makes far more than tokens."""
        if not self.kind.takes_media:
            return feeds
        names = [name for name in ("encoder_hidden_states", "encoder_attention_mask") if name in feeds]
        return feeds | {name: feeds[name][:, :_SHORT] for name in names}

    def _generated(self, texts: Sequence[Any]) -> np.ndarray:
        """Generate with the original for each text, the likeliest token each time: int64 (texts, tokens).

        Precisions are verified with it and not calibrated: of 200 sentences of opus-mt-en-fr, int8 calibrated with
        random tokens alone translated 178 as fp32 does (BLEU -0.04), with these as well 175 (BLEU +0.75).
        """
        feeds = self._first(texts, 1, 1)
        ids = feeds["input_ids"]
        for _ in range(min(_GENERATED, self.max_length - 1)):
            logits = self.reference({**feeds, "input_ids": ids})["logits"]
            ids = np.concatenate([ids, logits[:, -1:].argmax(axis=-1)], axis=1)
        return ids

    def _run_original(self, states: np.ndarray, mask: np.ndarray | None, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the original's answer, each text's states repeated for its beams."""
        import torch

        beams = len(ids) // len(states)
        repeated = torch.from_numpy(states).repeat_interleave(beams, 0)
        padding = None if mask is None else torch.from_numpy(mask).repeat_interleave(beams, 0)
        run = self._run_decoder if self.kind.takes_media else self._run_model
        with torch.inference_mode(), tracing.quiet():
            return run(repeated, padding, torch.from_numpy(ids))

    def _run_model(self, states: Any, mask: Any, ids: Any) -> dict[str, np.ndarray]:
        answer = self.checkpoint.model(
            encoder_outputs=encoder_output(states),
            attention_mask=mask,
            decoder_input_ids=ids,
            use_cache=False,
            output_hidden_states=True,
            return_dict=True,
        )
        return {"logits": answer.logits.float().numpy(), "last_hidden_state": answer.decoder_hidden_states[-1].numpy()}

    def _run_decoder(self, states: Any, mask: Any, ids: Any) -> dict[str, np.ndarray]:
        model = self.checkpoint.model
        numbers = ids.numel() * states.shape[1] * self._heads * len(self.layers)
        weights = self.kind.weights and numbers <= _MOST_WEIGHTS
        kwargs: dict[str, Any] = {} if mask is None else {"encoder_attention_mask": mask}
        with attention(model, "eager" if weights else model.config._attn_implementation):
            if weights:
                kwargs["output_attentions"] = True
            logits, hidden, answer = self.kind.run(
                model, input_ids=ids, encoder_hidden_states=states, use_cache=False, **kwargs
            )
        outputs = {"logits": logits.float().numpy(), "last_hidden_state": hidden.numpy()}
        if weights:
            outputs |= {name: value.numpy() for name, value in zip(self._weights, answer.cross_attentions, strict=True)}
        return outputs

    @property
    def _heads(self) -> int:
        return self.layers.own[0].heads

    @property
    def _head_width(self) -> int:
        return self.layers.own[0].inner // self._heads

    @property
    def _width(self) -> int:
        return int(self.layers.cross[0].merged(1)[0].shape[1])

    @property
    def _vocabulary(self) -> int:
        return int(self.kind.output_layer(self.checkpoint.model).weight.shape[0])

    @cached_property
    def _ordinary(self) -> np.ndarray:
        sources = (self.checkpoint.config, self.kind.decoder(self.checkpoint.model).config)
        names = ("pad_token_id", "bos_token_id", "eos_token_id")
        special = {getattr(source, name, None) for source in sources for name in names}
        return np.array([number for number in range(self._vocabulary) if number not in special], np.int64)

    @property
    def _start(self) -> int:
        for settings in (self.checkpoint.model.generation_config, self.checkpoint.config):
            start = getattr(settings, "decoder_start_token_id", None)
            if isinstance(start, int):
                return start
        return int(self._ordinary[0])
