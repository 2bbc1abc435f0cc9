"""Refuse parameters that this runtime does not support, rather than ignore them."""

from __future__ import annotations

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.mode import GenerationMode


def check_supported(config: GenerationConfig, mode: GenerationMode, *, streamer: bool, custom: bool) -> None:
    """Raise UnsupportedError for parameters not supported here, ValueError for those that transformers refuses, too."""
    for wanted, name, why in (
        (mode is GenerationMode.DOLA_GENERATION, "dola_layers", "DoLa needs the logits of inner layers"),
        (config.output_attentions, "output_attentions", "the graphs give no attentions"),
        (config.output_hidden_states, "output_hidden_states", "the graphs give no hidden states of inner layers"),
        (config.use_mtp, "use_mtp", "multi-token prediction heads are not exported"),
        (config.speculation_type, "speculation_type", "it needs the model's embeddings"),
        (config.assistant_early_exit, "assistant_early_exit", "the graphs cannot stop at an inner layer"),
        (config.cache_implementation == "paged", "cache_implementation='paged'", "it is a scheduler of its own"),
        (config.continuous_batching_config, "continuous_batching_config", "it is a scheduler of its own"),
    ):
        if wanted:
            raise UnsupportedError(f"{name} is not supported here: {why}. Leave it out")
    if config.low_memory:
        raise ValueError("`low_memory=True` is not supported: beams are always decoded together. Leave it out")
    if custom:
        return
    many = mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE, GenerationMode.ASSISTED_GENERATION)
    if streamer and many and mode is not GenerationMode.CONTRASTIVE_SEARCH:
        raise ValueError("`streamer` cannot be used with beam search (yet!). Make sure that `num_beams` is set to 1.")
    if mode is GenerationMode.ASSISTED_GENERATION and (config.num_return_sequences or 1) > 1:
        raise ValueError(
            f"num_return_sequences has to be 1 when doing assisted generate, but is {config.num_return_sequences}."
        )
