"""The zoo's models: the real architectures at hidden size 32, with weights large enough that decisions are clear."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from zoo import Head
from zoo.corpus import SENTENCES
from zoo.text.tokenization import MAX_LENGTH, special_ids

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
_OFFSET = {"max_position_embeddings": MAX_LENGTH + 2, "type_vocab_size": 1}
"""RoBERTa's positions start after the pad id (1), so two more rows are needed."""

_IDS = {
    "bart": ("pad_token_id", "bos_token_id", "eos_token_id"),
    "modernbert": ("pad_token_id", "cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"),
}
"""Families whose config names more special ids than the padding's."""

_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {**SIZES, "max_position_embeddings": MAX_LENGTH}),
    "distilbert": (
        "DistilBert",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": MAX_LENGTH},
    ),
    "roberta": ("Roberta", {**SIZES, **_OFFSET, "layer_norm_eps": 1e-5}),
    "xlm-roberta": ("XLMRoberta", {**SIZES, **_OFFSET, "layer_norm_eps": 1e-5}),
    "camembert": ("Camembert", {**SIZES, **_OFFSET, "layer_norm_eps": 1e-5}),
    "electra": ("Electra", {**SIZES, "embedding_size": 16, "max_position_embeddings": MAX_LENGTH}),
    "albert": ("Albert", {**SIZES, "embedding_size": 16, "max_position_embeddings": MAX_LENGTH}),
    "mpnet": ("MPNet", {**SIZES, "max_position_embeddings": MAX_LENGTH + 2, "relative_attention_num_buckets": 32}),
    # As deberta-v3-base, with buckets small enough that far positions share one.
    "deberta-v2": (
        "DebertaV2",
        {
            **SIZES,
            "max_position_embeddings": MAX_LENGTH,
            "relative_attention": True,
            "position_buckets": 16,
            "max_relative_positions": -1,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "position_biased_input": False,
            "type_vocab_size": 0,
            "layer_norm_eps": 1e-7,
        },
    ),
    # Layers 0 and 3 see everything, 1 and 2 see eight tokens to each side.
    "modernbert": (
        "ModernBert",
        {
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": MAX_LENGTH,
            "global_attn_every_n_layers": 3,
            "local_attention": 16,
            "classifier_pooling": "mean",
        },
    ),
    "bart": (
        "Bart",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": MAX_LENGTH,
            "dropout": 0.0,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": 2,
        },
    ),
}


def make(family: str, head: Head, tokenizer: Path, *, seed: str) -> Any:
    """The model in eval mode, its weights drawn from `seed` and the name of each parameter.

    Args:
        tokenizer: the folder with the family's saved tokenizer.
    """
    import transformers
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    stem, sizes = _FAMILIES[family]
    kind = "ForConditionalGeneration" if (family, head.kind) == ("bart", "ForMaskedLM") else head.kind
    known = special_ids(tokenizer)
    if family == "modernbert":  # Its sentences begin with [CLS] and end with [SEP]; the config calls them bos and eos.
        known |= {"bos_token_id": known["cls_token_id"], "eos_token_id": known["sep_token_id"]}
    ids = {name: value for name, value in known.items() if name in _IDS.get(family, ("pad_token_id",))}
    size = backend.get_vocab_size(with_added_tokens=True)
    config = getattr(transformers, f"{stem}Config")(vocab_size=size, **{**sizes, **ids, **head.config})
    model = getattr(transformers, stem + kind)(config).eval()
    model.tie_weights()
    fill(model, seed)
    if kind.endswith(("Classification", "Answering")):
        _calibrate(model, config.num_labels, [backend.encode(text).ids for text in SENTENCES[:12]])
    return model


def fill(model: Any, seed: str) -> None:
    """Overwrite every parameter: norms near one, words N(0, 1), positions smaller, matrices N(0, 4/fan-in)."""
    import torch

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for name, parameter in model.named_parameters():
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(tuple(parameter.shape))
        if id(parameter) in embeddings:
            values = noise * (0.3 if "position" in name or "token_type" in name else 1.0)
        elif parameter.dim() > 1:
            values = noise * (2.0 / parameter.shape[-1] ** 0.5)
        else:
            values = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.asarray(values, np.float32)))


def _calibrate(model: Any, labels: int, texts: list[list[int]]) -> None:
    """Scale and centre the last layer so that on `texts` the logits have mean 0 and standard deviation 3.

    Both corrections are rounded, so that rounding errors of the forward pass do not reach the weights.
    """
    import torch

    head = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == labels][-1]
    seen: list[Any] = []
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(output.reshape(-1, labels)))
    with torch.no_grad():
        for ids in texts:
            model(input_ids=torch.tensor([ids]))
        hook.remove()
        logits = torch.cat(seen).double()
        scale = round(3.0 / float(logits.std(0).mean()), 1)
        mean = [round(float(value) * scale, 1) for value in logits.mean(0)]
        head.weight.mul_(scale)
        head.bias.mul_(scale).sub_(torch.tensor(mean))
