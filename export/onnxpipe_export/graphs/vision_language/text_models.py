"""The language models inside of vision-language models, as causal language models that share their weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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


def where_images_see_themselves(model: Any) -> Any:
    """Make the causal language model of Gemma 3: the tokens of one image, whose type is 1, see each other."""
    return _with_types(model, within_images)


def where_prompts_see_themselves(model: Any) -> Any:
    """Make the causal language model of PaliGemma: the tokens of the prompt, whose type is 0, see each other."""
    return _with_types(model, lambda types: torch.where(types == 0, 0, -1), beyond_window=True)


def within_images(types: Any) -> Any:
    """Number the runs of tokens of type 1; −1 for other tokens."""
    before = torch.cat([torch.zeros_like(types[:, :1]), types[:, :-1]], dim=1)
    starts = (types == 1) & (before != 1)
    return torch.where(types == 1, starts.long().cumsum(dim=1), -1)


def _with_types(model: Any, groups_of: Callable[[Any], Any], *, beyond_window: bool = False) -> Any:
    """Make a model's causal language model take `token_type_ids` (batch, length) of the new tokens.

    The original knows by its own state whether it is at the prompt; a graph needs an input that says so.

    Args:
        model: the whole model.
        groups_of: from the types to groups, int64 (batch, length): tokens of one group from 0 on see each other.
        beyond_window: they do so beyond the window of layers that have one.
    """
    from onnxpipe_export.graphs.vision_language.graph import text_model

    text = text_model(model)
    plain = type(text)

    class TypedModel(plain):  # type: ignore[misc,valid-type]
        def forward(
            self, input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None,
            past_key_values: Any = None, inputs_embeds: Any = None, token_type_ids: Any = None, **others: Any,
        ) -> Any:  # fmt: skip
            mask = attention_mask
            if token_type_ids is not None:
                mask = biases(self.config, attention_mask, groups_of(token_type_ids), beyond_window)
            return plain.forward(
                self, input_ids=input_ids, attention_mask=mask, position_ids=position_ids,
                past_key_values=past_key_values, inputs_embeds=inputs_embeds, **others,
            )  # fmt: skip

    TypedModel.__module__ = plain.__module__  # where tracing looks for the functions that it replaces
    TypedModel.__name__ = plain.__name__
    text.__class__ = TypedModel
    return text


def biases(config: Any, mask: Any, groups: Any, beyond_window: bool = False) -> Any:
    """Compute what is added to the products of new tokens with all tokens, (batch, 1, new, all).

    A dict by the kind of layer, where the model has several.

    Args:
        config: the language model's.
        mask: int64 (batch, all): 1 for tokens, 0 for padding.
        groups: int64 (batch, new): new tokens of one group from 0 on see each other.
        beyond_window: see `_with_types`.
    """
    new, every = torch._shape_as_tensor(groups)[1], torch._shape_as_tensor(mask)[1]
    before = every - new
    query, key = torch.arange(new) + before, torch.arange(every)
    of_keys = groups[:, torch.clamp(key - before, min=0)]
    together = (groups[:, :, None] == of_keys[:, None, :]) & (groups[:, :, None] >= 0) & (key >= before)
    causal, present = key <= query[:, None], mask[:, None, :] > 0
    full = _bias((together | causal) & present)
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds:
        return full
    near = key > query[:, None] - (config.sliding_window or every)
    within = together | (causal & near) if beyond_window else (together | causal) & near
    sliding = _bias(within & present)
    return {kind: sliding if kind == "sliding_attention" else full for kind in kinds}


def _bias(allowed: Any) -> Any:
    return torch.where(allowed, 0.0, torch.finfo(torch.float32).min)[:, None]
