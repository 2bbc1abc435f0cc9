"""Token healing: replace the prompt's last token by a longer one that begins with it, if the model prefers that."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.protocols import Array, GenerationModel, TextTokenizer

_BIAS, _FAVOUR = 10.0, 1.0


def heal(model: GenerationModel, prompt: Array, mask: Any, tokenizer: TextTokenizer | None) -> tuple[Array, Array]:
    """Choose the prompts' last tokens anew among those of the vocabulary that begin with the same characters.

    As in transformers the prompts are decoded, stripped of blanks and tokenized again, and their bos becomes padding.

    Args:
        model: chooses them.
        prompt: int64 (prompts, length).
        mask: their mask.
        tokenizer: the model's.

    Returns:
        int64 (prompts, new length), and their mask.

    Raises:
        ValueError: no tokenizer.
    """
    if tokenizer is None:
        raise ValueError(
            "When generating with token healing, you must pass the model's tokenizer to the `tokenizer` argument of "
            "`generate`."
        )
    texts = [tokenizer.decode(row, skip_special_tokens=True).strip() for row in prompt]
    ids = np.asarray(tokenizer(texts, return_tensors="np", padding=True)["input_ids"], np.int64)
    pad, bos = tokenizer.pad_token_id, tokenizer.bos_token_id
    if pad is not None and bos is not None:
        ids = np.where(ids == bos, pad, ids)
    vocabulary = tokenizer.get_vocab() if ids.size else {}
    for row in range(len(ids) if ids.size else 0):
        if not (ids[row] == pad).all():
            ids[row] = _healed(model, ids[row], pad, bos, tokenizer, vocabulary)
    if mask is None or np.shape(mask) != ids.shape:
        mask = np.ones(ids.shape, np.int64) if pad is None else (ids != pad).astype(np.int64)
    return ids, np.asarray(mask)


def _healed(
    model: GenerationModel,
    ids: Array,
    pad: int | None,
    bos: int | None,
    tokenizer: TextTokenizer,
    vocab: dict[str, int],
) -> Array:
    """Choose the last token of one row, int64 (length,), anew."""
    last = int(ids[-1])
    head = ids[:-1].copy()
    beginning = _spelling(tokenizer, last)
    bias = {(number,): _BIAS for token, number in vocab.items() if token.startswith(beginning)}
    if len(bias) <= 1 or not head.size:
        return ids
    bias[last,] = bias.get((last,), 0.0) + _FAVOUR
    if (ids != pad).sum() == 1 and bos is not None:
        head[-1] = bos
    from onnxpipe.generation.api import generate

    config = GenerationConfig(max_new_tokens=1, pad_token_id=pad, sequence_bias=bias)
    return np.asarray(generate(model, head[None], config, token_healing=False)[0])


def _spelling(tokenizer: TextTokenizer, token: int) -> str:
    """Spell a token as the vocabulary does: with its own character for a blank."""
    text = str(tokenizer.decode([token]))
    blank = tokenizer.convert_tokens_to_ids(" ")
    if blank is None:
        return text
    return text.replace(" ", str(tokenizer.convert_ids_to_tokens(blank))[0])
