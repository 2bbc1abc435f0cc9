"""What the decoders of encoder-decoder models differ in, and how one that takes audio or images is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class DecoderKind:
    """How a decoder differs from others.

    Attributes:
        takes_media: its encoder takes audio or images. As the model's own forward then needs more than the encoder's
            states, the decoder and the output layer are called instead.
        masked: it takes a mask of the encoder's states.
        weights: it returns the probabilities of its cross attentions, from which word timestamps are computed.
        language_model: the name of the model's part that is a whole language model, with an output layer of its own;
            "" where the model has the output layer.
    """

    takes_media: bool = False
    masked: bool = True
    weights: bool = False
    language_model: str = ""

    def decoder(self, model: Any) -> Any:
        """Return the part of `model` that decodes: the language model, or the decoder without an output layer."""
        return getattr(model, self.language_model) if self.language_model else model.get_decoder()

    def output_layer(self, model: Any) -> Any:
        """Return the layer that computes the logits, with a row of its weight for each token."""
        return (self.decoder(model) if self.language_model else model).get_output_embeddings()

    def run(self, model: Any, **inputs: Any) -> tuple[Any, Any, Any]:
        """Run the decoder of a model that takes audio or images.

        Returns:
            Logits (rows, length, vocabulary), the last hidden state (rows, length, width), and all that the decoder
            returned.
        """
        decoder = self.decoder(model)
        if not self.language_model:
            answer = decoder(**inputs)
            return self.output_layer(model)(answer.last_hidden_state), answer.last_hidden_state, answer
        body, hidden = decoder.base_model, []
        inner = [body, *(getattr(body, name) for name in ("decoder", "final_layer_norm") if hasattr(body, name))]
        hooks = [part.register_forward_hook(lambda module, args, output: hidden.append(output)) for part in inner]
        try:
            answer = decoder(**inputs)
        finally:
            for hook in hooks:
                hook.remove()
        first = hidden[0]  # some language models call the decoder inside their body, and not the body
        return answer.logits, first if isinstance(first, torch.Tensor) else first[0], answer


TEXT_DECODER = DecoderKind()


def encoder_output(states: Any) -> Any:
    """Make what a model's decoder gets of its encoder: the states, and no scores of routers (Switch Transformers)."""
    from transformers.modeling_outputs import BaseModelOutput

    output = BaseModelOutput(last_hidden_state=states)
    output.router_logits = None
    return output
