"""Tiny models of images and text, of points, and of pairs of images, as whole folders in the Hub's layout.

    from zoo.vision.image_text_models import MODELS
    MODELS["clip", "zero-shot-image-classification"](folder)

Each folder has config.json, model.safetensors, preprocessor_config.json and, where there are words, the tokenizer's
files; the same bytes every time. Settings are those of the real checkpoints, with small sizes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.vision import image_text_tokenizers as tokenizers
from zoo.vision.image_text_sizes import CONFIGS, PROCESSORS

MISSING: dict[tuple[str, str], str] = {}
"""(family, task) -> why it cannot be exported."""

_OPENAI = "openai_clip"


def _build(family: str, class_name: str, folder: Path) -> None:
    """Write the whole folder of `family`, its model of the transformers class `class_name`."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    ids = tokenizers.save(family, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[family], indent=2) + "\n", "utf-8")
    config = transformers.AutoConfig.for_model(**CONFIGS[family](ids))
    model = getattr(transformers, class_name)(config).eval()
    fill(model, f"{family}/{class_name}")
    _FINISHES.get(family, _leave)(model)
    model.save_pretrained(folder)


def fill(model: Any, seed: str) -> None:
    """Overwrite every parameter and statistic: norms near one, words N(0, 1), matrices N(0, 4 / fan-in)."""
    import torch

    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    saved = ("running", "positional_embedding")  # statistics, and the frequencies that SAM draws at random
    named = [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if any(s in n for s in saved))]
    for name, value in named:
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(tuple(value.shape))
        if name.endswith("running_var"):
            filled = np.exp(0.3 * noise)
        elif name.endswith("positional_embedding"):
            filled = noise
        elif id(value) in tables:
            filled = noise * (0.3 if "position" in name or "token_type" in name else 1.0)
        elif value.dim() > 1:
            filled = noise * (1.7 / float(np.prod(value.shape[1:])) ** 0.5)
        else:
            filled = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        with torch.no_grad():
            value.copy_(torch.from_numpy(np.asarray(filled, np.float32)))


def _leave(model: Any) -> None:
    """Nothing more to do."""


def _set(model: Any, **values: float) -> None:
    """Fill parameters, named by their path with `__` for the dots."""
    import torch

    for name, value in values.items():
        with torch.no_grad():
            model.get_parameter(name.replace("__", ".")).fill_(value)


def _owl(model: Any) -> None:
    """Scores on both sides of the pipeline's threshold."""
    import torch

    with torch.no_grad():
        model.class_head.logit_shift.weight.mul_(0.1)
    _set(model, class_head__logit_scale__bias=6.0, class_head__logit_shift__bias=-0.6)


def _calm(model: Any, *parts: str) -> None:
    """Weights of half the size in `parts`: tokens meet many times there, and each time a random model of this width
    doubles its rounding errors."""
    import torch

    with torch.no_grad():
        for parameter in (one for part in parts for one in model.get_submodule(part).parameters()):
            if parameter.dim() > 1:
                parameter.mul_(0.5)


def _grounding_dino(model: Any) -> None:
    """Queries that are nearly equal: which place gets which is decided by scores, and rounding may exchange two."""
    import torch

    for _ in range(2):
        _calm(model, "model.encoder", "model.decoder", "model.text_backbone")
    table = model.model.query_position_embeddings.weight
    with torch.no_grad():
        table.copy_(table[:1] + 0.02 * table)


def _oneformer(model: Any) -> None:
    """Places that a query looks at are those where its mask so far is above 0: one more or less must not decide."""
    import torch

    decoder = "model.transformer_module.decoder"
    _calm(model, "model.pixel_level_module.decoder.encoder", f"{decoder}.query_transformer")
    for _ in range(3):
        _calm(model, f"{decoder}.layers")
    with torch.no_grad():
        model.get_submodule(f"{decoder}.class_embed").weight.mul_(4.0)  # classes surer than the pipeline's threshold


def _lightglue(model: Any) -> None:
    """Descriptors that stay themselves, so that some match; points that are given up, pairs that are sure early."""
    import torch

    _calm(model, "transformer_layers")
    width = model.descriptor_dim
    with torch.no_grad():
        for head in model.match_assignment_layers:
            head.final_projection.weight.mul_(0.3).add_(6.0 * torch.eye(width))
            head.matchability.weight.mul_(8.0)
            head.matchability.bias.fill_(1.0)
        for layer in model.token_confidence:
            layer.token.weight.mul_(2.5)
            layer.token.bias.fill_(5.0)


_FINISHES: Mapping[str, Callable[[Any], None]] = {
    "clip": partial(_set, logit_scale=2.66),
    "chinese_clip": partial(_set, logit_scale=2.66),
    "align": partial(_set, temperature=0.1),
    "siglip": partial(_set, logit_scale=2.3, logit_bias=-1.0),
    "siglip2": partial(_set, logit_scale=2.3, logit_bias=-1.0),
    "oneformer": _oneformer,
    "owlvit": _owl,
    "owlv2": _owl,
    "sam": lambda model: _calm(model, "mask_decoder"),
    "sam2": lambda model: _calm(model, "mask_decoder"),
    "grounding-dino": _grounding_dino,
    "lightglue": _lightglue,
    "superglue": lambda model: _calm(model, "gnn"),
}

_CLASSES: Mapping[tuple[str, str], str] = {
    ("clip", "zero-shot-image-classification"): "CLIPModel",
    ("siglip", "zero-shot-image-classification"): "SiglipModel",
    ("siglip2", "zero-shot-image-classification"): "Siglip2Model",
    ("align", "zero-shot-image-classification"): "AlignModel",
    ("chinese_clip", "zero-shot-image-classification"): "ChineseCLIPModel",
    ("owlvit", "zero-shot-object-detection"): "OwlViTForObjectDetection",
    ("owlv2", "zero-shot-object-detection"): "Owlv2ForObjectDetection",
    ("grounding-dino", "zero-shot-object-detection"): "GroundingDinoForObjectDetection",
    ("oneformer", "image-segmentation"): "OneFormerForUniversalSegmentation",
    ("sam", "mask-generation"): "SamModel",
    ("sam2", "mask-generation"): "Sam2Model",
    ("superpoint", "keypoint-detection"): "SuperPointForKeypointDetection",
    ("superglue", "keypoint-matching"): "SuperGlueForKeypointMatching",
    ("lightglue", "keypoint-matching"): "LightGlueForKeypointMatching",
}

MODELS: Mapping[tuple[str, str], Callable[[Path], None]] = {
    (family, task): partial(_build, family, class_name) for (family, task), class_name in _CLASSES.items()
}
"""(family, task) -> what writes its folder."""
