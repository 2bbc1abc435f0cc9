"""Folders of onnxruntime-genai, whose genai_config.json stands for a config.json: what both say, by the latter's names.

Source: the files that `onnxruntime_genai.models.builder` writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import read_json
from onnxpipe.errors import BundleError

#: The file that names the model and its graphs.
GENAI = "genai_config.json"

_MODEL = {"vocab_size": "vocab_size", "context_length": "max_position_embeddings", "bos_token_id": "bos_token_id",
          "eos_token_id": "eos_token_id", "pad_token_id": "pad_token_id"}  # fmt: skip
_DECODER = {"head_size": "head_dim", **{name: name for name in (
    "hidden_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads")}}  # fmt: skip


def genai_config(folder: Path) -> dict[str, Any]:
    """Read the file in the form of a config.json of a causal language model.

    Raises:
        BundleError: the file is not one of onnxruntime-genai.
    """
    model = read_json(folder, GENAI).get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(decoder, dict):
        raise BundleError(f"{folder / GENAI} has no object 'model' with a 'decoder'")
    config: dict[str, Any] = {"model_type": str(model.get("type", "")), "architectures": ["GenaiForCausalLM"]}
    for source, names in ((model, _MODEL), (decoder, _DECODER)):
        config |= {name: source[key] for key, name in names.items() if key in source}
    return config
