"""Tiny models of further families of text models, a line each: built, exported and compared with transformers once.

The families whose options the suite tests at length are in `encoders` and `generators`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.text import generator_tokenizers

HEAD = "family"
POSITIONS = 96
WINDOW = 16
"""Tokens that a layer with a sliding window attends to."""

_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": POSITIONS,
}
_GEMMA = {**_LLAMA, "query_pre_attn_scalar": 16, "sliding_window": WINDOW}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
_BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + i / 8 for i in range(8)],
    "long_factor": [2.0 + i for i in range(8)],
    "original_max_position_embeddings": POSITIONS,
}
_LONG = {"original_max_position_embeddings": POSITIONS, "max_position_embeddings": 4 * POSITIONS}
_LATENT = {
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "num_key_value_heads": 4,
}
_ROUTED = {
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_MAMBA = {"mamba_d_state": 8, "mamba_n_groups": 1, "mamba_d_head": 16}
_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_FEW = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_EXPERTS = {"num_local_experts": 2, "intermediate_size_mlp": 48}


@dataclass(frozen=True)
class Family:
    """A family.

    Args:
        config: the name of its configuration's class.
        model: the name of its model's class.
        task: what it is exported for.
        sizes: arguments of the configuration. Special ids are the tokenizer's.
        tokenizer: the recipe in `generator_tokenizers`.
    """

    config: str
    model: str
    task: str
    sizes: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = "llama"


def _causal(stem: str, sizes: dict[str, Any], tokenizer: str = "llama", config: str = "") -> Family:
    return Family(config or f"{stem}Config", f"{stem}ForCausalLM", "text-generation", sizes, tokenizer)


FAMILIES: dict[str, Family] = {
    "embeddinggemma": Family(
        "Gemma3TextConfig",
        "Gemma3TextModel",
        "feature-extraction",
        {**_GEMMA, "use_bidirectional_attention": True, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "t5-encoder": Family("T5Config", "T5EncoderModel", "feature-extraction", _T5),
    "convbert": Family(
        "ConvBertConfig", "ConvBertForSequenceClassification", "text-classification", {**_BERT, "embedding_size": 32}
    ),
    "yoso": Family("YosoConfig", "YosoForSequenceClassification", "text-classification", _BERT),
    "nystromformer": Family(
        "NystromformerConfig", "NystromformerForSequenceClassification", "text-classification", _BERT, "bart"
    ),
    "longformer": Family(
        "LongformerConfig",
        "LongformerForSequenceClassification",
        "text-classification",
        {**_BERT, "attention_window": 16},
    ),
    "longformer-questions": Family(
        "LongformerConfig", "LongformerForQuestionAnswering", "question-answering", {**_BERT, "attention_window": 16}
    ),
    "led": Family(
        "LEDConfig",
        "LEDForConditionalGeneration",
        "text2text-generation",
        {
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_encoder_position_embeddings": 128,
            "max_decoder_position_embeddings": POSITIONS,
            "attention_window": WINDOW,
            "decoder_start_token_id": 2,
        },
        "bart",
    ),
    "t5gemma": Family(
        "T5GemmaConfig",
        "T5GemmaForConditionalGeneration",
        "text2text-generation",
        {"encoder": _GEMMA, "decoder": {**_GEMMA, "hidden_size": 48}},
        "gemma2",
    ),
    "bert2bert": Family(
        "EncoderDecoderConfig",
        "EncoderDecoderModel",
        "text2text-generation",
        {
            "encoder": {**_BERT, "model_type": "bert"},
            "decoder": {**_BERT, "model_type": "bert", "is_decoder": True, "add_cross_attention": True},
            "decoder_start_token_id": 1,
        },
    ),
    "glm": _causal("Glm", _LLAMA),
    "glm4": _causal("Glm4", {**_LLAMA, "head_dim": 32}),
    "ernie4_5": _causal("Ernie4_5", _LLAMA),
    "helium": _causal("Helium", {**_LLAMA, "hidden_size": 64}),
    "apertus": _causal("Apertus", _LLAMA),
    "llama4": _causal("Llama4", {**_LLAMA, **_EXPERTS, "attention_chunk_size": 32}, config="Llama4TextConfig"),
    "phi3-longrope": _causal("Phi3", {**_LLAMA, **_LONG, "hidden_size": 64, "rope_parameters": _LONGROPE}),
    "modernbert-decoder": _causal(
        "ModernBertDecoder",
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": POSITIONS,
            "global_attn_every_n_layers": 3,
            "local_attention": WINDOW,
        },
        "qwen2",
    ),
    "deepseek_v2": _causal("DeepseekV2", {**_LLAMA, **_LATENT, **_ROUTED, "head_dim": 8}),
    "deepseek_v3": _causal("DeepseekV3", {**_LLAMA, **_LATENT, **_ROUTED, "head_dim": 8}),
    "minicpm3": _causal("MiniCPM3", {**_LLAMA, **_LATENT, "head_dim": 8}),
    "lfm2": _causal("Lfm2", {**_LLAMA, "layer_types": ["conv", "full_attention"], "conv_L_cache": 3}),
    "granitemoehybrid": _causal(
        "GraniteMoeHybrid",
        {
            **_LLAMA,
            **_MAMBA,
            "layer_types": ["mamba", "attention"],
            "mamba_n_heads": 4,
            "mamba_expand": 2,
            "shared_intermediate_size": 32,
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
        },
    ),
    "bamba": _causal("Bamba", {**_LLAMA, **_MAMBA, "attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_expand": 2}),
    "falcon_h1": _causal("FalconH1", {**_LLAMA, **_MAMBA, "mamba_d_ssm": 64, "mamba_n_heads": 4}),
    "mamba": _causal("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
    "mamba2": _causal(
        "Mamba2",
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1},
    ),
    "qwen3_next": _causal("Qwen3Next", {**_LLAMA, **_LINEAR, **_FEW}),
    "qwen3_5": _causal("Qwen3_5", {**_LLAMA, **_LINEAR}, config="Qwen3_5TextConfig"),
}


def build(name: str, folder: Path) -> Path:
    """Write the model of the family `name`, with its tokenizer, into `folder`, which exists."""
    import transformers

    family = FAMILIES[name]
    generator_tokenizers.save(family.tokenizer, folder)
    size = max(generator_tokenizers.vocabulary(family.tokenizer, folder).values()) + 1
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    ids["vocab_size"] = size
    parts = {name: {**ids, **family.sizes[name]} for name in ("encoder", "decoder") if name in family.sizes}
    sizes = {**ids, **family.sizes, **parts}
    config = getattr(transformers, family.config)(**sizes)
    model = getattr(transformers, family.model)(config).eval()
    _fill(model, name)
    model.save_pretrained(folder)
    return folder


def _fill(model: Any, seed: str) -> None:
    """Overwrite every parameter: matrices N(0, 2.25/fan-in), words N(0, 1), all others near what they were."""
    import torch

    model.tie_weights()
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for name, parameter in model.named_parameters():
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(tuple(parameter.shape))
        if parameter.dim() < 2:
            values = parameter.detach().numpy() + 0.1 * noise
        else:
            values = noise * (1.0 if id(parameter) in embeddings else 1.5 / parameter.shape[-1] ** 0.5)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.asarray(values, np.float32)))
