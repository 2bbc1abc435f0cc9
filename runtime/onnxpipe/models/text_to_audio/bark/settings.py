"""The settings of Bark's stages: the parts of its generation_config.json, with transformers' defaults."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpipe.bundle import Config
from onnxpipe.generation import GenerationConfig
from onnxpipe.generation.validation import SAMPLING

_SEMANTIC: Mapping[str, Any] = {
    "eos_token_id": 10_000, "renormalize_logits": True, "max_new_tokens": 768, "temperature": 1.0, "do_sample": False,
    "text_encoding_offset": 10_048, "text_pad_token": 129_595, "semantic_infer_token": 129_599,
    "semantic_vocab_size": 10_000, "max_input_semantic_length": 256, "semantic_rate_hz": 49.9,
}  # fmt: skip
_COARSE: Mapping[str, Any] = {
    "renormalize_logits": True, "temperature": 1.0, "do_sample": False, "coarse_semantic_pad_token": 12_048,
    "coarse_rate_hz": 75, "n_coarse_codebooks": 2, "coarse_infer_token": 12_050, "max_coarse_input_length": 256,
    "max_coarse_history": 630, "sliding_window_len": 60,
}  # fmt: skip
_FINE: Mapping[str, Any] = {
    "temperature": 1.0, "max_fine_history_length": 512, "max_fine_input_length": 1024, "n_fine_codebooks": 8,
}  # fmt: skip
#: Entries of files that no stage reads: `min_eos_p` counts only in the call, as in transformers.
_IGNORED = frozenset({"model_type", "min_eos_p"})


@dataclass(frozen=True)
class BarkSettings:
    """The numbers of a model, and the generation parameters of its causal stages.

    Attributes:
        semantic, coarse: parameters of `generate`, the stage's own numbers among them.
        fine: the numbers of the fine stage; its `temperature` is the only parameter.
        codebook_size: codes of a codebook.
    """

    semantic: GenerationConfig
    coarse: GenerationConfig
    fine: Mapping[str, Any]
    codebook_size: int

    @classmethod
    def of(cls, generation: GenerationConfig, config: Config) -> BarkSettings:
        """Read the settings of a folder.

        Args:
            generation: its generation_config.json.
            config: its config.json, whose parts fill in what generation_config.json leaves unset.
        """
        semantic = _stage(_SEMANTIC, generation, "semantic_config", config)
        coarse = _stage(_COARSE, generation, "coarse_acoustics_config", config)
        fine = {**_FINE, **_part(generation, "fine_acoustics_config")}
        return cls(semantic, coarse, fine, int(getattr(generation, "codebook_size", None) or 1024))

    @property
    def semantic_pad(self) -> int:
        """The token that pads semantic tokens: the end token."""
        end = self.semantic.eos_token_id
        return int(end[0] if isinstance(end, list) else end or self.semantic.semantic_vocab_size)

    @property
    def ratio(self) -> float:
        """Coarse codes per semantic token."""
        coarse, semantic = self.coarse, self.semantic
        return float(coarse.coarse_rate_hz / semantic.semantic_rate_hz * coarse.n_coarse_codebooks)


def with_parameters(config: GenerationConfig, parameters: Mapping[str, Any]) -> GenerationConfig:
    """Copy a config with the parameters of a call, for a generation that gives tokens alone.

    Raises:
        UnknownArgumentError: a name that is not a parameter of generation.
    """
    merged = copy.deepcopy(config)
    merged.update(**parameters)
    merged.return_dict_in_generate = False
    if merged.do_sample is not True:
        for name in SAMPLING.keys() - parameters.keys():
            setattr(merged, name, None)  # the file's are for sampling: nobody needs a warning that they are ignored
    if merged.max_new_tokens is not None:
        merged.max_length = None  # files of transformers 4 have both, and max_new_tokens counts
    return merged


def _stage(defaults: Mapping[str, Any], generation: GenerationConfig, name: str, config: Config) -> GenerationConfig:
    stage = GenerationConfig.from_dict({**defaults, **_part(generation, name)})
    inner = config.get(name)
    return stage if inner is None else _filled(stage, GenerationConfig.from_model_config(inner))


def _filled(config: GenerationConfig, fallback: GenerationConfig) -> GenerationConfig:
    """`config` with what it leaves unset taken from `fallback`."""
    values = {**fallback.to_diff_dict(), **config.to_diff_dict()}
    return GenerationConfig.from_dict(values)


def _part(generation: GenerationConfig, name: str) -> dict[str, Any]:
    part = getattr(generation, name, None)
    values = part if isinstance(part, Mapping) else {}
    return {key: value for key, value in values.items() if value is not None and key not in _IGNORED}
