"""Export encoder-decoder models: the encoder's graph, and one graph for every call of the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.cases import text as cases
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import attention, max_length, row_invariance
from onnxpipe_export.graphs.graph import Case, Feeds, GraphExport, Maker, Run
from onnxpipe_export.graphs.seq2seq.decoder import Seq2SeqDecoderExport
from onnxpipe_export.graphs.seq2seq.layers import find_layers
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import seq2seq


def describe(checkpoint: Checkpoint) -> tuple[GraphExport, GraphExport]:
    """Describe the graphs of the encoder and of the decoder.

    Raises:
        ExportError: the decoder's layers are not supported.
    """
    layers = find_layers(checkpoint.model)
    if layers is None:
        raise ExportError(
            f"{checkpoint.folder.name}: models of the type '{checkpoint.config.model_type}' cannot be exported for "
            "generation: each layer of the decoder must have one self-attention and one cross-attention"
        )
    longest = max_length(checkpoint.model)
    encoder = Seq2SeqEncoderExport(checkpoint, longest)
    return encoder, Seq2SeqDecoderExport(checkpoint=checkpoint, layers=layers, source=encoder, max_length=longest)


@dataclass(frozen=True)
class Seq2SeqEncoderExport:
    """The export of `encoder_model`: input_ids and attention_mask (batch, length) to last_hidden_state (batch, length,
    width).

    Attributes:
        checkpoint: the model.
        max_length: the longest text, in tokens, that it takes (and that is verified).
    """

    checkpoint: Checkpoint
    max_length: int

    name = "encoder_model"
    inputs = ("input_ids", "attention_mask")
    outputs = ("last_hidden_state",)
    decisions: frozenset[str] = frozenset()

    @property
    def makers(self) -> Mapping[str, Maker]:
        """The precisions of graphs that take whole texts, and the decoder's: a bundle has both graphs in each."""
        return seq2seq.ENCODER

    def trace(self, path: Path) -> None:
        """Write the graph to `path`."""
        import torch

        encoder, names = self.checkpoint.model.get_encoder(), self.inputs

        class Flat(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.encoder = encoder

            def forward(self, *tensors: Any) -> tuple[Any]:
                return (self.encoder(**dict(zip(names, tensors, strict=True)))[0],)

        rows = cases.random_rows(self, [min(length, self.max_length) for length in (11, 8, 5)])
        feeds = {name: torch.from_numpy(value) for name, value in cases.batch(rows, self).items()}
        axes = {name: {0: "batch_size", 1: "encoder_sequence_length"} for name in (*self.inputs, *self.outputs)}
        with attention(self.checkpoint.model, "eager"):
            tracing.trace(Flat().eval(), feeds, self.outputs, axes, path)

    def optimise(self, graph: OnnxGraph) -> None:
        """Rewrite the graph to fewer nodes with the same numbers."""
        optimise(graph)

    def rows(self, tokenizer: Any) -> list[cases.TokenRow]:
        """Tokenize sentences to rows."""
        return cases.text_rows(self, tokenizer)

    def encode(self, rows: Sequence[cases.TokenRow]) -> tuple[np.ndarray, np.ndarray]:
        """Run the original's encoder on a batch of texts: the states, and their mask."""
        feeds = cases.batch(rows, self)
        return self.reference(feeds)["last_hidden_state"], feeds["attention_mask"]

    def cases(self, tokenizer: Any) -> list[Case]:
        """Make cases of real text and random ids, short and long, alone and padded at either side."""
        return cases.make(self, tokenizer)

    def reference(self, feeds: Feeds) -> Feeds:
        """Compute the original's states."""
        import torch

        with torch.inference_mode(), tracing.quiet():
            tensors = {name: torch.from_numpy(feeds[name]) for name in self.inputs}
            return {"last_hidden_state": self.checkpoint.model.get_encoder()(**tensors)[0].float().numpy()}

    def mask_of(self, feeds: Feeds) -> np.ndarray:
        """Return the attention mask."""
        return feeds["attention_mask"]

    def chains(self, run: Run, tokenizer: Any) -> tuple[()]:
        """Return no chains: a text is one run."""
        return ()

    def invariance(self, run: Run, tokenizer: Any) -> float:
        """Compare the rows of texts alone and in batches; see `row_invariance`."""
        return row_invariance(run, self, cases.text_rows(self, tokenizer))
