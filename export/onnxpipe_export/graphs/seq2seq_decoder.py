"""The decoder of an encoder-decoder model as one graph, and how it is proved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.cases import Row, TextGraph, batch, text_rows
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case, Feeds, Maker, Run
from onnxpipe_export.graphs.seq2seq_module import DecoderModule, Layers
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import seq2seq

_MOST_LOGITS = 2**24
"""Numbers in the largest answer that is compared: 64 MB."""
_WRITTEN = 16
"""Tokens that the original writes of each text."""
_SEED = 11
_ANSWERS = ("logits", "last_hidden_state")


class TextEncoder(TextGraph, Protocol):
    """The graph whose states the decoder reads."""

    def reference(self, feeds: Feeds) -> Feeds:
        """The original's states."""


@dataclass(frozen=True)
class DecoderGraph:
    """`decoder_model_merged`: the next logits of k beams for each text.

    Inputs, with `rows` = texts * k, the beams of a text one after the other:

    - encoder_attention_mask int64 (texts, encoder length)
    - input_ids int64 (rows, length)
    - encoder_hidden_states float32 (texts, encoder length, width)
    - past_key_values.N.decoder.key, .value (rows, heads, past, head width)
    - past_key_values.N.encoder.key, .value (texts, heads, encoder length, head width); length 0 in the first call
    - use_cache_branch bool (1,): false in the first call, when cross keys and values are made of the states; then true

    Outputs: logits (rows, length, vocabulary), last_hidden_state (rows, length, width), and present.N.* as the past.

    Attributes:
        checkpoint: the model.
        layers: the attentions of its decoder.
        encoder: the graph of its encoder.
        max_length: the longest row, in tokens, that it takes.
    """

    checkpoint: Checkpoint
    layers: Layers
    encoder: TextEncoder
    max_length: int

    name = "decoder_model_merged"
    decisions = frozenset({"logits"})

    @property
    def inputs(self) -> tuple[str, ...]:
        """See the class."""
        pasts = (f"past_key_values.{cache}" for cache in self._caches)
        return ("encoder_attention_mask", "input_ids", "encoder_hidden_states", *pasts, "use_cache_branch")

    @property
    def outputs(self) -> tuple[str, ...]:
        """See the class."""
        return (*_ANSWERS, *(f"present.{cache}" for cache in self._caches))

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions for one token at a time."""
        return seq2seq.DECODER

    @cached_property
    def _caches(self) -> tuple[str, ...]:
        kinds = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")
        return tuple(f"{layer}.{kind}" for layer in range(len(self.layers)) for kind in kinds)

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        feeds = self._example()
        example = {name: torch.from_numpy(feeds[name]) for name in self.inputs}
        module = DecoderModule(self.checkpoint.model, self.layers).eval()
        tracing.trace(module, example, self.outputs, self._axes(), path)

    def optimise(self, graph: OnnxGraph) -> None:
        """Fewer nodes, the same numbers."""
        optimise(graph)

    def _example(self) -> dict[str, np.ndarray]:
        """Two texts, three beams each, two tokens after four: no two sizes are the same by chance."""
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
        for cache in self._caches:
            own = ".decoder." in cache
            first = {0: "decoder_batch_size"} if own else text
            past, present = ("past_sequence_length", "total_sequence_length") if own else (
                "encoder_past_sequence_length", "encoder_total_sequence_length")  # fmt: skip
            axes[f"past_key_values.{cache}"] = {**first, 2: past}
            axes[f"present.{cache}"] = {**first, 2: present}
        return axes

    def cases(self, tokenizer: Any) -> list[Case]:
        """First calls: one text and several, padded at the right, with one beam and with four."""
        texts = text_rows(self.encoder, tokenizer)
        short = sorted(texts, key=len)
        found = [Case(self._first(short[:1], 1, 1), golden=True)]
        for text, ids in zip(texts, self._written(texts), strict=True):
            feeds = self._first([text], 1, 9)
            found += [Case(feeds, calibrates=True), Case(feeds | {"input_ids": ids[None]})]
        found += [Case(self._first(texts[:3], beams, length)) for beams, length in ((1, 1), (1, 5), (4, 1), (4, 3))]
        longest = min(self.max_length, max(_MOST_LOGITS // self._vocabulary, 1))
        return [*found, Case(self._first(short[-1:], 1, longest))]

    def reference(self, feeds: Feeds) -> Feeds:
        """The original's logits and last hidden states for a first call."""
        return self._ask(feeds["encoder_hidden_states"], feeds["encoder_attention_mask"], feeds["input_ids"])

    def mask_of(self, feeds: Feeds) -> None:
        """Decoder rows have no padding."""

    def chains(self, run: Run, tokenizer: Any) -> Iterator[tuple[Feeds, Feeds]]:
        """Three texts, padded, with one and with four beams: a first call, single tokens and several at once."""
        texts = text_rows(self.encoder, tokenizer)
        for chosen, beams in ((texts[:3], 1), (texts[2:5], 4), (texts[5:6], 4)):
            feeds = self._first(chosen, beams, min(12, self.max_length))
            yield self.reference(feeds), self.walk(run, feeds, (2, 1, 1, 4, 1, 3))

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Largest difference of a row's answer alone and among others, with other padding of the encoder's rows, over a
        first call and further tokens."""
        texts = text_rows(self.encoder, tokenizer)[:6]
        length = min(4, self.max_length)
        together = self._first(texts, 1, length)
        answer = self.walk(run, together, (1, 1, 2))
        worst = 0.0
        for row, text in enumerate(texts):
            alone = self._first([text], 1, length) | {"input_ids": together["input_ids"][row : row + 1]}
            states = together["encoder_hidden_states"][row : row + 1, : len(text)]
            found = self.walk(run, alone | {"encoder_hidden_states": states}, (1, 1, 2))
            worst = max(worst, *(float(np.abs(found[name][0] - answer[name][row]).max()) for name in _ANSWERS))
        return worst

    def walk(self, run: Run, feeds: Feeds, lengths: Sequence[int]) -> dict[str, np.ndarray]:
        """Logits and hidden states of all tokens of a first call's feeds, given so many at a time, on the caches."""
        ids, found, at = feeds["input_ids"], [], 0
        current: dict[str, np.ndarray] = dict(feeds)
        for length in lengths:
            piece = ids[:, at : at + length]
            if not piece.size:
                break
            answer = run(current | {"input_ids": piece})
            if not answer.keys() >= set(self.outputs):  # the original gives no caches: all at once is the same
                return dict(run({**feeds, "input_ids": ids[:, : sum(lengths)]}))
            found.append([answer[name] for name in _ANSWERS])
            at += length
            current |= {f"past_key_values.{cache}": answer[f"present.{cache}"] for cache in self._caches}
            current["use_cache_branch"] = np.array([True])
        return {name: np.concatenate(parts, axis=1) for name, parts in zip(_ANSWERS, zip(*found), strict=True)}

    def _first(self, texts: Sequence[Row], beams: int, length: int) -> dict[str, np.ndarray]:
        """Feeds of a first call: the texts padded at the right, random tokens after the decoder's first."""
        given = batch(texts, self.encoder)
        states = self.encoder.reference(given)["last_hidden_state"]
        ids = np.random.default_rng(_SEED).choice(self._ordinary, (len(texts) * beams, length))
        ids[:, 0] = self._start
        feeds = {
            "encoder_attention_mask": given["attention_mask"],
            "input_ids": ids,
            "encoder_hidden_states": states,
        }
        for cache in self._caches:
            rows = len(ids) if ".decoder." in cache else len(texts)
            feeds[f"past_key_values.{cache}"] = np.zeros((rows, self._heads, 0, self._head_width), np.float32)
        return {**feeds, "use_cache_branch": np.array([False])}

    def _written(self, texts: Sequence[Row]) -> np.ndarray:
        """What the original writes of each text, the likeliest token each time: int64 (texts, tokens).

        Precisions are proved on it and not calibrated: of 200 sentences of opus-mt-en-fr, int8 calibrated on random
        tokens alone gave 178 as fp32 does (BLEU -0.04), on these as well 175 (BLEU +0.75).
        """
        feeds = self._first(texts, 1, 1)
        ids = feeds["input_ids"]
        for _ in range(min(_WRITTEN, self.max_length - 1)):
            logits = self.reference({**feeds, "input_ids": ids})["logits"]
            ids = np.concatenate([ids, logits[:, -1:].argmax(axis=-1)], axis=1)
        return ids

    def _ask(self, states: np.ndarray, mask: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
        """The original's answer, each text's states repeated for its beams."""
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        beams = len(ids) // len(mask)
        given = torch.from_numpy(states).repeat_interleave(beams, 0)
        with torch.inference_mode(), tracing.quiet():
            answer = self.checkpoint.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=given),
                attention_mask=torch.from_numpy(mask).repeat_interleave(beams, 0),
                decoder_input_ids=torch.from_numpy(ids),
                use_cache=False,
                output_hidden_states=True,
                return_dict=True,
            )
        return {"logits": answer.logits.float().numpy(), "last_hidden_state": answer.decoder_hidden_states[-1].numpy()}

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
        return int(self.checkpoint.model.get_output_embeddings().weight.shape[0])

    @cached_property
    def _ordinary(self) -> np.ndarray:
        config = self.checkpoint.config
        special = {getattr(config, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        return np.array([number for number in range(self._vocabulary) if number not in special], np.int64)

    @property
    def _start(self) -> int:
        for settings in (self.checkpoint.model.generation_config, self.checkpoint.config):
            start = getattr(settings, "decoder_start_token_id", None)
            if isinstance(start, int):
                return start
        return int(self._ordinary[0])
