"""Tiny models that answer questions about tables: TAPAS with aggregations and without, and TAPEX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zoo.text import generators
from zoo.text.encoders import SIZES, fill
from zoo.text.tokenization import MAX_LENGTH
from zoo.text.tokenization import save as save_tokenizer

HEAD = "tables"
TAPAS: dict[str, dict[str, Any]] = {
    "tapas": {
        "num_aggregation_labels": 4,
        "aggregation_labels": {0: "NONE", 1: "SUM", 2: "AVERAGE", 3: "COUNT"},
        "no_aggregation_label_index": 0,
    },
    "tapas-sqa": {},
}
FAMILIES = (*TAPAS, "tapex")

_SHARPER = 6.0
"""Vectors are filled with small numbers; those that select cells have to be larger, for clear decisions."""


def build(family: str, folder: Path) -> Path:
    """Write the model `family` into `folder`, in the layout of its kind on the Hub."""
    return _tapex(folder) if family == "tapex" else _tapas(family, folder)


def _tapas(family: str, folder: Path) -> Path:
    """TAPAS as the Hub has it: a vocabulary, no tokenizer.json."""
    import torch
    from transformers import TapasConfig, TapasForQuestionAnswering

    save_tokenizer("bert", folder)
    known = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    words = [*sorted(known, key=known.__getitem__), "[EMPTY]"]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    tokenizer = {
        "tokenizer_class": "TapasTokenizer",
        "do_lower_case": True,
        "empty_token": "[EMPTY]",
        "additional_special_tokens": ["[EMPTY]"],
        "model_max_length": MAX_LENGTH,
        "max_row_id": 64,
        "max_column_id": 32,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2), encoding="utf-8")
    config = TapasConfig(
        **SIZES, vocab_size=len(words), max_position_embeddings=MAX_LENGTH, pad_token_id=known["[PAD]"], **TAPAS[family]
    )
    model = TapasForQuestionAnswering(config).eval()
    fill(model, f"{family}/{HEAD}")
    with torch.no_grad():
        for parameter in (model.output_weights, model.column_output_weights):
            parameter.mul_(_SHARPER)
    model.save_pretrained(folder)
    return folder


def _tapex(folder: Path) -> Path:
    """TAPEX: a BART whose tokenizer has a class of its own, of vocabulary and merges."""
    generators.build("bart", "seq2seq", folder)
    backend = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = (pair if isinstance(pair, str) else " ".join(pair) for pair in backend["merges"])
    (folder / "vocab.json").write_text(json.dumps(backend["vocab"]), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{pair}\n" for pair in merges), encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings |= {"tokenizer_class": "TapexTokenizer", "add_prefix_space": True, "do_lower_case": True}
    path.write_text(json.dumps(settings | {"max_cell_length": 15}, indent=2), encoding="utf-8")
    return folder
