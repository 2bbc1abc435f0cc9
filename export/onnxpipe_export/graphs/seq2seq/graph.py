"""Export encoder-decoder models: the encoder's graph, and one graph for every call of the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export import refusals, tracing
from onnxpipe_export.cases import text as cases
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import EncoderExport, attention, max_length
from onnxpipe_export.graphs.graph import Feeds, GraphExport, Maker
from onnxpipe_export.graphs.seq2seq.decoder import Seq2SeqDecoderExport
from onnxpipe_export.graphs.seq2seq.decoder_kind import TEXT_DECODER, DecoderKind
from onnxpipe_export.graphs.seq2seq.experts import traceable_experts
from onnxpipe_export.graphs.seq2seq.layers import find_layers
from onnxpipe_export.graphs.windowed_attention import traceable_windows
from onnxpipe_export.precision import seq2seq

_TWO_MODELS = DecoderKind(language_model="decoder")
"""An encoder and a language model that attends to it (EncoderDecoderModel)."""


def describe(checkpoint: Checkpoint) -> tuple[GraphExport, GraphExport]:
    """Describe the graphs of the encoder and of the decoder.

    Raises:
        ExportError: the decoder's layers are not supported.
    """
    kind = _TWO_MODELS if checkpoint.config.model_type == "encoder-decoder" else TEXT_DECODER
    layers = find_layers(checkpoint.model, kind)
    if layers is None:
        raise ExportError(
            f"{checkpoint.folder.name}: models of the type '{checkpoint.config.model_type}' cannot be exported for "
            f"generation. The layers of their decoder attend by {_attentions(checkpoint.model, kind)}, not by one "
            "self-attention and one cross-attention of the usual form, from which a graph with caches can be made. "
            "Models of bart, pegasus and t5 summarize and those of marian translate, and export. "
            f"{refusals.ELSE}"
        )
    longest = max_length(checkpoint.model)
    encoder = Seq2SeqEncoderExport(
        checkpoint, ("input_ids", "attention_mask"), ("last_hidden_state",), longest, "encoder_model"
    )
    return encoder, Seq2SeqDecoderExport(
        checkpoint=checkpoint, layers=layers, source=encoder, max_length=longest, kind=kind
    )


def _attentions(model: Any, kind: DecoderKind) -> str:
    """List the classes of a decoder's attentions."""
    names = (type(module).__name__ for module in kind.decoder(model).modules())
    return " and ".join(dict.fromkeys(name for name in names if name.endswith("Attention"))) or "no module of its own"


@dataclass(frozen=True)
class Seq2SeqEncoderExport(EncoderExport):
    """The export of `encoder_model`: input_ids and attention_mask (batch, length) to last_hidden_state (batch, length,
    width); implements `seq2seq.decoder.EncoderSource`."""

    decisions = frozenset()

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions of graphs that take whole texts, and the decoder's: a bundle has both graphs in each."""
        return seq2seq.ENCODER

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        encoder = self.checkpoint.model.get_encoder()
        module = tracing.flat(encoder, lambda tensors: encoder(**tensors), self.inputs, self.outputs)
        rows = cases.random_rows(self, [min(length, self.max_length) for length in (11, 8, 5)])
        feeds = {name: torch.from_numpy(value) for name, value in cases.batch(rows, self).items()}
        axes = {name: {0: "batch_size", 1: "encoder_sequence_length"} for name in (*self.inputs, *self.outputs)}
        plain = attention(self.checkpoint.model, "eager")
        with plain, traceable_windows(encoder), traceable_experts(encoder):
            tracing.trace(module, feeds, self.outputs, axes, path)

    def rows(self, tokenizer: Any) -> list[cases.TokenRow]:
        """Tokenize sentences to rows."""
        return cases.text_rows(self, tokenizer)

    def encode(self, rows: Sequence[cases.TokenRow]) -> tuple[np.ndarray, np.ndarray]:
        """Run the original's encoder on a batch of texts: the states, and their mask."""
        feeds = cases.batch(rows, self)
        return self.reference(feeds)["last_hidden_state"], feeds["attention_mask"]

    def reference(self, feeds: Feeds) -> dict[str, Any]:
        """Compute the original's states."""
        import torch

        with torch.inference_mode(), tracing.quiet():
            tensors = {name: torch.from_numpy(feeds[name]) for name in self.inputs}
            return {"last_hidden_state": self.checkpoint.model.get_encoder()(**tensors)[0].float().numpy()}
