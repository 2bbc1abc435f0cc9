"""Models that read a page themselves and write the answer: Donut. The prompt they take, and the text they give."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxpipe.engine.batching import Array

if TYPE_CHECKING:
    from onnxpipe.processing.text.tokenizer import Tokenizer

_FIRST_TAG = re.compile(r"<.*?>")
_ANSWER = re.compile(r"<s_answer>(.*)</s_answer>")


def prompt(tokenizer: Tokenizer, question: str) -> Array:
    """Make the first tokens of the decoder, int64 (tokens,), in the form that Donut was trained with on DocVQA."""
    text = f"<s_docvqa><s_question>{question}</s_question><s_answer>"
    return np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], np.int64)


def answer_in(tokenizer: Tokenizer, tokens: Any) -> str | None:
    """Find the answer in what was generated, prompt included: the text between its tags; None where there is none."""
    text = tokenizer.decode(tokens)
    for token in (tokenizer.eos_token, tokenizer.pad_token):
        text = text.replace(token, "") if token else text
    found = _ANSWER.search(_FIRST_TAG.sub("", text, count=1).strip())
    return None if found is None else found[1].strip()
