"""The zoo's generators: real architectures at hidden size 64, with the configuration files of real checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.text import generator_tokenizers, generator_weights

POSITIONS = 512
WINDOW = 16
"""Tokens that a layer with a sliding window attends to."""

_GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS}
_LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}
_GEMMA = {
    **_LLAMA,
    "num_hidden_layers": 3,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
_BART = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": POSITIONS,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}
_T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}


@dataclass(frozen=True)
class Generator:
    """A family.

    Args:
        stem: the start of its configuration's class.
        kind: the end of its model's class.
        config: arguments of the configuration. The special ids come from `tokens`.
        tokens: special token -> the name of its id in both config.json and generation_config.json; a list makes a list.
        generation: what generation_config.json says beside the ids; a text is a token whose id is meant.
        legacy: what config.json holds beside what transformers writes today.
        extra: rows of the embedding matrix after the vocabulary.
        words: scale of the embeddings.
        queries: scale of the matrices that make queries.
        mixers: scale of the matrices after attention.
        feeds: scale of the feed-forward matrices.
    """

    stem: str
    config: dict[str, Any]
    tokens: dict[str, str | list[str]]
    kind: str = "ForCausalLM"
    generation: dict[str, Any] = field(default_factory=dict)
    legacy: dict[str, Any] = field(default_factory=dict)
    extra: int = 0
    words: float = 0.4
    queries: float = 1.5
    mixers: float = 3.0
    feeds: float = 1.5


_END = "<|endoftext|>"
_IM_END = "<|im_end|>"
_ONE_END: dict[str, str | list[str]] = {"bos": _END, "eos": _END}
_LLAMA_IDS: dict[str, str | list[str]] = {"bos": "<s>", "eos": "</s>"}
_GEMMA_IDS: dict[str, str | list[str]] = {"bos": "<bos>", "eos": ["<eos>", "<end_of_turn>"], "pad": "<pad>"}
_SEQ_IDS: dict[str, str | list[str]] = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "decoder_start": "</s>"}
_T5_IDS: dict[str, str | list[str]] = {"eos": "</s>", "pad": "<pad>", "decoder_start": "<pad>"}
_SEQ = "ForConditionalGeneration"
_SUMMARY = {"early_stopping": True, "length_penalty": 2.0, "max_length": 60, "min_length": 12, "num_beams": 4}

CAUSAL: dict[str, Generator] = {
    "gpt2": Generator("GPT2", _GPT, _ONE_END, kind="LMHeadModel", words=1.0, mixers=6.0),
    "gpt_neo": Generator(
        "GPTNeo",
        {
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
            "max_position_embeddings": POSITIONS,
        },
        _ONE_END,
    ),
    "gpt_neox": Generator(
        "GPTNeoX",
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "max_position_embeddings": POSITIONS,
        },
        _ONE_END,
    ),
    "opt": Generator(
        "OPT",
        {
            "hidden_size": 64,
            "word_embed_proj_dim": 48,
            "num_hidden_layers": 2,
            "ffn_dim": 128,
            "num_attention_heads": 4,
            "max_position_embeddings": POSITIONS,
            "dropout": 0.0,
        },
        {"bos": "</s>", "eos": "</s>", "pad": "<pad>"},
    ),
    "bloom": Generator(
        "Bloom",
        {"hidden_size": 64, "n_layer": 2, "n_head": 4},
        {"bos": "<s>", "eos": "</s>", "pad": "<pad>"},
    ),
    "llama": Generator("Llama", {**_LLAMA, "tie_word_embeddings": False}, {**_LLAMA_IDS, "pad": "<unk>"}, queries=0.8),
    "mistral": Generator(
        "Mistral", {**_LLAMA, "sliding_window": WINDOW, "tie_word_embeddings": False, "head_dim": 24}, _LLAMA_IDS
    ),
    "qwen2": Generator(
        "Qwen2",
        {**_LLAMA, "tie_word_embeddings": True},
        {"bos": _END, "eos": [_IM_END, _END], "pad": _END},
        generation={"do_sample": True, "repetition_penalty": 1.1, "temperature": 0.7, "top_k": 20, "top_p": 0.8},
        extra=24,
    ),
    "qwen3": Generator(
        "Qwen3",
        {**_LLAMA, "head_dim": 24, "tie_word_embeddings": True},
        {"bos": _END, "eos": [_IM_END, _END], "pad": _END},
        generation={"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
    ),
    "gemma2": Generator("Gemma2", _GEMMA, _GEMMA_IDS, generation={"cache_implementation": "hybrid"}),
    "gemma3": Generator(
        "Gemma3Text",
        _GEMMA,
        _GEMMA_IDS,
        kind="Gemma3ForCausalLM",
        generation={"cache_implementation": "hybrid", "do_sample": True, "top_k": 64, "top_p": 0.95},
    ),
    "phi": Generator(
        "Phi",
        {**_LLAMA, "num_key_value_heads": 4, "partial_rotary_factor": 0.5, "tie_word_embeddings": False},
        _ONE_END,
        extra=24,
    ),
    "phi3": Generator(
        "Phi3",
        {**_LLAMA, "sliding_window": WINDOW, "original_max_position_embeddings": POSITIONS},
        {"bos": "<s>", "eos": ["<|endoftext|>", "<|end|>"], "pad": _END},
    ),
    "smollm3": Generator(
        "SmolLM3",
        {**_LLAMA, "num_hidden_layers": 3, "no_rope_layers": [1, 1, 0], "tie_word_embeddings": True},
        {"bos": "<|begin_of_text|>", "eos": _IM_END, "pad": _IM_END},
        generation={"do_sample": True, "temperature": 0.6, "top_p": 0.95},
    ),
    "granite": Generator(
        "Granite",
        {
            **_LLAMA,
            "tie_word_embeddings": True,
            "attention_multiplier": 0.125,
            "embedding_multiplier": 6.0,
            "logits_scaling": 2.0,
            "residual_multiplier": 0.6,
        },
        {"bos": _END, "eos": _END, "pad": _END},
    ),
}

SEQ2SEQ: dict[str, Generator] = {
    "t5": Generator(
        "T5",
        {**_T5, "tie_word_embeddings": True},
        _T5_IDS,
        kind=_SEQ,
        legacy={
            "task_specific_params": {
                "summarization": {**_SUMMARY, "no_repeat_ngram_size": 3, "prefix": "summarize: "},
                "translation_en_to_de": {
                    "early_stopping": True,
                    "max_length": 50,
                    "num_beams": 4,
                    "prefix": "translate English to German: ",
                },
                "translation_en_to_fr": {
                    "early_stopping": True,
                    "max_length": 50,
                    "num_beams": 4,
                    "prefix": "translate English to French: ",
                },
            }
        },
        extra=28,
        words=2.0,
        queries=0.6,
        mixers=2.0,
        feeds=2.0,
    ),
    "mt5": Generator(
        "MT5",
        {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        _T5_IDS,
        kind=_SEQ,
        legacy={"tie_word_embeddings": False},
        queries=0.5,
    ),
    "bart": Generator(
        "Bart",
        {**_BART, "scale_embedding": False},
        {**_SEQ_IDS, "forced_bos": "<s>", "forced_eos": "</s>"},
        kind=_SEQ,
        generation={**_SUMMARY, "no_repeat_ngram_size": 3},
        legacy={
            "prefix": " ",
            "task_specific_params": {"summarization": {**_SUMMARY, "no_repeat_ngram_size": 3}},
        },
        words=1.0,
        queries=2.0,
        mixers=1.0,
        feeds=3.0,
    ),
    "mbart": Generator(
        "MBart",
        {**_BART, "scale_embedding": True},
        {**_SEQ_IDS, "forced_eos": "</s>"},
        kind=_SEQ,
        generation={"early_stopping": True, "max_length": 64, "num_beams": 5},
        words=2.0,
        queries=2.0,
        mixers=1.0,
        feeds=2.0,
    ),
    "pegasus": Generator(
        "Pegasus",
        {**_BART, "scale_embedding": True},
        {"eos": "</s>", "pad": "<pad>", "decoder_start": "<pad>", "forced_eos": "</s>"},
        kind=_SEQ,
        generation={"length_penalty": 0.6, "max_length": 64, "num_beams": 4},
        words=2.0,
        queries=2.0,
        mixers=1.0,
        feeds=2.0,
    ),
    "marian": Generator(
        "Marian",
        {**_BART, "scale_embedding": True, "activation_function": "swish"},
        {"bos": "</s>", "eos": "</s>", "pad": "<pad>", "decoder_start": "<pad>", "forced_eos": "</s>"},
        kind="MTModel",
        generation={"bad_words_ids": [["<pad>"]], "max_length": 512, "num_beams": 4, "renormalize_logits": True},
        words=3.0,
        queries=1.6,
        mixers=0.5,
        feeds=3.0,
    ),
    "m2m_100": Generator(
        "M2M100",
        {**_BART, "scale_embedding": True},
        _SEQ_IDS,
        kind=_SEQ,
        generation={"early_stopping": True, "max_length": 200, "num_beams": 5},
        words=2.0,
        queries=2.0,
        mixers=1.0,
        feeds=2.0,
    ),
    "nllb": Generator(
        "M2M100",
        {**_BART, "scale_embedding": True},
        _SEQ_IDS,
        kind=_SEQ,
        generation={"max_length": 200},
        words=2.0,
        queries=2.0,
        mixers=2.0,
        feeds=2.0,
    ),
    "blenderbot": Generator(
        "Blenderbot",
        {**_BART, "scale_embedding": True},
        {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "decoder_start": "<s>", "forced_eos": "</s>"},
        kind=_SEQ,
        generation={
            "encoder_no_repeat_ngram_size": 3,
            "length_penalty": 0.65,
            "max_length": 60,
            "min_length": 20,
            "no_repeat_ngram_size": 3,
            "num_beams": 10,
        },
        words=2.0,
        queries=2.0,
        mixers=1.0,
        feeds=2.0,
    ),
}

_SEEDS = {
    ("bloom", "causal"): "bloom/causal/1",
    ("gpt2", "causal"): "gpt2/causal/1",
    ("m2m_100", "seq2seq"): "m2m_100/seq2seq/3",
    ("gemma3", "causal"): "gemma3/causal/1",
    ("bart", "seq2seq"): "bart/seq2seq/5",
    ("marian", "seq2seq"): "marian/seq2seq/3",
}
"""Where the first seed gave a near tie, or text that does not end (see `tests/conformance/test_generators.py`)."""


def build(family: str, head: str, folder: Path) -> Path:
    """Write the generator `family` (`head`: "causal" or "seq2seq") into `folder`, which exists."""
    import transformers

    spec = (CAUSAL if head == "causal" else SEQ2SEQ)[family]
    generator_tokenizers.save(family, folder)
    vocabulary = generator_tokenizers.vocabulary(family, folder)
    ids = _ids(spec, vocabulary)
    config_ids = {name: value for name, value in ids.items() if not name.startswith("forced")}
    config = getattr(transformers, f"{spec.stem}Config")(
        vocab_size=max(vocabulary.values()) + 1 + spec.extra, **{**spec.config, **config_ids}
    )
    name = spec.kind if spec.kind.startswith("Gemma3") else spec.stem + spec.kind
    model = getattr(transformers, name)(config).eval()
    model.tie_weights()
    if not spec.config.get("tie_word_embeddings", True):
        _untie(model)
    gains = generator_weights.Gains(spec.words, spec.queries, spec.mixers, spec.feeds)
    seed = _SEEDS.get((family, head), f"{family}/{head}")
    generator_weights.fill(model, gains, seed, vocabulary, ids)
    model.generation_config = transformers.GenerationConfig()
    model.save_pretrained(folder)
    _write_configs(spec, ids, vocabulary, folder)
    return folder


def _untie(model: Any) -> None:
    """A head of its own: transformers 5 ties every new MT5, and loads real ones as they are."""
    import torch

    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())


def _ids(spec: Generator, vocabulary: dict[str, int]) -> dict[str, int | list[int]]:
    return {
        f"{name}_token_id": vocabulary[token] if isinstance(token, str) else [vocabulary[each] for each in token]
        for name, token in spec.tokens.items()
    }


def _write_configs(spec: Generator, ids: dict[str, int | list[int]], vocabulary: dict[str, int], folder: Path) -> None:
    """generation_config.json as real ones have it; in config.json what transformers no longer writes."""
    generation = {**ids, **spec.generation}
    if "bad_words_ids" in generation:
        generation["bad_words_ids"] = [[vocabulary[token] for token in word] for word in generation["bad_words_ids"]]
    text = json.dumps({**generation, "transformers_version": "4.57.6"}, indent=2, sort_keys=True)
    (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = json.dumps({**config, **spec.legacy}, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
