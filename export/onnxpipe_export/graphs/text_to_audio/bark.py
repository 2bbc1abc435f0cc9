"""Bark: text to semantic tokens, those to the first codebooks of sound, those to all codebooks, and the codec.

The first two are causal language models, `semantic` and `coarse_acoustics`:

- input_ids int64 (rows, length), position_ids (rows, length)
- attention_mask (rows, past + length) of ones, where attention is ONNX Runtime's GroupQueryAttention
- num_logits_to_keep (): 0 for the logits of every position, n for those of the last n
- history_ids int64 (rows, length), `semantic` alone: tokens whose embeddings are added, -1 for none
- past_key_values.N.key, .value (rows, heads, past, head width)

to logits (rows, kept, vocabulary) and present.N.*. `fine_acoustics` sees all of a window at once: codebook_idx () and
input_ids (rows, length, codebooks) to logits (rows, length, vocabulary) of that codebook's codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.fuse import drop_views, fuse_decoder, share_tables
from onnxpipe_export.graphs.graph import Case, Graph, Maker
from onnxpipe_export.graphs.text_to_audio import encodec
from onnxpipe_export.graphs.text_to_audio.bark_cases import Prompt, Questions, coarse_prompts, semantic_prompts
from onnxpipe_export.graphs.text_to_audio.bark_module import CausalStage, FineStage, ask_causal
from onnxpipe_export.graphs.wrapped import BATCH, Axes, WrappedGraph
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import makers, seq2seq

_KINDS = ("key", "value")
_WINDOW = 128
"""Tokens of the windows of the fine stage that are proved; those that it meets are of 1,024, of which each is many
seconds."""
_SEED = 17


def describe(checkpoint: Checkpoint) -> list[Graph]:
    """The graphs `semantic`, `coarse_acoustics`, `fine_acoustics` and `encodec_decode`."""
    model = checkpoint.model
    semantic = _causal(checkpoint, "semantic", model.semantic, semantic_prompts(checkpoint))
    coarse = _causal(checkpoint, "coarse_acoustics", model.coarse_acoustics, coarse_prompts(checkpoint))
    books = int(model.fine_acoustics.config.n_codes_total)
    codec = encodec.describe(checkpoint, model.codec_model, books, int(model.codec_model.config.codebook_size))
    return [semantic, coarse, _fine(checkpoint), codec]


@dataclass(frozen=True)
class CausalStageGraph(WrappedGraph):
    """`semantic` or `coarse_acoustics`; see the module.

    Attributes:
        grouped: whether it attends by GroupQueryAttention.
    """

    grouped: bool = False

    def optimise(self, graph: OnnxGraph) -> None:
        """Fewer nodes, the same numbers."""
        optimise(graph)
        drop_views(graph)
        if self.grouped:
            fuse_decoder(graph)
        share_tables(graph)


def _causal(checkpoint: Checkpoint, name: str, model: Any, prompts: Sequence[Prompt]) -> CausalStageGraph:
    remembers = prompts[0].history is not None
    stage = CausalStage(model).eval()
    caches = tuple(f"{layer}.{kind}" for layer in range(len(model.layers)) for kind in _KINDS)
    past, present = (tuple(f"{word}.{cache}" for cache in caches) for word in ("past_key_values", "present"))
    lengths = ("attention_mask",) if stage.grouped else ()
    own = ("history_ids",) if remembers else ()
    inputs = ("input_ids", *lengths, "position_ids", "num_logits_to_keep", *own, *past)
    outputs = ("logits", *present)

    def traced(given: Mapping[str, Any]) -> dict[str, Any]:
        answer = stage(
            given["input_ids"], given.get("attention_mask"), given["position_ids"], given["num_logits_to_keep"],
            given.get("history_ids"), *(given[name] for name in past),
        )  # fmt: skip
        return dict(zip(outputs, answer, strict=True))

    def forward(given: Mapping[str, Any]) -> dict[str, Any]:
        cached = [given[name] for name in past]
        answer = ask_causal(
            model, int(given["num_logits_to_keep"]), given["input_ids"], given.get("history_ids"), cached
        )
        return dict(zip(outputs, answer, strict=True))

    asked = Questions(prompts, inputs, past, present, _cache_shape(model), forward, int(model.config.block_size))
    return CausalStageGraph(
        checkpoint,
        name,
        inputs,
        outputs,
        _axes(past, present),
        forward,
        asked.example,
        lambda tokenizer: asked.cases(),
        makers.DECODER,
        decisions=frozenset({"logits"}),
        max_length=int(model.config.block_size),
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
"""A window is seen at once, as a text is."""


def _fine(checkpoint: Checkpoint) -> WrappedGraph:
    model = checkpoint.model.fine_acoustics
    config = model.config
    stage = FineStage(model).eval()
    books, size, longest = int(config.n_codes_total), int(config.input_vocab_size), int(config.block_size)

    def forward(given: Mapping[str, Any]) -> dict[str, Any]:
        return {"logits": model(int(given["codebook_idx"]), given["input_ids"]).logits}

    def feeds(rows: int, length: int, codebook: int, seed: int = 0) -> dict[str, np.ndarray]:
        ids = np.random.default_rng([_SEED, seed]).integers(0, size, (rows, length, books))
        return {"codebook_idx": np.array(codebook, np.int64), "input_ids": ids}

    def cases() -> list[Case]:
        every = range(int(config.n_codes_given), books)
        window = min(longest, _WINDOW)
        found = [Case(feeds(1, window, book, book), calibrates=True, decides=False) for book in every]
        found += [Case(feeds(1, length, books - 1), decides=False, golden=length == 3) for length in (1, 3, 33)]
        return [*found, Case(feeds(3, 21, every[0]), decides=False), Case(feeds(1, longest, every[-1]), decides=False)]

    return WrappedGraph(
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
        traced=lambda given: {"logits": stage(given["codebook_idx"], given["input_ids"])[0]},
        eager=False,
    )
