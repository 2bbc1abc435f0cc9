"""Cases of vision models, with and without text: synthetic images, and tokenized sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpipe_export.cases import images as image_cases
from onnxpipe_export.cases.text import SENTENCES
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case

LABELS = (
    "This is a photo of cat.",
    "This is a photo of a remote control.",
    "a photo of two people near a river",
    "dog",
    "This is a photo of Köln.",
)


def synthetic_pixels(checkpoint: Checkpoint, count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Make pixel_values of `count` synthetic images, scaled as by the model's processor: (count, 3, height, width)."""
    images = np.stack([image_cases.synthetic_image(seed + number, (height, width)) for number in range(count)])
    return image_cases.pixels(images, checkpoint.preprocessor)


def sizes(height: int, width: int, multiple: int) -> list[tuple[int, int]]:
    """Choose the usual size, a wider, a taller and a smaller one; sides are multiples of `multiple`."""

    def near(side: float) -> int:
        return max(round(side / multiple), 1) * multiple

    return [
        (height, width),
        (near(height * 0.75), near(width * 1.25)),
        (near(height * 1.4), near(width * 0.8)),
        (near(height * 0.6), near(width * 0.6)),
    ]


def cases_per_size(checkpoint: Checkpoint, shapes: Sequence[tuple[int, int]]) -> list[Case]:
    """Make cases of synthetic images of each size, alone, and in twos and threes."""
    cases = []
    for number, (height, width) in enumerate(shapes):
        alone = [synthetic_pixels(checkpoint, 1, height, width, seed) for seed in range(6 if number == 0 else 2)]
        cases += [
            Case({"pixel_values": values}, golden=number == 0 and place == 0, calibrates=True)
            for place, values in enumerate(alone)
        ]
        count = 3 if number == 0 else 2
        cases.append(Case({"pixel_values": synthetic_pixels(checkpoint, count, height, width, seed=10)}))
    return cases


def text_cases(tokenizer: Any, inputs: Sequence[str], longest: int, *, padded: bool) -> list[Case]:
    """Make cases of labels and sentences, alone and together. `padded`: always to the full length, as SigLIP has it."""

    def cut(texts: Sequence[str]) -> dict[str, np.ndarray]:
        return tokens(tokenizer, texts, inputs, longest, padded=padded)

    alone = [*LABELS, *SENTENCES]
    cases = [Case(cut([text]), golden=place < 3, calibrates=True) for place, text in enumerate(alone)]
    return [*cases, Case(cut(LABELS), golden=True), Case(cut(alone[3:11])), Case(cut(alone[:-4:2]))]


def tokens(
    tokenizer: Any, texts: Sequence[str], inputs: Sequence[str], longest: int, *, padded: bool = False
) -> dict[str, np.ndarray]:
    """Tokenize `texts` to feeds, int64 (texts, length)."""
    kwargs = {"padding": "max_length"} if padded else {"padding": True}
    arrays = tokenizer(list(texts), truncation=True, max_length=longest, return_tensors="np", **kwargs)
    return {name: np.asarray(arrays[name], np.int64) for name in inputs}


def token_example(config: Any, inputs: Sequence[str], length: int) -> dict[str, np.ndarray]:
    """Make three rows of random ids, one of them padded, so that nothing about padding is constant."""
    generator = np.random.default_rng(5)
    ids = generator.integers(5, max(int(config.vocab_size), 6), (3, length))
    mask = np.ones_like(ids)
    mask[1, -3:] = 0
    eos, pad = getattr(config, "eos_token_id", None), getattr(config, "pad_token_id", None)
    if isinstance(eos, int):
        ids[:, -4] = eos
    ids[1, -3:] = pad if isinstance(pad, int) and pad >= 0 else 0
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: feeds[name] for name in inputs}
