"""Tiny vision models of every family, one folder each as the Hub has them, the same every time.

    from zoo.vision.models import MODELS, MISSING
    MODELS["resnet", "image-classification"](folder)   # config.json, model.safetensors, preprocessor_config.json

Images are of 32 to 64 pixels; needs torch and transformers 5.23. What cannot be built or exported is in `MISSING`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from zoo.vision import classifiers as image_classifiers
from zoo.vision import dense as image_dense
from zoo.vision import detectors as image_detectors
from zoo.vision.family import Family, Head
from zoo.vision.weights import fill, rank_as_scored, settle_head, settle_norms

MISSING: Mapping[tuple[str, str], str] = {}
"""(family, task) -> why it cannot be exported."""

_IMAGES = 6


def _write(family: Family, head: Head, folder: Path) -> None:
    import torch
    import transformers

    from onnxpipe_export.tracing import quiet

    folder.mkdir(parents=True, exist_ok=True)
    config = family.config(**head.config)
    model = getattr(transformers, head.class_name)(config).eval()
    seed = f"{family.name}/{head.task}/{head.seed}"
    fill(model, seed)
    if head.ranked is not None:
        rank_as_scored(model, *head.ranked)
    images = _images(family)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settle_norms(model, images)
        for layers in head.settled:
            settle_head(model, layers.paths, images, mean=layers.mean, deviation=layers.deviation)
    finally:
        torch.set_num_threads(before)
    with quiet():
        model.save_pretrained(folder)
    processor = json.dumps(family.processor | head.processor, indent=2) + "\n"
    (folder / "preprocessor_config.json").write_text(processor, encoding="utf-8")


def write_larger(name: str, task: str, sizes: Mapping[str, Any], folder: Path) -> None:
    """Write the model of a family with other sizes in its config."""
    modules = (image_classifiers, image_detectors, image_dense)
    family = next(family for module in modules for family in module.FAMILIES if family.name == name)
    head = next(head for head in family.heads if head.task == task)
    _write(family, replace(head, config={**head.config, **sizes}), folder)


def _images(family: Family) -> Any:
    """Prepare synthetic images, or videos, as the model takes them."""
    import torch

    from onnxpipe_export.cases import images as image_cases

    size = (family.size, family.size)
    batches = [
        image_cases.synthetic_video(number, family.frames, size)
        if family.frames
        else image_cases.synthetic_image(number, size)
        for number in range(_IMAGES)
    ]
    return torch.stack([torch.from_numpy(image_cases.pixels(images, family.processor)) for images in batches])


MODELS: Mapping[tuple[str, str], Callable[[Path], None]] = {
    (family.name, head.task): partial(_write, family, head)
    for module in (image_classifiers, image_detectors, image_dense)
    for family in module.FAMILIES
    for head in family.heads
}
"""(family, task) -> what writes its folder."""
