"""From a loaded model to its graphs: one file a kind of graph."""

from __future__ import annotations

from onnxpipe.errors import ExportError
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Attention, Graph


def describe(checkpoint: Checkpoint, attention: Attention = "auto") -> list[Graph]:
    """The graphs that `checkpoint` becomes for its task.

    Args:
        checkpoint: the loaded model.
        attention: for text-generation only.

    Raises:
        ExportError: the model is of a kind that cannot be exported, or not with this attention.
    """
    if checkpoint.task.name == "text-generation":
        from onnxpipe_export.graphs.causal_lm import describe as describe_causal

        return [describe_causal(checkpoint, attention)]
    if attention != "auto":
        raise ExportError(f"attention={attention!r} is for text-generation, not {checkpoint.task.name}; leave it out")
    if checkpoint.task.name == "text2text-generation":
        from onnxpipe_export.graphs.seq2seq import describe as describe_seq2seq

        return list(describe_seq2seq(checkpoint))
    from onnxpipe_export.graphs.encoder import describe as describe_encoder

    return [describe_encoder(checkpoint)]
