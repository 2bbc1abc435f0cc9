"""Load a model that answers questions about tables: which class it is, its graphs tell."""

from __future__ import annotations

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Model, Opener
from onnxpipe.models.encoder import EncoderModel


def load_table_model(bundle: Bundle, opener: Opener, name_or_path: str) -> Model:
    """Load the model of a bundle: an encoder-decoder that reads a table as text (TAPEX), or one graph (TAPAS).

    Raises:
        UnsupportedError: it is one graph, but not TAPAS's.
    """
    if "encoder_model" in bundle.graphs:
        from onnxpipe.models.seq2seq.model import Seq2SeqLM  # not at the top: TAPAS needs none of generation

        return Seq2SeqLM.load(bundle, opener, name_or_path)
    model = EncoderModel.load(bundle, opener, name_or_path)
    types, logits = model.session.inputs.get("token_type_ids"), model.session.outputs.get("logits")
    if types is None or logits is None or (len(types.shape), len(logits.shape)) != (3, 2):
        raise UnsupportedError(
            f"{name_or_path} has no graph for questions about tables: it takes token_type_ids of (batch, tokens, 7) "
            "and gives logits of (batch, tokens). Export TAPAS with: onnxpipe export MODEL -o DIR"
        )
    return model
