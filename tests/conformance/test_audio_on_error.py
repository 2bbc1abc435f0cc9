"""A bad recording among good ones: an error is raised, and with `on_error="return"` the rest is answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.audio import recordings

CLASSES, RECOGNISE, ZERO_SHOT = "audio-classification", "automatic-speech-recognition", "zero-shot-audio-classification"
LABELS = {"candidate_labels": ["a dog", "speech"]}


def _pipe(task: str, family: str) -> Any:
    kwargs = LABELS if task == ZERO_SHOT else {"max_new_tokens": 6} if task == RECOGNISE else {}
    return pytest.param(task, family, kwargs, id=family, marks=pytest.mark.xdist_group(f"audio-{family}"))


PIPES = [
    _pipe(CLASSES, "wav2vec2"),
    _pipe(RECOGNISE, "wav2vec2-large"),
    _pipe(RECOGNISE, "whisper"),
    _pipe(ZERO_SHOT, "clap"),
]
GOOD = [recordings.mono(name) for name in recordings.ORDINARY]
BAD: dict[str, Any] = {
    "broken file": recordings.encoded("speech")[0][:20],
    "empty file": b"",
    "no file": "no/such/recording.wav",
    "nothing": np.zeros(0, np.float32),
    "number": 3,
    "none": None,
}


@pytest.mark.parametrize(("task", "family", "kwargs"), PIPES)
@pytest.mark.parametrize("size", [None, 4])
def test_the_rest_is_answered(
    task: str, family: str, kwargs: dict[str, Any], size: int | None, bundles: Callable[..., Path]
) -> None:
    import onnxpipe

    pipe = onnxpipe.pipeline(task, model=str(bundles(family, task)), device="cpu")
    inputs = [item for bad, good in zip(BAD.values(), (GOOD * 3)[: len(BAD)]) for item in (bad, good)]
    answers = pipe(inputs, on_error="return", batch_size=size, **kwargs)
    assert [type(answer) for answer in answers[::2]] == [onnxpipe.ItemError] * len(BAD)
    alone = [pipe(one, **kwargs) for one in GOOD] * 3
    assert [_rounded(answer) for answer in answers[1::2]] == [_rounded(answer) for answer in alone[: len(BAD)]]


@pytest.mark.parametrize(("task", "family", "kwargs"), PIPES)
@pytest.mark.parametrize("name", BAD)
def test_alone_it_raises(
    task: str, family: str, kwargs: dict[str, Any], name: str, bundles: Callable[..., Path]
) -> None:
    import onnxpipe

    pipe = onnxpipe.pipeline(task, model=str(bundles(family, task)), device="cpu")
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        pipe(BAD[name], **kwargs)
    assert 10 < len(str(caught.value)) < 600


def _rounded(answer: Any) -> Any:
    if isinstance(answer, list):
        return [(item["label"], round(item["score"], 4)) for item in answer]
    return answer
