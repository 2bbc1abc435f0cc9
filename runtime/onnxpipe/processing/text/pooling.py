"""Pool token features to one vector per text, as a model's own sentence-transformers files declare.

Source: the folder format of sentence-transformers (`modules.json` lists the steps; each step has a folder with a
`config.json`), read up to its version 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle.arrays import read_safetensors
from onnxpipe.bundle.files import MIB, has_file, read_bytes, read_json_value
from onnxpipe.errors import BundleError, UnsupportedError

Array = NDArray[Any]


def _weighted_mean(tokens: Array) -> Array:
    weights = np.arange(1, len(tokens) + 1, dtype=tokens.dtype)[:, None]
    return np.asarray((tokens * weights).sum(0) / weights.sum())


#: Pooling modes: features of a text's own tokens, shape (tokens, hidden), to one vector (hidden,).
MODES: Mapping[str, Callable[[Array], Array]] = {
    "cls": lambda tokens: np.asarray(tokens[0]),
    "max": lambda tokens: np.asarray(tokens.max(0)),
    "mean": lambda tokens: np.asarray(tokens.mean(0)),
    "mean_sqrt_len_tokens": lambda tokens: np.asarray(tokens.sum(0) / np.sqrt(len(tokens))),
    "weightedmean": _weighted_mean,
    "lasttoken": lambda tokens: np.asarray(tokens[-1]),
}

#: The largest linear layer after pooling is a few MiB.
_DENSE_LIMIT = 256 * MIB

_ALIASES = {"last": "lasttoken", "last_token": "lasttoken", "mean_sqrt_len": "mean_sqrt_len_tokens"}

#: The keys of a pooling folder's config.json, in the order in which several modes are concatenated.
_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "Identity": lambda x: x,
    "Tanh": lambda x: np.asarray(np.tanh(x)),
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: np.asarray(1 / (1 + np.exp(-x))),
}


def pooling_modes(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the pooling modes of one name or several.

    Raises:
        UnsupportedError: a name that is not a pooling mode.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    modes = tuple(_ALIASES.get(name, name) for name in names)
    for mode in modes:
        if mode not in MODES:
            raise UnsupportedError(f"pooling={mode!r} is not known; choose from {', '.join(MODES)}")
    if not names:
        raise UnsupportedError(f"pooling={names!r} is empty; choose from {', '.join(MODES)}")
    return modes


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling: weight (out, in), bias (out,) or None."""

    weight: Array
    bias: Array | None
    activation: str

    def __call__(self, vector: Array) -> Array:
        out = self.weight @ vector
        return _ACTIVATIONS[self.activation](out if self.bias is None else out + self.bias)


@dataclass(frozen=True)
class PoolingConfig:
    """The steps after the transformer in a sentence embedding model.

    Attributes:
        pooling: modes, concatenated in this order.
        dense: linear layers after pooling.
        normalize: whether the vector is scaled to length 1.
        max_seq_length: longest text in tokens, special tokens included; None for the tokenizer's own limit.
        include_prompt: whether a prompt's tokens are pooled too.
        prompts: texts by name, which are put before an input.
        default_prompt_name: the prompt used when the call names none.
    """

    pooling: tuple[str, ...] = ("mean",)
    dense: tuple[Dense, ...] = ()
    normalize: bool = False
    max_seq_length: int | None = None
    include_prompt: bool = True
    prompts: Mapping[str, str] | None = None
    default_prompt_name: str | None = None

    def embed(self, tokens: Array, *, skip: int = 0) -> Array:
        """Pool the tokens of a text to one vector.

        Args:
            tokens: features of the text's own tokens without padding, shape (tokens, hidden).
            skip: prompt tokens at the beginning that are not pooled.
        """
        own = tokens[skip:].astype(np.float32)
        vector = np.concatenate([MODES[mode](own) for mode in self.pooling])
        for layer in self.dense:
            vector = layer(vector)
        return vector


