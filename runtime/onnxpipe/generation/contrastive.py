"""Contrastive search (Su et al. 2022): of the k likeliest tokens the one whose state is least like those before it.

Semantics of transformers 4's contrastive search, which transformers 5 loads from the Hub with trust_remote_code; the
code here is this package's own, and no remote code runs.
"""

from __future__ import annotations

import numpy as np

from onnxpipe.generation.numerics import softmax, top_k
from onnxpipe.generation.protocols import Array, Decoder
from onnxpipe.generation.rows import Rows
from onnxpipe.generation.run import Found, Record, Run


def contrastive_search(run: Run) -> Found:
    """One row per prompt; every step runs `top_k` candidates of each through the model."""
    config = run.config
    width, alpha = config.top_k or 1, np.float32(config.penalty_alpha or 0.0)
    decoder, record = run.start(hidden=True), Record.of(config)
    rows = Rows(run.prompt, run.max_length)
    pads = any(hasattr(criterion, "eos_token_id") for criterion in run.criteria)
    unfinished = np.ones(run.prompts, bool)
    logits = decoder.prefill()
    context = _hidden(decoder)
    blind = _padding(run, context.shape[1])
    while True:
        scores = run.processors(rows.ids, logits) if run.processors else logits
        record.add(scores, logits)
        shares, candidates = top_k(softmax(scores), width)
        count = candidates.shape[1]
        decoder.reorder(np.repeat(np.arange(run.prompts), count))
        after = decoder.step(candidates.reshape(-1, 1))[:, 0].reshape(run.prompts, count, -1)
        states = _hidden(decoder).reshape(run.prompts, count, -1)
        likeness = _likeness(context, states, blind)
        chosen = ((1 - alpha) * shares - alpha * likeness).argmax(-1)
        every = np.arange(run.prompts)
        decoder.reorder(every * count + chosen)
        logits = after[every, chosen]
        context = np.concatenate((context, states[every, chosen, None]), axis=1)
        blind = np.concatenate((blind, np.zeros((run.prompts, 1), bool)), axis=1)
        tokens = candidates[every, chosen]
        if pads:
            tokens = np.where(unfinished, tokens, run.pad or 0)
        rows.append(tokens)
        unfinished &= ~run.criteria(rows.ids, record.so_far())
        if run.streamer is not None:
            run.streamer.put(tokens)
        if not unfinished.any():
            break
    if run.streamer is not None:
        run.streamer.end()
    return Found(rows.ids, record)


def _hidden(decoder: Decoder) -> Array:
    """float32 (rows, n, width): the last call's last hidden states. A copy: the decoder may use its memory again."""
    if decoder.hidden is None:
        raise ValueError("contrastive search needs the model's last hidden states, and its graph does not give them")
    return decoder.hidden.copy()


def _padding(run: Run, length: int) -> Array:
    """bool (prompts, length): where the prompt's states are of padding, which is to the left in a decoder's states."""
    mask = None if run.model.is_encoder_decoder else run.inputs.get("attention_mask")
    real = np.full(run.prompts, length) if mask is None else (np.asarray(mask) != 0).sum(-1)
    return np.asarray(np.arange(length) < length - real[:, None])


def _likeness(context: Array, states: Array, blind: Array) -> Array:
    """float32 (prompts, k): the greatest cosine between a candidate's state and one before it.

    Args:
        context: float32 (prompts, length, width).
        states: float32 (prompts, k, width).
        blind: bool (prompts, length): positions that are padding.
    """
    context = context / np.linalg.norm(context, axis=-1, keepdims=True)
    states = states / np.linalg.norm(states, axis=-1, keepdims=True)
    cosines = np.einsum("blw,bkw->bkl", context, states)
    return np.asarray(np.where(blind[:, None], np.finfo(np.float32).min, cosines).max(-1))
