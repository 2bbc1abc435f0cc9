"""The zoo's families for images and videos: which there are, what transformers or the exporter lacks, and variants.

    models()["vit", "image-classification"](folder)     # config.json, model.safetensors, preprocessor_config.json

The families themselves are in `image_models` (one graph) and `image_text_models` (several graphs, or text as well).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from zoo.variants import build_variant

TASKS = (
    "image-classification",
    "image-feature-extraction",
    "object-detection",
    "image-segmentation",
    "depth-estimation",
    "image-to-image",
    "video-classification",
    "zero-shot-image-classification",
    "zero-shot-object-detection",
    "mask-generation",
    "keypoint-matching",
    "image-to-text",
    "document-question-answering",
    "visual-question-answering",
)

NO_PIPELINE = "keypoint-detection"
"""A task of models that transformers has no pipeline for."""

VARIANTS: Mapping[str, dict[str, Any]] = {
    "multilabel": {"problem_type": "multi_label_classification"},
    "regression": {"problem_type": "regression"},
    "single": {"problem_type": "single_label_classification"},
}
"""What follows the `+` of a head -> values that replace those of config.json: the same weights, used otherwise."""

WIDE: Mapping[str, dict[str, Any]] = {
    "vit": {"hidden_size": 128, "intermediate_size": 256},
    "resnet": {"embedding_size": 32, "hidden_sizes": [64, 96, 128, 160]},
    "convnext": {"hidden_sizes": [64, 96, 128, 160]},
    "swin": {"embed_dim": 64},
}
"""The variant "wide": family -> sizes at which matrices and convolutions are worth 8 bits."""

Key = tuple[str, str]


def is_vision(head: str) -> bool:
    """Return whether `head` is a vision model's: its task's name, with a variant perhaps."""
    return head.partition("+")[0] in (*TASKS, NO_PIPELINE)


@cache
def models() -> Mapping[Key, Callable[[Path], None]]:
    """(family, task) -> what writes the model's folder."""
    from zoo.vision import document_models, image_text_models, image_to_text_models
    from zoo.vision import models as image_models

    return {
        **image_models.MODELS,
        **image_text_models.MODELS,
        **image_to_text_models.MODELS,
        **document_models.MODELS,
    }


@cache
def missing() -> Mapping[Key, str]:
    """(family, task) -> why it cannot be exported."""
    from zoo.vision import image_text_models, image_to_text_models
    from zoo.vision import models as image_models

    return {**image_models.MISSING, **image_text_models.MISSING, **image_to_text_models.MISSING}


def families(task: str) -> tuple[str, ...]:
    """The families of `task`, those that cannot be exported included, in the order of their files."""
    return tuple(dict.fromkeys(family for family, other in (*models(), *missing()) if other == task))


def build(family: str, head: str, folder: Path) -> None:
    """See `zoo.variants.build_variant`."""
    from zoo.vision import models as image_models

    build_variant(
        family,
        head,
        folder,
        models=models(),
        write_larger=image_models.write_larger,
        wide=WIDE,
        variants=VARIANTS,
    )
