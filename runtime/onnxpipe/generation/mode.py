"""Determine the search of a config."""

from __future__ import annotations

from enum import StrEnum

from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.logs import logger


class GenerationMode(StrEnum):
    """The searches; names and values as in transformers."""

    CONTRASTIVE_SEARCH = "contrastive_search"
    GREEDY_SEARCH = "greedy_search"
    SAMPLE = "sample"
    ASSISTED_GENERATION = "assisted_generation"
    DOLA_GENERATION = "dola_generation"
    BEAM_SEARCH = "beam_search"
    BEAM_SAMPLE = "beam_sample"
    CONSTRAINED_BEAM_SEARCH = "constrained_beam_search"
    GROUP_BEAM_SEARCH = "group_beam_search"


def generation_mode(config: GenerationConfig, *, assistant: bool) -> GenerationMode:
    """Determine the search of `config`; `assistant`: whether an assistant model was passed."""
    base = _base_mode(config)
    simple = base in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)
    assisted = (
        assistant
        or bool(config.use_mtp)
        or config.prompt_lookup_num_tokens is not None
        or config.assistant_early_exit is not None
    )
    for wanted, flag, mode in (
        (assisted, "assistant_model", GenerationMode.ASSISTED_GENERATION),
        (config.dola_layers is not None, "dola_layers", GenerationMode.DOLA_GENERATION),
    ):
        if wanted and simple:
            base = mode
        elif wanted:
            logger.warning(
                "You've set `%s`, which is only supported with greedy search and sampling. The base decoding mode "
                "(based on current flags) is %s -- some of the set flags will be ignored.",
                flag,
                base.value,
            )
    return base


def _base_mode(config: GenerationConfig) -> GenerationMode:
    if config.constraints is not None or config.force_words_ids is not None:
        return GenerationMode.CONSTRAINED_BEAM_SEARCH
    if (config.num_beams or 1) == 1:
        if config.do_sample is True:
            return GenerationMode.SAMPLE
        contrastive = (config.top_k or 0) > 1 and (config.penalty_alpha or 0) > 0
        return GenerationMode.CONTRASTIVE_SEARCH if contrastive else GenerationMode.GREEDY_SEARCH
    if (config.num_beam_groups or 1) > 1:
        return GenerationMode.GROUP_BEAM_SEARCH
    return GenerationMode.BEAM_SAMPLE if config.do_sample is True else GenerationMode.BEAM_SEARCH
