"""The language models inside of vision-language models, as causal language models that share their weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep

from onnxpipe_export import tracing


def with_own_positions(model: Any) -> Any:
    """Make the causal language model of a Qwen-VL model's text part.

    transformers has none of its own. Its `position_ids` are (3, batch, length) or (batch, length). `deepstack_embeds`
    (batch, length, layers, width) are added to the states after the first layers; only Qwen3-VL has such.
    """
    decoder = model.get_decoder()
    base = next(each for each in type(decoder).__mro__[1:] if each.__name__.endswith("PreTrainedModel"))

    class TextModel(base, GenerationMixin):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            super().__init__(decoder.config)
            self.model, self.lm_head = decoder, model.get_output_embeddings()
            self.generation_config = model.generation_config

        def get_decoder(self) -> Any:
            return self.model

        def get_input_embeddings(self) -> Any:
            return self.model.embed_tokens

        def get_output_embeddings(self) -> Any:
            return self.lm_head

        def forward(
            self, input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None,
            past_key_values: Any = None, inputs_embeds: Any = None, use_cache: Any = None, logits_to_keep: Any = 0,
            deepstack_embeds: Any = None, **others: Any,
        ) -> Any:  # fmt: skip
            named = {name: value for name, value in others.items() if name in ("return_dict", "output_hidden_states")}
            with _adding(self.model, deepstack_embeds) as deep:
                found = self.model(
                    input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
                    past_key_values=past_key_values, inputs_embeds=inputs_embeds, use_cache=use_cache, **named, **deep,
                )  # fmt: skip
            logits = self.lm_head(slice_logits_to_keep(found.last_hidden_state, logits_to_keep))
            return CausalLMOutputWithPast(logits=logits, past_key_values=found.past_key_values)

    return TextModel().eval()


@contextlib.contextmanager
def _adding(decoder: Any, features: Any) -> Iterator[dict[str, Any]]:
    """Let a decoder add dense features to its first layers' states, instead of selecting tokens by a mask.

    It gives the keyword arguments of the decoder's forward.
    """
    if features is None:
        yield {}
        return
    with tracing.replaced(decoder, "_deepstack_process", _add):
        yield {"visual_pos_masks": torch.ones(()), "deepstack_visual_embeds": list(features.unbind(dim=2))}


def _add(hidden: Any, mask: Any, features: Any) -> Any:
    return hidden + features
