"""Tiny random vision-language models in the layout of the Hub, whose text varies with the images and ends."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.text import generator_weights
from zoo.text.generators import CAUSAL, Generator
from zoo.vision import chat_processors
from zoo.vision.chat_processors import PATCH, PROCESSORS, SIDE

_TOWER = {
    "image_size": SIDE,
    "patch_size": PATCH,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_CLIP = {"model_type": "clip_vision_model", "projection_dim": 32, **_TOWER}
_SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, **_TOWER}


@dataclass(frozen=True)
class Family:
    """A family; its tokenizer, processor and template are those of `zoo.vision.chat_processors`.

    Attributes:
        stem: the start of its classes' names.
        vision: the configuration of its tower.
        config: makes what the configuration says besides, from the ids of tokens.
        projector: the end of the name of the layer whose outputs are the features.
        text: the generator (`zoo.text.generators`) whose architecture the language model has; None for that of the
            tokenizer.
        queries: scale of the matrices that make queries; the smaller, the less does a rounded attention change.
        language: what the configuration of the language model says beside that of the generator.
    """

    stem: str
    vision: Mapping[str, Any]
    config: Callable[[Mapping[str, int]], Mapping[str, Any]]
    projector: str = "multi_modal_projector.linear_2"
    text: str | None = None
    queries: float = 0.8
    language: Mapping[str, Any] = field(default_factory=dict)


def _of_tiles(stem: str) -> Family:
    return Family(
        stem,
        _TOWER,
        lambda ids: {"image_token_id": ids["<image>"], "scale_factor": 2},
        projector="modality_projection.proj",
        text="llama",
    )


_QWEN_TOWER = {"depth": 3, "num_heads": 4, "patch_size": PATCH, "spatial_merge_size": 2, "temporal_patch_size": 2}


def _qwen(stem: str, kind: str, vision: Mapping[str, Any], sections: Sequence[int], projector: str) -> Family:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(sections)}
    return Family(
        stem,
        {**_QWEN_TOWER, **vision},
        lambda ids: {
            "image_token_id": ids["<|image_pad|>"],
            "video_token_id": ids["<|video_pad|>"],
            "vision_start_token_id": ids["<|vision_start|>"],
            "vision_end_token_id": ids["<|vision_end|>"],
        },
        projector=projector,
        language={"model_type": f"{kind}_text", "rope_parameters": rope},
    )


FAMILIES: dict[str, Family] = {
    "llava": Family("Llava", _CLIP, lambda ids: {"image_token_index": ids["<image>"], "image_seq_length": 16}),
    "llava_next": Family(
        "LlavaNext",
        _CLIP,
        lambda ids: {
            "image_token_index": ids["<image>"],
            "image_grid_pinpoints": PROCESSORS["llava_next"].images["image_grid_pinpoints"],
        },
    ),
    "llava_onevision": Family(
        "LlavaOnevision",
        _SIGLIP,
        lambda ids: {
            "image_token_index": ids["<image>"],
            "video_token_index": ids["<video>"],
            "image_grid_pinpoints": PROCESSORS["llava_onevision"].images["image_grid_pinpoints"],
            "vision_aspect_ratio": "anyres_max_3",
        },
    ),
    "idefics3": _of_tiles("Idefics3"),
    "smolvlm": _of_tiles("SmolVLM"),
    "internvl": Family(
        "InternVL",
        _TOWER,
        lambda ids: {"image_token_id": ids["<IMG_CONTEXT>"], "image_seq_length": 4},
        queries=0.6,
    ),
    "gemma3": Family(
        "Gemma3",
        _SIGLIP,
        lambda ids: {
            "image_token_id": ids["<image_soft_token>"],
            "boi_token_index": ids["<start_of_image>"],
            "eoi_token_index": ids["<end_of_image>"],
            "mm_tokens_per_image": 4,
        },
        projector="mm_input_projection_weight",
        queries=0.6,
    ),
    "paligemma": Family(
        "PaliGemma",
        _SIGLIP,
        lambda ids: {"image_token_id": ids["<image>"], "projection_dim": 64},
        projector="multi_modal_projector.linear",
        queries=0.6,
    ),
    "qwen2_vl": _qwen(
        "Qwen2VL", "qwen2_vl", {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}, (2, 3, 3), "merger.mlp.2"
    ),
    "qwen2_5_vl": _qwen(
        "Qwen2_5_VL",
        "qwen2_5_vl",
        {
            "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "window_size": 4 * PATCH,
            "fullatt_block_indexes": [1],
        },
        (2, 3, 3),
        "merger.mlp.2",
    ),
    "qwen3_vl": _qwen(
        "Qwen3VL",
        "qwen3_vl",
        {
            "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_position_embeddings": 36,
            "deepstack_visual_indexes": [0, 2],
        },
        (4, 4, 4),
        "linear_fc2",
    ),
}  # fmt: skip


def build(family: str, folder: Path) -> None:
    """Write the model `family` into `folder`, which exists."""
    import transformers

    spec = FAMILIES[family]
    tokens = CAUSAL[PROCESSORS[family].text].tokens
    text = replace(CAUSAL[spec.text or PROCESSORS[family].text], tokens=tokens, queries=spec.queries)
    vocabulary = chat_processors.save(family, folder)
    ids = _ids(text, vocabulary)
    language = _language_model(text, vocabulary, ids, f"{family}/text")
    config = getattr(transformers, f"{spec.stem}Config")(
        vision_config=dict(spec.vision), text_config={**language.config.to_dict(), **spec.language},
        **spec.config(vocabulary),
        tie_word_embeddings=language.config.tie_word_embeddings,
    )  # fmt: skip
    model = getattr(transformers, f"{spec.stem}ForConditionalGeneration")(config).eval()
    fill(model, spec, family)
    model.get_decoder().load_state_dict(language.model.state_dict())
    model.get_output_embeddings().load_state_dict(language.lm_head.state_dict())
    model.generation_config = transformers.GenerationConfig(**ids)
    model.save_pretrained(folder)


def _ids(text: Generator, vocabulary: Mapping[str, int]) -> dict[str, Any]:
    return {
        f"{name}_token_id": vocabulary[token] if isinstance(token, str) else [vocabulary[each] for each in token]
        for name, token in text.tokens.items()
    }


def _language_model(text: Generator, vocabulary: dict[str, int], ids: dict[str, Any], seed: str) -> Any:
    """Make the language model with the weights of the zoo's generators, whose text varies and ends."""
    import torch
    import transformers

    config = getattr(transformers, f"{text.stem}Config")(
        vocab_size=max(vocabulary.values()) + 1, **{**text.config, **ids}
    )
    kind = text.kind if text.kind.startswith(text.stem.removesuffix("Text")) else text.stem + text.kind
    model = getattr(transformers, kind)(config).eval()
    model.tie_weights()
    if not text.config.get("tie_word_embeddings", True):
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    gains = generator_weights.Gains(text.words, text.queries, text.mixers, text.feeds)
    generator_weights.fill(model, gains, seed, vocabulary, ids)
    return model


def fill(model: Any, spec: Family, seed: str) -> None:
    """Overwrite the weights of tower and projector, so that features differ by image and are as large as embeddings."""
    import torch

    for name, parameter in model.named_parameters():
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(tuple(parameter.shape))
        if parameter.ndim > 1:
            fan_in = int(np.prod(parameter.shape[1:]))
            values = noise * ((0.6 if name.endswith(f"{spec.projector}.weight") else 1.5) / fan_in**0.5)
            if "embedding" in name and "patch" not in name:
                values = noise * 0.5
        else:
            values = 0.1 * noise + float("norm" in name and name.endswith("weight"))
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))
