"""The zoo's vision-language models: a tower for images, a language model, a tokenizer that knows the image token."""

from __future__ import annotations

from pathlib import Path

HEAD = "image-text-to-text"
"""The head of these models in `zoo.build`: the task that they are exported for."""

FAMILIES = (
    "llava",
    "llava_next",
    "llava_onevision",
    "idefics3",
    "smolvlm",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "gemma3",
    "paligemma",
)
PRECISIONS = ("fp32", "int8", "q4")
"""The graphs of their bundles; the tests share one bundle a family."""


def build(family: str, folder: Path) -> None:
    """Write the model `family` into `folder`.

    Raises:
        KeyError: no such family.
    """
    from zoo.vision_language import florence2, models

    if family == "florence2":
        florence2.build(folder)
        return
    models.build(family, folder)
