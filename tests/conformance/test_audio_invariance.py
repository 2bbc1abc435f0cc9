"""Recordings alone, in a batch, in another order: the same answer at full precision and with 8-bit weights; seeds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.cases.common import BATCHES
from tolerances import MODEL
from zoo.audio import families as audio
from zoo.audio import recordings

Bundles = Callable[..., Path]
CLASSES, RECOGNISE, SPEAK = "audio-classification", "automatic-speech-recognition", "text-to-audio"
NAMES = (*recordings.ORDINARY, *recordings.SAME_LENGTH[1:], *recordings.ODD)
PRECISIONS = ("fp32", "int8")


def _of(*families: str) -> list[Any]:
    return [pytest.param(family, id=family, marks=pytest.mark.xdist_group(f"audio-{family}")) for family in families]


@pytest.fixture(scope="module", params=PRECISIONS)
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=_of(*audio.WIDE))
def classifier(request: pytest.FixtureRequest, dtype: str, bundles: Bundles) -> Any:
    import onnxpipe

    model = str(bundles(request.param, f"{CLASSES}+wide", PRECISIONS))
    return onnxpipe.pipeline(CLASSES, model=model, dtype=dtype, device="cpu", function_to_apply="none")


@pytest.fixture(scope="module")
def alone(classifier: Any) -> list[dict[str, float]]:
    return [_logits(classifier(recordings.mono(name))) for name in NAMES]


def _logits(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {item["label"]: item["score"] for item in answer}


@pytest.mark.parametrize("size", [*BATCHES, len(NAMES), None])
def test_alone_or_in_any_batch(classifier: Any, alone: list[dict[str, float]], dtype: str, size: int | None) -> None:
    order = list(range(len(NAMES)))
    random.Random(size).shuffle(order)
    together = classifier([recordings.mono(NAMES[i]) for i in order], batch_size=size)
    for i, answer in zip(order, together, strict=True):
        got = _logits(answer)
        # Scores before their function, which may be larger than one.
        off = max(abs(got[label] - score) / max(1, abs(score)) for label, score in alone[i].items())
        assert off <= MODEL, NAMES[i]


@pytest.mark.parametrize("family", _of(*audio.WIDE))
def test_eight_bits_are_used(family: str, bundles: Bundles) -> None:
    """The two precisions differ, or this file tests nothing of the second."""
    import onnxpipe

    model = str(bundles(family, f"{CLASSES}+wide", PRECISIONS))
    full, small = (
        onnxpipe.pipeline(CLASSES, model=model, dtype=dtype, device="cpu", function_to_apply="none")
        for dtype in PRECISIONS
    )
    answers = [[_logits(pipe(recordings.mono(name))) for name in NAMES] for pipe in (full, small)]
    expected, got = (np.array([[logits[label] for label in sorted(logits)] for logits in rows]) for rows in answers)
    assert np.abs(expected - got).max() > 1e-4
    assert (expected * got).sum() / np.linalg.norm(expected) / np.linalg.norm(got) > 0.98


@pytest.mark.parametrize("family", _of("wav2vec2", "wav2vec2-large", "wav2vec2-bert", "whisper", "moonshine"))
@pytest.mark.parametrize("size", [3, None])
def test_texts_do_not_depend_on_their_neighbours(family: str, size: int | None, bundles: Bundles) -> None:
    """Masks where the model has them, no batch of different lengths where it has none."""
    import onnxpipe

    pipe = onnxpipe.pipeline(RECOGNISE, model=str(bundles(family, RECOGNISE)), device="cpu", max_new_tokens=10)
    inputs = [recordings.mono(name) for name in NAMES]
    assert pipe(inputs, batch_size=size) == [pipe(one) for one in inputs]
    assert pipe(inputs[::-1], batch_size=size)[::-1] == pipe(inputs)


@pytest.mark.parametrize("family", _of("whisper"))
def test_sampling_by_a_seed(family: str, bundles: Bundles) -> None:
    import onnxpipe

    pipe = onnxpipe.pipeline(RECOGNISE, model=str(bundles(family, RECOGNISE)), device="cpu")
    settings: dict[str, Any] = {"do_sample": True, "num_beams": 1, "temperature": 1.4, "max_new_tokens": 12}
    inputs = [recordings.mono(name) for name in recordings.ORDINARY]
    once = pipe(inputs, seed=5, **settings)
    assert pipe(inputs, seed=5, batch_size=1, **settings) == once
    assert pipe(inputs[0], seed=5, **settings) == once[0]
    assert pipe(inputs, seed=6, **settings) != once


@pytest.mark.parametrize("family", _of("vits", "musicgen", "bark"))
def test_audio_by_a_seed(family: str, bundles: Bundles) -> None:
    """Noise and samples are the seed's and the place's: not the batch's, not the text's before."""
    import onnxpipe

    pipe = onnxpipe.pipeline(SPEAK, model=str(bundles(family, SPEAK)), device="cpu")
    short: dict[str, Any] = {"vits": {}, "musicgen": {"generate_kwargs": {"max_new_tokens": 10, "do_sample": True}}}
    settings = short.get(family, {"generate_kwargs": {"semantic_max_new_tokens": 10}})
    texts = ["one dog", "hello there"]
    once = [one["audio"] for one in pipe(texts, seed=5, **settings)]
    again = [one["audio"] for one in pipe(texts, seed=5, batch_size=2, **settings)]
    for one, other in zip(once, again, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(pipe(texts[0], seed=5, **settings)["audio"], once[0])
    other = pipe(texts[0], seed=6, **settings)["audio"]
    assert other.shape != once[0].shape or not np.allclose(other, once[0])
    onnxpipe.set_seed(11)
    first = pipe(texts[0], **settings)["audio"]
    onnxpipe.set_seed(11)
    assert np.array_equal(pipe(texts[0], **settings)["audio"], first)
