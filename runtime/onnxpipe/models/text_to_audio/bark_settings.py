"""How Bark's stages generate: the parts of its generation_config.json, with transformers' defaults."""

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
#: What files carry beside, and no stage reads: `min_eos_p` counts only in the call, as in transformers.
_UNREAD = frozenset({"model_type", "min_eos_p"})


@dataclass(frozen=True)
class Settings:
    """The numbers of a model, and how its causal stages choose tokens.

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
    def of(cls, generation: GenerationConfig, config: Config) -> Settings:
        """Those of a folder.

        Args:
            generation: its generation_config.json.
            config: its config.json, whose parts are what a stage falls back on.
        """
        semantic = _stage(_SEMANTIC, generation, "semantic_config", config)
        coarse = _stage(_COARSE, generation, "coarse_acoustics_config", config)
        fine = {**_FINE, **_part(generation, "fine_acoustics_config")}
        return cls(semantic, coarse, fine, int(getattr(generation, "codebook_size", None) or 1024))

    @property
    def semantic_pad(self) -> int:
        """The token that stands for no meaning: the end."""
        end = self.semantic.eos_token_id
        return int(end[0] if isinstance(end, list) else end or self.semantic.semantic_vocab_size)

    @property
    def ratio(self) -> float:
        """Coarse codes a semantic token."""
        coarse, semantic = self.coarse, self.semantic
        return float(coarse.coarse_rate_hz / semantic.semantic_rate_hz * coarse.n_coarse_codebooks)


def with_parameters(config: GenerationConfig, parameters: Mapping[str, Any]) -> GenerationConfig:
    """A copy with the parameters of a call, for one that gives tokens alone.

    Raises:
        UnknownArgumentError: one that no generation has.
    """
    found = copy.deepcopy(config)
    found.update(**parameters)
    found.return_dict_in_generate = False
    if found.do_sample is not True:
        for name in SAMPLING.keys() - parameters.keys():
            setattr(found, name, None)  # the file's are for sampling: nobody is told that they are ignored
    if found.max_new_tokens is not None:
        found.max_length = None  # files of transformers 4 have both, and this one counts
    return found


def _stage(defaults: Mapping[str, Any], generation: GenerationConfig, name: str, config: Config) -> GenerationConfig:
    found = GenerationConfig.from_dict({**defaults, **_part(generation, name)})
    inner = config.get(name)
    return found if inner is None else _filled(found, GenerationConfig.from_model_config(inner))


def _filled(config: GenerationConfig, fallback: GenerationConfig) -> GenerationConfig:
    """`config` with what it leaves unset taken from `fallback`."""
    values = {**fallback.to_diff_dict(), **config.to_diff_dict()}
    return GenerationConfig.from_dict(values)


def _part(generation: GenerationConfig, name: str) -> dict[str, Any]:
    given = getattr(generation, name, None)
    values = given if isinstance(given, Mapping) else {}
    return {key: value for key, value in values.items() if value is not None and key not in _UNREAD}
