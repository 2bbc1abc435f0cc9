"""Load the assistant of assisted generation: a smaller model that drafts what the pipeline's own model checks."""

from __future__ import annotations

import os
from typing import Any

from onnxpipe.models.auto import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from onnxpipe.processing.text.tokenizer import AutoTokenizer, Tokenizer

_SPECIAL = ("eos_token_id", "pad_token_id", "bos_token_id")


def load_assistant(
    model: Any, assistant_model: Any, assistant_tokenizer: Tokenizer | None
) -> tuple[Any, Tokenizer | None]:
    """Load the assistant to the model's device, and its tokenizer if it is another than the model's.

    Args:
        model: the pipeline's.
        assistant_model: a folder, a Hub id, a model, or None.
        assistant_tokenizer: its tokenizer; for a folder or Hub id it is loaded from there.

    Raises:
        ValueError: the two models have different vocabularies and there is no tokenizer for the assistant.
    """
    if assistant_model is None:
        return None, None
    if isinstance(assistant_model, (str, os.PathLike)):
        auto = AutoModelForSeq2SeqLM if model.is_encoder_decoder else AutoModelForCausalLM
        assistant_tokenizer = AutoTokenizer.from_pretrained(assistant_model)
        assistant_model = auto.from_pretrained(assistant_model, device=str(model.device))
    mine, its = model.config, assistant_model.config
    if all(mine.get(name) == its.get(name) for name in ("vocab_size", *_SPECIAL)):
        return assistant_model, None
    if assistant_tokenizer is None:
        raise ValueError(
            "The assistant model has a different tokenizer than the main model. You should pass the assistant "
            "tokenizer."
        )
    return assistant_model, assistant_tokenizer
