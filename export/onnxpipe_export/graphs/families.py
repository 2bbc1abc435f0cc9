"""The differences between families of models: one line each. Everything else about them is the same code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxpipe_export.graphs.windowed_attention import questions_see_all


@dataclass(frozen=True)
class ModelFamily:
    """How one model_type differs from a plain encoder.

    Attributes:
        attention: the implementation that is traced. "eager" is plain products and a softmax; "sdpa" also gives zeros
            for a token that may look at no other, which matters where attention is local.
        given: task -> a function (model, inputs) -> further inputs that the model would find out by itself, in a way
            that cannot be traced or takes certain rows only.
        heads: task -> a function (model, inputs) -> outputs that replaces the model's forward where that cannot be
            traced: same numbers, no branch on data.
    """

    attention: str = "eager"
    given: Mapping[str, Callable[[Any, Mapping[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    heads: Mapping[str, Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]] = field(default_factory=dict)


def last_eos_classification(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Compute BART's sequence classification: the head on the last end-of-sequence token of each row.

    The original selects by a boolean mask, whose size depends on the data, and reshapes by the example's batch size.
    """
    import torch

    hidden = model.model(**inputs)[0]
    is_eos = inputs["input_ids"].eq(model.config.eos_token_id)
    positions = torch.arange(is_eos.shape[1], device=is_eos.device)
    last = (is_eos * positions).argmax(dim=1)
    index = last[:, None, None].expand(-1, 1, hidden.shape[-1])
    return {"logits": model.classification_head(hidden.gather(1, index).squeeze(1))}


_BART = ModelFamily(heads={"text-classification": last_eos_classification})

FAMILIES: Mapping[str, ModelFamily] = {
    "longformer": ModelFamily(given={"question-answering": questions_see_all}),
    "modernbert": ModelFamily(attention="sdpa"),
    "bart": _BART,
    "mbart": _BART,
    "plbart": _BART,
    "mvp": _BART,
}


def family_of(model_type: str) -> ModelFamily:
    """Look up the family of `model_type`; one that is not listed is tried as a plain encoder, and certified too."""
    return FAMILIES.get(model_type, ModelFamily())


# model_type of the causal language models whose attention GroupQueryAttention is known to compute: causal or a sliding
# window, with or without a rotation of queries and keys. Others attend by standard operators, e.g. bloom, mpt (a bias
# that grows with the distance), gpt_neo (windows of its own), gpt_oss (sinks).
GQA_FAMILIES = frozenset(
    ["apertus", "arcee", "biogpt", "cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3_text", "glm",
     "glm4", "gpt2", "gpt_bigcode", "gpt_neox", "granite", "helium", "llama", "mistral", "mixtral", "nemotron", "olmo",
     "olmo2", "opt", "persimmon", "phi", "phi3", "qwen2", "qwen2_5_vl_text", "qwen2_moe", "qwen2_vl_text", "qwen3",
     "qwen3_vl_text", "seed_oss", "smollm3", "stablelm", "starcoder2"]
)  # fmt: skip
