"""Export MusicGen: a text encoder, a decoder of several codebooks at once, and the codec from codes to a waveform.

Names are those of optimum and transformers.js. Their build_delay_pattern_mask is left out: it is integer arithmetic
that the runtime does itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxpipe_export import tasks
from onnxpipe_export.cases.text import TokenRow, batch, text_rows
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import EncoderExport, max_length
from onnxpipe_export.graphs.graph import Case, Feeds, GraphExport, Maker
from onnxpipe_export.graphs.text_to_audio import encodec
from onnxpipe_export.graphs.text_to_audio.musicgen_module import MusicgenModule, run_original
from onnxpipe_export.graphs.wrapped import BATCH, Axes, WrappedExport
from onnxpipe_export.precision import seq2seq

_KINDS = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")
_TEXTS, _GENERATED = 6, 24
"""Texts for which the original generates the beginning of the music, and how many codes of each codebook."""
_SEED = 13


def describe(checkpoint: Checkpoint) -> list[GraphExport]:
    """Describe the graphs `text_encoder`, `decoder_model_merged` and `encodec_decode`."""
    model = checkpoint.model
    decoder = model.decoder.config
    channels = int(decoder.audio_channels)
    encoder = TextEncoderExport(
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
class TextEncoderExport(EncoderExport):
    """The export of `text_encoder`: input_ids and attention_mask (batch, length) to last_hidden_state (batch, length,
    width)."""

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions of graphs that take whole texts, for every precision of the decoder."""
        return seq2seq.ENCODER


@dataclass(frozen=True)
class CodebookDecoderExport(WrappedExport):
    """The export of `decoder_model_merged`: the logits of every codebook's next code.

    Inputs, with `c` codebooks, those of a row one after the other:

    - encoder_attention_mask int64 (rows, text length); all 0 in a row without a text
    - input_ids int64 (rows * c, length)
    - encoder_hidden_states float32 (rows, text length, width of the text encoder)
    - past_key_values.N.decoder.key, .value (rows, heads, past, head width)
    - past_key_values.N.encoder.key, .value (rows, heads, text length, head width); length 0 in the first call
    - use_cache_branch bool (1,): false in the first call, when the states give the cross keys and values; then true

    Outputs: logits (rows * c, length, vocabulary), and present.N.* as the past.

    Attributes:
        codebooks: how many codebooks there are.
    """

    codebooks: int = 1

    def _take(self, feeds: Feeds, which: slice) -> dict[str, np.ndarray]:
        """Take the rows `which`, with all their codebooks."""
        taken = super()._take(feeds, which)
        ids = feeds["input_ids"]
        rows = ids.reshape(-1, self.codebooks, ids.shape[1])[which]
        return {**taken, "input_ids": np.ascontiguousarray(rows.reshape(-1, ids.shape[1]))}

    def _row(self, answer: Feeds, place: int) -> dict[str, np.ndarray]:
        logits = answer["logits"]
        return {"logits": logits.reshape(-1, self.codebooks, *logits.shape[1:])[place]}


def _decoder(checkpoint: Checkpoint, encoder: EncoderExport) -> CodebookDecoderExport:
    model = checkpoint.model
    module = MusicgenModule(model).eval()
    caches = tuple(f"{layer}.{kind}" for layer in range(len(module.layers)) for kind in _KINDS)
    past = tuple(f"past_key_values.{cache}" for cache in caches)
    outputs = ("logits", *(f"present.{cache}" for cache in caches))
    inputs = ("encoder_attention_mask", "input_ids", "encoder_hidden_states", *past, "use_cache_branch")

    def traced(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, module(*(tensors[name] for name in inputs)), strict=True))

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, run_original(model, *(tensors[name] for name in inputs)), strict=True))

    decoder_cases = _DecoderCases(checkpoint, encoder, past, forward)
    return CodebookDecoderExport(
        checkpoint,
        "decoder_model_merged",
        inputs,
        outputs,
        _axes(caches),
        forward,
        decoder_cases.example,
        decoder_cases.cases,
        seq2seq.DECODER,  # guidance runs two rows a text: at 1,024 wide, 8 bits by rows take 0.7 of the time in blocks
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
class _DecoderCases:
    """The cases of the decoder.

    Attributes:
        checkpoint: the model.
        encoder: the graph of its text encoder.
        past: names of the caches as inputs.
        forward: the original.
    """

    checkpoint: Checkpoint
    encoder: EncoderExport
    past: tuple[str, ...]
    forward: Any

    def example(self) -> dict[str, np.ndarray]:
        """Make three rows, one without a text, two codes after four: no two sizes are equal by chance."""
        generator = np.random.default_rng(_SEED)
        rows, text, before, length = 3, 7, 4, 2
        feeds = self._first(generator.standard_normal((rows, text, self._text_width)), self._mask(rows, text), length)
        sizes = {name: before if ".decoder." in name else text for name in self.past}
        shapes = {name: (*feeds[name].shape[:2], sizes[name], feeds[name].shape[3]) for name in self.past}
        caches = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        return {**feeds, **caches, "use_cache_branch": np.array([True])}

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make cases of first calls and further ones, with and without texts: the original's codes, and random ones."""
        texts = text_rows(self.encoder, tokenizer)[:_TEXTS]
        generated = [self._generated([text]) for text in texts]
        cases = [Case(self._with(feeds, 1), golden=number == 0) for number, feeds in enumerate(generated[:2])]
        for feeds in generated:
            cases += [Case(feeds, calibrates=True), Case(self._after(feeds, _GENERATED // 2, 1))]
        together = self._generated(texts[:3])
        cases += [Case(together), Case(self._after(together, 5, 1)), Case(self._after(together, 3, 4))]
        noise = self._first(together["encoder_hidden_states"], self._mask(*together["encoder_attention_mask"].shape), 6)
        cases += [Case(noise, decides=False), Case(self._after(noise, 3, 1), decides=False)]
        return cases

    def _generated(self, texts: Sequence[TokenRow]) -> dict[str, np.ndarray]:
        """Make feeds of one call with the codes that the original generates for texts, the likeliest each time."""
        encoded = batch(texts, self.encoder)
        states = self.encoder.reference(encoded)["last_hidden_state"]
        feeds = self._first(states, encoded["attention_mask"], 1)
        for _ in range(min(_GENERATED, self._decoder.max_position_embeddings) - 1):
            logits = self._answer(feeds)["logits"][:, -1:]
            feeds["input_ids"] = np.concatenate([feeds["input_ids"], logits.argmax(-1)], axis=1)
        return feeds

    def _with(self, feeds: Feeds, length: int) -> dict[str, np.ndarray]:
        return {**feeds, "input_ids": feeds["input_ids"][:, :length]}

    def _after(self, feeds: Feeds, before: int, new: int) -> dict[str, np.ndarray]:
        """Make feeds of `new` codes of a first call after the original's past of `before`."""
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
        """Make feeds of a first call: the start code, then random ones."""
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
        """Make a mask: a whole row, one with padding, the others without text."""
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
