"""Export Bark: text to semantic tokens, those to the first codebooks of audio, those to all codebooks, and the codec.

The first two are causal language models, `semantic` and `coarse_acoustics`:

- input_ids int64 (rows, length), position_ids (rows, length)
- attention_mask (rows, past + length) of ones, where attention is ONNX Runtime's GroupQueryAttention
- num_logits_to_keep (): 0 for the logits of every position, n for those of the last n
- history_ids int64 (rows, length), `semantic` alone: tokens whose embeddings are added, -1 for none
- past_key_values.N.key, .value (rows, heads, past, head width)

to logits (rows, kept, vocabulary) and present.N.*. `fine_acoustics` takes a whole window at once: codebook_idx () and
input_ids (rows, length, codebooks) to logits (rows, length, vocabulary) of that codebook's codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.fuse import drop_views, fuse_decoder, share_tables
from onnxpipe_export.graphs.graph import Case, GraphExport, Maker
from onnxpipe_export.graphs.text_to_audio import encodec
from onnxpipe_export.graphs.text_to_audio.bark_cases import CausalStageCases, Prompt, coarse_prompts, semantic_prompts
from onnxpipe_export.graphs.text_to_audio.bark_module import CausalStageModule, FineStageModule, run_causal
from onnxpipe_export.graphs.wrapped import BATCH, Axes, WrappedExport
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import makers, seq2seq

_KINDS = ("key", "value")
_WINDOW = 128
"""Tokens of the windows that the fine stage is verified with; in use they are 1,024, which take many seconds each."""
_SEED = 17


def describe(checkpoint: Checkpoint) -> list[GraphExport]:
    """Describe the graphs `semantic`, `coarse_acoustics`, `fine_acoustics` and `encodec_decode`."""
    model = checkpoint.model
    semantic = _causal(checkpoint, "semantic", model.semantic, semantic_prompts(checkpoint))
    coarse = _causal(checkpoint, "coarse_acoustics", model.coarse_acoustics, coarse_prompts(checkpoint))
    books = int(model.fine_acoustics.config.n_codes_total)
    codec = encodec.describe(checkpoint, model.codec_model, books, int(model.codec_model.config.codebook_size))
    return [semantic, coarse, _fine(checkpoint), codec]


@dataclass(frozen=True)
class CausalStageExport(WrappedExport):
    """The export of `semantic` or `coarse_acoustics`; see the module's docstring.

    Attributes:
        grouped: whether it attends by GroupQueryAttention.
    """

    grouped: bool = False

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the graph to fewer nodes with the same numbers."""
        optimise(graph)
        drop_views(graph)
        if self.grouped:
            fuse_decoder(graph)
        share_tables(graph)


def _causal(checkpoint: Checkpoint, name: str, model: Any, prompts: Sequence[Prompt]) -> CausalStageExport:
    has_history = prompts[0].history is not None
    stage = CausalStageModule(model).eval()
    caches = tuple(f"{layer}.{kind}" for layer in range(len(model.layers)) for kind in _KINDS)
    past, present = (tuple(f"{word}.{cache}" for cache in caches) for word in ("past_key_values", "present"))
    lengths = ("attention_mask",) if stage.grouped else ()
    history = ("history_ids",) if has_history else ()
    inputs = ("input_ids", *lengths, "position_ids", "num_logits_to_keep", *history, *past)
    outputs = ("logits", *present)

    def traced(tensors: Mapping[str, Any]) -> dict[str, Any]:
        answer = stage(
            tensors["input_ids"], tensors.get("attention_mask"), tensors["position_ids"], tensors["num_logits_to_keep"],
            tensors.get("history_ids"), *(tensors[name] for name in past),
        )  # fmt: skip
        return dict(zip(outputs, answer, strict=True))

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        cached = [tensors[name] for name in past]
        keep, ids = int(tensors["num_logits_to_keep"]), tensors["input_ids"]
        answer = run_causal(model, keep, ids, tensors.get("history_ids"), cached)
        return dict(zip(outputs, answer, strict=True))

    longest = int(model.config.block_size)
    stage_cases = CausalStageCases(prompts, inputs, past, present, _cache_shape(model), forward, longest)
    return CausalStageExport(
        checkpoint,
        name,
        inputs,
        outputs,
        _axes(past, present),
        forward,
        stage_cases.example,
        lambda tokenizer: stage_cases.cases(),
        makers.DECODER,
        decisions=frozenset({"logits"}),
        max_length=longest,
        traced=traced,
        eager=False,
        grouped=stage.grouped,
    )


def _cache_shape(model: Any) -> tuple[int, int]:
    return int(model.config.num_heads), int(model.config.hidden_size // model.config.num_heads)


def _axes(past: Sequence[str], present: Sequence[str]) -> Axes:
    tokens = {0: BATCH, 1: "sequence_length"}
    return {
        "input_ids": tokens,
        "position_ids": tokens,
        "attention_mask": {0: BATCH, 1: "total_sequence_length"},
        "history_ids": tokens,
        "logits": {0: BATCH, 1: "num_logits"},
        **{name: {0: BATCH, 2: "past_sequence_length"} for name in past},
        **{name: {0: BATCH, 2: "total_sequence_length"} for name in present},
    }


_FINE: Mapping[str, Maker] = seq2seq.ENCODER
"""A window is one run, as a text is."""


def _fine(checkpoint: Checkpoint) -> WrappedExport:
    model = checkpoint.model.fine_acoustics
    config = model.config
    stage = FineStageModule(model).eval()
    books, size, longest = int(config.n_codes_total), int(config.input_vocab_size), int(config.block_size)

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return {"logits": model(int(tensors["codebook_idx"]), tensors["input_ids"]).logits}

    def feeds(rows: int, length: int, codebook: int, seed: int = 0) -> dict[str, np.ndarray]:
        ids = np.random.default_rng([_SEED, seed]).integers(0, size, (rows, length, books))
        return {"codebook_idx": np.array(codebook, np.int64), "input_ids": ids}

    def cases() -> list[Case]:
        every = range(int(config.n_codes_given), books)
        window = min(longest, _WINDOW)
        whole = [Case(feeds(1, window, book, book), calibrates=True, decides=False) for book in every]
        short = [Case(feeds(1, length, books - 1), decides=False, golden=length == 3) for length in (1, 3, 33)]
        together, longest_window = feeds(3, 21, every[0]), feeds(1, longest, every[-1])
        return [*whole, *short, Case(together, decides=False), Case(longest_window, decides=False)]

    return WrappedExport(
        checkpoint,
        "fine_acoustics",
        ("codebook_idx", "input_ids"),
        ("logits",),
        {"input_ids": {0: BATCH, 1: "sequence_length"}, "logits": {0: BATCH, 1: "sequence_length"}},
        forward,
        lambda: feeds(2, 7, books - 1),
        lambda tokenizer: cases(),
        _FINE,
        decisions=frozenset({"logits"}),
        max_length=longest,
        traced=lambda tensors: {"logits": stage(tensors["codebook_idx"], tensors["input_ids"])[0]},
        eager=False,
    )