def l2_normalize(vector: Array) -> Array:
    """Scale a vector to length 1; a zero vector stays zero (as `torch.nn.functional.normalize` with eps 1e-12)."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=vector.dtype)


def read_pooling_config(folder: Path) -> PoolingConfig:
    """Read the pooling that a folder's sentence-transformers files declare; mean pooling where there are none.

    Raises:
        UnsupportedError: `modules.json` names an unknown step.
        BundleError: a required file is missing or damaged.
    """
    modules = _json(folder, "modules.json", list)
    extra = _json(folder, "config_sentence_transformers.json", dict) or {}
    limits = _json(folder, "sentence_bert_config.json", dict) or {}
    pooling: tuple[str, ...] = ("mean",)
    dense: list[Dense] = []
    normalize, include_prompt = False, True
    for module in modules or []:
        if not isinstance(module, dict):
            raise BundleError(f"{folder / 'modules.json'} must list objects, and has {module!r}")
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        where = str(module.get("path", "")).rstrip("/")
        if ".." in where.split("/"):
            raise BundleError(f"{folder / 'modules.json'}: the path {module.get('path')!r} points out of the folder")
        if kind == "Pooling":
            config = _json(folder, f"{where}/config.json" if where else "config.json", dict) or {}
            pooling, include_prompt = _modes(config), bool(config.get("include_prompt", True))
        elif kind == "Dense":
            dense.append(_dense(folder, where))
        elif kind == "Normalize":
            normalize = True
        elif kind not in ("Transformer", "Dropout"):
            raise UnsupportedError(f"{folder / 'modules.json'} names the step {kind!r}, which is not supported")
    prompts, default = _prompts(extra, folder / "config_sentence_transformers.json")
    limit = limits.get("max_seq_length")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise BundleError(f"{folder / 'sentence_bert_config.json'}: max_seq_length is {limit!r}, not a length")
    return PoolingConfig(pooling, tuple(dense), normalize, limit, include_prompt, prompts, default)


def _prompts(config: Mapping[str, Any], file: Path) -> tuple[dict[str, str], str | None]:
    """Read the prompts by name, without empty ones, and the name of the one that holds where a call names none."""
    prompts, default = config.get("prompts") or {}, config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise BundleError(f"{file}: prompts must map names to texts")
    if default is not None and (not isinstance(default, str) or default not in prompts):
        raise BundleError(f"{file}: default_prompt_name is {default!r:.80}, which is not one of its prompts")
    return {name: text for name, text in prompts.items() if text}, default


def _modes(config: dict[str, Any]) -> tuple[str, ...]:
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        if not isinstance(mode, str) and not (isinstance(mode, list) and all(isinstance(one, str) for one in mode)):
            raise BundleError(f"pooling_mode of the folder's Pooling is {mode!r}, not a name or a list of names")
        return pooling_modes(mode if isinstance(mode, str) else tuple(mode))
    return tuple(mode for key, mode in _KEYS.items() if config.get(key)) or ("mean",)


def _dense(folder: Path, where: str) -> Dense:
    config = _json(folder, f"{where}/config.json", dict) or {}
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise UnsupportedError(f"{folder / where / 'config.json'}: the activation {activation!r} is not supported")
    name = f"{where}/model.safetensors"
    weights = _read_weights(folder, name)
    weight, bias = weights.get("linear.weight"), weights.get("linear.bias")
    if weight is None or weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise BundleError(f"{folder / name} has no 'linear.weight' of two axes, or a 'linear.bias' of another width")
    return Dense(weight, bias, activation)


def _read_weights(folder: Path, name: str) -> dict[str, Array]:
    """Read the tensors of a safetensors file of a model's folder."""
    content = read_bytes(folder, name, _DENSE_LIMIT)
    try:
        return read_safetensors(content)
    except ValueError as error:
        raise BundleError(f"{folder / name} could not be read: {error}") from error


def _json(folder: Path, name: str, kind: type) -> Any:
    if not has_file(folder, name):
        return None
    value = read_json_value(folder, name)
    if not isinstance(value, kind):
        raise BundleError(f"{folder / name} holds a {type(value).__name__}, not a {kind.__name__}")
    return value
