"""Contrastive search (Su et al. 2022): prefer, of the k likeliest tokens, one whose state differs from those before it.

Semantics of transformers 4's contrastive search, which transformers 5 loads from the Hub with trust_remote_code; the
code here is this package's own, and no remote code runs.
"""

from __future__ import annotations

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.numerics import softmax, top_k
from onnxpipe.generation.protocols import Array, Decoder
from onnxpipe.generation.request import DecodingRequest, SearchResult, StepRecord
from onnxpipe.generation.token_buffer import TokenBuffer


def contrastive_search(request: DecodingRequest) -> SearchResult:
    """Generate one row per prompt; every step runs `top_k` candidates of each through the model."""
    config = request.config
    width, alpha = config.top_k or 1, np.float32(config.penalty_alpha or 0.0)
    decoder, record = request.start(hidden=True), StepRecord.of(config)
    rows = TokenBuffer(request.prompt, request.max_length)
    pads = any(hasattr(criterion, "eos_token_id") for criterion in request.criteria)
    unfinished = np.ones(request.prompts, bool)
    logits = decoder.prefill()
    context = _hidden(decoder)
    padding = _padding(request, context.shape[1])
    while True:
        scores = request.processors(rows.ids, logits) if request.processors else logits
        record.add(scores, logits)
        probabilities, candidates = top_k(softmax(scores), width)
        count = candidates.shape[1]
        decoder.reorder(np.repeat(np.arange(request.prompts), count))
        after = decoder.step(candidates.reshape(-1, 1))[:, 0].reshape(request.prompts, count, -1)
        states = _hidden(decoder).reshape(request.prompts, count, -1)
        similarity = _similarity(context, states, padding)
        chosen = ((1 - alpha) * probabilities - alpha * similarity).argmax(-1)
        every = np.arange(request.prompts)
        decoder.reorder(every * count + chosen)
        logits = after[every, chosen]
        context = np.concatenate((context, states[every, chosen, None]), axis=1)
        padding = np.concatenate((padding, np.zeros((request.prompts, 1), bool)), axis=1)
        tokens = candidates[every, chosen]
        if pads:
            tokens = np.where(unfinished, tokens, request.pad or 0)
        rows.append(tokens)
        unfinished &= ~request.criteria(rows.ids, record.so_far())
        if request.streamer is not None:
            request.streamer.put(tokens)
        if not unfinished.any():
            break
    if request.streamer is not None:
        request.streamer.end()
    return SearchResult(rows.ids, record)


def _hidden(decoder: Decoder) -> Array:
    """Copy the last call's last hidden states, float32 (rows, n, width): the decoder may use its memory again."""
    if decoder.hidden is None:
        raise UnsupportedError("contrastive search needs the model's last hidden states, which its graph does not give")
    return decoder.hidden.copy()


def _padding(request: DecodingRequest, length: int) -> Array:
    """Find padding in the prompt's states, bool (prompts, length); it is to the left in a decoder's states."""
    mask = None if request.model.is_encoder_decoder else request.inputs.get("attention_mask")
    real = np.full(request.prompts, length) if mask is None else (np.asarray(mask) != 0).sum(-1)
    return np.asarray(np.arange(length) < length - real[:, None])


def _similarity(context: Array, states: Array, padding: Array) -> Array:
    """Compute the greatest cosine between a candidate's state and one before it: float32 (prompts, k).

    Args:
        context: float32 (prompts, length, width).
        states: float32 (prompts, k, width).
        padding: bool (prompts, length): positions that are padding.
    """
    context = context / np.linalg.norm(context, axis=-1, keepdims=True)
    states = states / np.linalg.norm(states, axis=-1, keepdims=True)
    cosines = np.einsum("blw,bkw->bkl", context, states)
    return np.asarray(np.where(padding[:, None], np.finfo(np.float32).min, cosines).max(-1))
