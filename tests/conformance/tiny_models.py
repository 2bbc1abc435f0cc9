"""Tiny transformers models with random weights, large enough that texts vary and end tokens occur."""

from __future__ import annotations

import functools

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

VOCAB = 40


@functools.cache
def gpt2(seed: int = 0, vocab: int = VOCAB):
    """A decoder: bos 0, eos 1, pad 2."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocab,
        n_positions=128,
        n_embd=32,
        n_layer=2,
        n_head=4,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=False,
    )
    return _sharpened(GPT2LMHeadModel(config))


@functools.cache
def bart(seed: int = 0):
    """An encoder-decoder: bos 0, eos 1, pad 2, decoder start 3."""
    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=VOCAB, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128, bos_token_id=0,
        eos_token_id=1, pad_token_id=2, decoder_start_token_id=3, forced_eos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    return _sharpened(BartForConditionalGeneration(config))


@functools.cache
def t5(seed: int = 0):
    """An encoder-decoder whose pad, also its decoder's start, is 0: eos 1."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=VOCAB, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    return _sharpened(T5ForConditionalGeneration(config))


def _sharpened(model):
    """Weights with which the next token depends on the last, its position and the rest, and not on a constant."""
    size = model.lm_head.weight.shape
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.1 + name.endswith("weight"))
            elif any(part in name for part in ("emb", "shared", "wte", "wpe", "bias")):
                parameter.copy_(torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.6 / min(parameter.shape) ** 0.5)
        head = torch.randn(size) * 0.5
        head[1] *= 1.3  # the end token
        model.lm_head.weight = torch.nn.Parameter(head)  # not tied: a token would repeat itself
    return model.eval()
