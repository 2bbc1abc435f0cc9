"""What graphs of pictures and words are asked: made pictures, sentences as the tokenizer cuts them."""

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


def pictures(checkpoint: Checkpoint, count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """pixel_values of `count` made pictures as the model's processor scales them, float32 (count, 3, height, width)."""
    made = np.stack([image_cases.picture(seed + number, (height, width)) for number in range(count)])
    return image_cases.pixels(made, checkpoint.preprocessor)


def sizes(height: int, width: int, multiple: int) -> list[tuple[int, int]]:
    """The usual size, a wider, a taller and a smaller one; sides are multiples of `multiple`."""

    def near(side: float) -> int:
        return max(round(side / multiple), 1) * multiple

    return [
        (height, width),
        (near(height * 0.75), near(width * 1.25)),
        (near(height * 1.4), near(width * 0.8)),
        (near(height * 0.6), near(width * 0.6)),
    ]


def picture_cases(checkpoint: Checkpoint, shapes: Sequence[tuple[int, int]]) -> list[Case]:
    """Made pictures of each size, alone, and in twos and threes."""
    cases = []
    for number, (height, width) in enumerate(shapes):
        alone = [pictures(checkpoint, 1, height, width, seed) for seed in range(6 if number == 0 else 2)]
        cases += [
            Case({"pixel_values": values}, golden=number == 0 and place == 0, calibrates=True)
            for place, values in enumerate(alone)
        ]
        count = 3 if number == 0 else 2
        cases.append(Case({"pixel_values": pictures(checkpoint, count, height, width, seed=10)}))
    return cases


def text_cases(tokenizer: Any, inputs: Sequence[str], longest: int, *, padded: bool) -> list[Case]:
    """Labels and sentences, alone and together. `padded`: always to the full length, as SigLIP has it."""

    def cut(texts: Sequence[str]) -> dict[str, np.ndarray]:
        return tokens(tokenizer, texts, inputs, longest, padded=padded)

    alone = [*LABELS, *SENTENCES]
    cases = [Case(cut([text]), golden=place < 3, calibrates=True) for place, text in enumerate(alone)]
    return [*cases, Case(cut(LABELS), golden=True), Case(cut(alone[3:11])), Case(cut(alone[:-4:2]))]


def tokens(
    tokenizer: Any, texts: Sequence[str], inputs: Sequence[str], longest: int, *, padded: bool = False
) -> dict[str, np.ndarray]:
    """`texts` as feeds, int64 (texts, length)."""
    how = {"padding": "max_length"} if padded else {"padding": True}
    arrays = tokenizer(list(texts), truncation=True, max_length=longest, return_tensors="np", **how)
    return {name: np.asarray(arrays[name], np.int64) for name in inputs}


def token_example(config: Any, inputs: Sequence[str], length: int) -> dict[str, np.ndarray]:
    """Three rows of random ids, one of them padded, so that nothing about padding is constant."""
    generator = np.random.default_rng(5)
    ids = generator.integers(5, max(int(config.vocab_size), 6), (3, length))
    mask = np.ones_like(ids)
    mask[1, -3:] = 0
    eos, pad = getattr(config, "eos_token_id", None), getattr(config, "pad_token_id", None)
    if isinstance(eos, int):
        ids[:, -4] = eos
    ids[1, -3:] = pad if isinstance(pad, int) and pad >= 0 else 0
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: given[name] for name in inputs}
