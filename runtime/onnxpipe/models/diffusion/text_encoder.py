"""A text encoder of a diffusion pipeline: CLIP, with or without projection, or T5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Array
from onnxpipe.models.diffusion.graphs import ComponentGraphs

_HIDDEN = "hidden_states."
_NORMED = "normed_hidden_states."


@dataclass(frozen=True)
class TextStates:
    """What a text encoder returns.

    Attributes:
        encoder: its component, for errors.
        outputs: the outputs of its graph by name: `hidden_states.0` are the embeddings, `hidden_states.1` the states
            after the first layer, and so on; `normed_hidden_states.…` are the same with the final norm.
    """

    encoder: str
    outputs: Mapping[str, Array]

    @property
    def last(self) -> Array:
        """The last layer's states with the final norm, float32 (texts, tokens, width)."""
        first = next(iter(self.outputs.values()))
        return self.outputs.get("last_hidden_state", first)

    @property
    def pooled(self) -> Array | None:
        """One vector a text, float32 (texts, width): projected where the encoder projects; None for T5."""
        return self.outputs.get("text_embeds", self.outputs.get("pooler_output"))

    def before_last(self, skipped: int, normed: bool = False) -> Array:
        """Get the states before the last `skipped` layers, float32 (texts, tokens, width).

        Args:
            skipped: number of layers.
            normed: with the final norm.

        Raises:
            UnsupportedError: the encoder has fewer layers, or its graph does not return the states.
        """
        prefix = _NORMED if normed else _HIDDEN
        count = sum(name.startswith(prefix) for name in self.outputs)
        if not count:
            raise UnsupportedError(
                f"the graph of {self.encoder} returns no states of its layers, which this prompt is read with: export "
                "the model with onnxpipe export, which keeps them"
            )
        if skipped >= count:
            raise UnsupportedError(
                f"clip_skip is too large: {self.encoder} has {count - 1} layers, and {skipped} were to be left out"
            )
        return self.outputs[f"{prefix}{count - 1 - skipped}"]


class TextEncoder:
    """Encodes the tokens of prompts.

    Args:
        graphs: the pipeline's.
        name: its component, "text_encoder".

    Attributes:
        name: as passed.
        config: its config.json.
    """

    def __init__(self, graphs: ComponentGraphs, name: str) -> None:
        self.graphs = graphs
        self.name = name
        self.config = graphs.config(name)

    def __call__(self, input_ids: Array, attention_mask: Array | None = None) -> TextStates:
        """Encode texts.

        Args:
            input_ids: int (texts, tokens).
            attention_mask: of the same shape, for graphs that take one; None attends to all tokens, padding too.
        """
        session = self.graphs.session(self.name)
        feeds = {"input_ids": input_ids}
        if "attention_mask" in session.inputs:
            feeds["attention_mask"] = np.ones_like(input_ids) if attention_mask is None else attention_mask
        return TextStates(self.name, session.run(feeds))

    def release(self) -> None:
        """Close the graph, if memory is scarce."""
        self.graphs.release(self.name)
