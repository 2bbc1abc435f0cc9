"""text-to-audio with the shapes of transformers 4."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance.cases.common import Case, Floats, Vocoder
from conformance.runner import Library, outcome

TASK = "text-to-audio"


_GREEDY = {"generate_kwargs": {"do_sample": False, "max_new_tokens": 12}}
AXES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "vits": ((1,), {}),
    "speecht5": ((), {"forward_params": {"speaker_embeddings": Floats(1, 24)}}),
    "musicgen": ((1, 1), _GREEDY),
    "musicgen-stereo": ((1, 2), _GREEDY),
}
"""Family -> the axes before the samples', as transformers 4.57.6 gave them for these models, and what a call needs."""


@pytest.mark.parametrize("family", [pytest.param(f, marks=pytest.mark.xdist_group(f"audio-{f}")) for f in AXES])
def test_shapes_of_transformers_4(family: str, ours: Library) -> None:
    """5 drops axes of length one; `squeeze=False` keeps what 4 gave."""
    axes, kwargs = AXES[family]
    head = TASK + {"vits": "+quiet", "speecht5": "+steady"}.get(family, "")
    ctor = {"vocoder": Vocoder()} if family == "speecht5" else {}
    flat, former = (
        outcome(ours, TASK, family, Case("shapes", head, ("one dog",), {**kwargs, **more}, ctor=ctor), {})
        for more in ({}, {"squeeze": False})
    )
    assert former["value"]["audio"].shape[:-1] == axes
    assert np.array_equal(former["value"]["audio"].squeeze(), flat["value"]["audio"])
