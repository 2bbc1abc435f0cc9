"""MusicGen: a text encoder, a decoder of several codebooks at once, and the codec that makes sound of the codes.

Names are those of optimum and transformers.js. Their build_delay_pattern_mask is left out: it is arithmetic of whole
numbers that the runtime does itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxpipe_export import tasks
from onnxpipe_export.cases.text import Row, batch, text_rows
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import EncoderGraph, max_length
from onnxpipe_export.graphs.graph import Case, Feeds, Graph, Maker
from onnxpipe_export.graphs.text_to_audio import encodec
from onnxpipe_export.graphs.text_to_audio.musicgen_module import MusicgenModule, ask
from onnxpipe_export.graphs.wrapped import BATCH, Axes, WrappedGraph
from onnxpipe_export.precision import seq2seq

_KINDS = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")
_TEXTS, _WRITTEN = 6, 24
"""Texts whose music the original begins, and codes of each codebook that it writes."""
_SEED = 13


def describe(checkpoint: Checkpoint) -> list[Graph]:
    """The graphs `text_encoder`, `decoder_model_merged` and `encodec_decode`."""
    model = checkpoint.model
    decoder = model.decoder.config
    channels = int(decoder.audio_channels)
    encoder = TextEncoderGraph(
        replace(
            checkpoint,
            model=model.text_encoder,
            config=model.text_encoder.config,
            task=tasks.TASKS["feature-extraction"],
        ),
        ("input_ids", "attention_mask"),
        ("last_hidden_state",),
        max_length(model.text_encoder),
        "text_encoder",
    )
    codec = encodec.describe(checkpoint, model.audio_encoder, decoder.num_codebooks // channels, decoder.vocab_size)
    return [encoder, _decoder(checkpoint, encoder), codec]


@dataclass(frozen=True)
class TextEncoderGraph(EncoderGraph):
    """`text_encoder`: input_ids and attention_mask (batch, length) to last_hidden_state (batch, length, width)."""

    @property
    def makers(self) -> Mapping[str, Maker]:
        """Those of whole texts, in every precision that the decoder has."""
        return seq2seq.ENCODER


@dataclass(frozen=True)
class CodesGraph(WrappedGraph):
    """`decoder_model_merged`: the logits of every codebook's next code.

    Inputs, with `c` codebooks, those of a row one after the other:

    - encoder_attention_mask int64 (rows, text length); a row of nothing but 0 is music of no text
    - input_ids int64 (rows * c, length)
    - encoder_hidden_states float32 (rows, text length, width of the text encoder)
    - past_key_values.N.decoder.key, .value (rows, heads, past, head width)
    - past_key_values.N.encoder.key, .value (rows, heads, text length, head width); length 0 in the first call
    - use_cache_branch bool (1,): false in the first call, when cross keys and values are made of the states; then true

    Outputs: logits (rows * c, length, vocabulary), and present.N.* as the past.

    Attributes:
        codebooks: how many codebooks there are.
    """

    codebooks: int = 1

    def _take(self, feeds: Feeds, which: slice) -> dict[str, np.ndarray]:
        """The rows `which`, with all their codebooks."""
        taken = super()._take(feeds, which)
        ids = feeds["input_ids"]
        rows = ids.reshape(-1, self.codebooks, ids.shape[1])[which]
        return {**taken, "input_ids": np.ascontiguousarray(rows.reshape(-1, ids.shape[1]))}

    def _row(self, answer: Feeds, place: int) -> dict[str, np.ndarray]:
        logits = answer["logits"]
        return {"logits": logits.reshape(-1, self.codebooks, *logits.shape[1:])[place]}


def _decoder(checkpoint: Checkpoint, encoder: EncoderGraph) -> CodesGraph:
    model = checkpoint.model
    module = MusicgenModule(model).eval()
    caches = tuple(f"{layer}.{kind}" for layer in range(len(module.layers)) for kind in _KINDS)
    past = tuple(f"past_key_values.{cache}" for cache in caches)
    outputs = ("logits", *(f"present.{cache}" for cache in caches))
    inputs = ("encoder_attention_mask", "input_ids", "encoder_hidden_states", *past, "use_cache_branch")

    def traced(given: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, module(*(given[name] for name in inputs)), strict=True))

    def forward(given: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, ask(model, *(given[name] for name in inputs)), strict=True))

    asked = _Questions(checkpoint, encoder, past, forward)
    return CodesGraph(
        checkpoint,
        "decoder_model_merged",
        inputs,
        outputs,
        _axes(caches),
        forward,
        asked.example,
        asked.cases,
        seq2seq.DECODER,  # guidance has two rows a piece: at 1,024 wide, 8 bits by rows take 0.7 of those in blocks
        decisions=frozenset({"logits"}),
        max_length=int(model.decoder.config.max_position_embeddings),
        traced=traced,
        eager=False,
        codebooks=int(model.decoder.config.num_codebooks),
    )


def _axes(caches: Sequence[str]) -> Axes:
    rows = {0: BATCH}
    text, codes = {**rows, 1: "encoder_sequence_length"}, {0: "batch_size_x_num_codebooks", 1: "sequence_length"}
    axes: dict[str, dict[int, str]] = {
        "encoder_attention_mask": text,
        "encoder_hidden_states": text,
        "input_ids": codes,
        "logits": codes,
    }
    for cache in caches:
        past, present = ("past_sequence_length", "total_sequence_length") if ".decoder." in cache else (
            "encoder_past_sequence_length", "encoder_total_sequence_length")  # fmt: skip
        axes[f"past_key_values.{cache}"] = {**rows, 2: past}
        axes[f"present.{cache}"] = {**rows, 2: present}
    return axes


@dataclass(frozen=True)
class _Questions:
    """What the decoder is asked.

    Attributes:
        checkpoint: the model.
        encoder: the graph of its text encoder.
        past: names of the caches as inputs.
        forward: the original.
    """

    checkpoint: Checkpoint
    encoder: EncoderGraph
    past: tuple[str, ...]
    forward: Any

    def example(self) -> dict[str, np.ndarray]:
        """Three rows, one without a text, two codes after four: no two sizes are the same by chance."""
        generator = np.random.default_rng(_SEED)
        rows, text, before, length = 3, 7, 4, 2
        feeds = self._first(generator.standard_normal((rows, text, self._text_width)), self._mask(rows, text), length)
        sizes = {name: before if ".decoder." in name else text for name in self.past}
        shapes = {name: (*feeds[name].shape[:2], sizes[name], feeds[name].shape[3]) for name in self.past}
        caches = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        return {**feeds, **caches, "use_cache_branch": np.array([True])}

    def cases(self, tokenizer: Any) -> list[Case]:
        """First calls and further ones, of texts and of none; what the original itself plays, and random codes."""
        texts = text_rows(self.encoder, tokenizer)[:_TEXTS]
        played = [self._played([text]) for text in texts]
        found = [Case(self._with(feeds, 1), golden=number == 0) for number, feeds in enumerate(played[:2])]
        for feeds in played:
            found += [Case(feeds, calibrates=True), Case(self._after(feeds, _WRITTEN // 2, 1))]
        together = self._played(texts[:3])
        found += [Case(together), Case(self._after(together, 5, 1)), Case(self._after(together, 3, 4))]
        noise = self._first(together["encoder_hidden_states"], self._mask(*together["encoder_attention_mask"].shape), 6)
        found += [Case(noise, decides=False), Case(self._after(noise, 3, 1), decides=False)]
        return found

    def _played(self, texts: Sequence[Row]) -> dict[str, np.ndarray]:
        """Feeds of one call with the codes that the original writes for texts, the likeliest each time."""
        given = batch(texts, self.encoder)
        states = self.encoder.reference(given)["last_hidden_state"]
        feeds = self._first(states, given["attention_mask"], 1)
        for _ in range(min(_WRITTEN, self._decoder.max_position_embeddings) - 1):
            logits = self._answer(feeds)["logits"][:, -1:]
            feeds["input_ids"] = np.concatenate([feeds["input_ids"], logits.argmax(-1)], axis=1)
        return feeds

    def _with(self, feeds: Feeds, length: int) -> dict[str, np.ndarray]:
        return {**feeds, "input_ids": feeds["input_ids"][:, :length]}

    def _after(self, feeds: Feeds, before: int, new: int) -> dict[str, np.ndarray]:
        """`new` codes of a first call after a past of `before`, as the original has it."""
        answer = self._answer(self._with(feeds, before))
        caches = {name: answer[name.replace("past_key_values", "present")] for name in self.past}
        ids = feeds["input_ids"][:, before : before + new]
        return {**feeds, **caches, "input_ids": ids, "use_cache_branch": np.array([True])}

    def _answer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode():
            answer = self.forward({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in feeds.items()})
        return {name: tensor.numpy() for name, tensor in answer.items()}

    def _first(self, states: np.ndarray, mask: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """Feeds of a first call: the code that stands for none, then random ones."""
        rows, config = len(states), self._decoder
        ids = np.random.default_rng(_SEED).integers(0, config.vocab_size, (rows * config.num_codebooks, length))
        ids[:, 0] = config.vocab_size
        heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        return {
            "encoder_attention_mask": mask,
            "input_ids": ids,
            "encoder_hidden_states": (states * mask[..., None]).astype(np.float32),
            **{name: np.zeros((rows, heads, 0, width), np.float32) for name in self.past},
            "use_cache_branch": np.array([False]),
        }

    def _mask(self, rows: int, length: int) -> np.ndarray:
        """Whole rows, but for one with padding and a last one that has no text."""
        mask = np.ones((rows, length), np.int64)
        mask[1:2, -2:] = 0
        mask[2:] = 0
        return mask

    @property
    def _decoder(self) -> Any:
        return self.checkpoint.model.decoder.config

    @property
    def _text_width(self) -> int:
        return int(self.checkpoint.model.text_encoder.config.hidden_size)
