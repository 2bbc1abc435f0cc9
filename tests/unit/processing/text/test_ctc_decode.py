"""Frames to characters and words, and the places where chunks are cut."""

from __future__ import annotations

import random
from itertools import groupby

import numpy as np
import pytest

from onnxpipe.processing.text.speech import ctc_offsets as ctc


def frames(text: str) -> list[str]:
    return list(text)


def test_runs_are_characters_and_the_blank_keeps_them_apart() -> None:
    spans = ctc.characters(frames("__hh_e_lll_llo_"), "_")
    assert "".join(span.text for span in spans) == "hello"
    assert [(int(s.start), int(s.end)) for s in spans] == [(2, 4), (5, 6), (7, 10), (11, 13), (13, 14)]


def test_without_grouping_every_frame_is_a_character() -> None:
    assert [span.text for span in ctc.characters(frames("aa_b"), "_", group=False)] == ["a", "a", "b"]


@pytest.mark.parametrize("text", ["", "_", "____"])
def test_nothing_but_blanks_is_nothing(text: str) -> None:
    assert ctc.characters(frames(text), "_") == []
    assert ctc.words([], " ") == []


def test_words_are_runs_without_the_delimiter() -> None:
    spans = ctc.characters(frames("  aab  _ c_c   "), "_")
    found = ctc.words(spans, " ")
    assert [(word.text, int(word.start), int(word.end)) for word in found] == [("ab", 2, 5), ("cc", 9, 12)]


def test_characters_against_their_definition() -> None:
    rng = random.Random(3)
    for _ in range(200):
        tokens = [rng.choice("_ab ") for _ in range(rng.randrange(0, 40))]
        spans = ctc.characters(tokens, "_")
        assert [s.text for s in spans] == [token for token, _ in groupby(tokens) if token != "_"]
        for span in spans:
            assert set(tokens[span.start : span.end]) == {span.text}
            assert span.start == 0 or tokens[span.start - 1] != span.text
            assert span.end == len(tokens) or tokens[span.end] != span.text
        assert " ".join(word.text for word in ctc.words(spans, " ")).split() == "".join(s.text for s in spans).split()


def test_a_cut_in_frames_is_rounded_as_transformers_does() -> None:
    assert ctc.chunk_frames((160_000, 16_000, 16_000), 320) == ctc.ChunkFrames(500, 50, 50)
    assert ctc.chunk_frames((1000, 333, 0), 320) == ctc.ChunkFrames(3, 1, 0)
    values = np.arange(12)
    assert ctc.own_frames(values, ctc.ChunkFrames(10, 2, 3)).tolist() == [2, 3, 4, 5, 6]  # frames beyond are padding
    assert ctc.own_frames(values, None) is values


def test_cuts_against_transformers() -> None:
    pipelines = pytest.importorskip("transformers.pipelines.automatic_speech_recognition")
    rng = random.Random(4)
    for _ in range(500):
        align = rng.choice([1, 160, 320, 640])
        length = rng.randrange(align, 500_000)
        stride = (length, rng.randrange(0, length // 2 + 1), rng.randrange(0, length // 2 + 1))
        assert tuple(ctc.chunk_frames(stride, align)) == pipelines.rescale_stride([stride], 1 / align)[0]


def test_seconds_are_numpy_floats() -> None:
    spans = ctc.characters(frames("_a"), "_")
    (chunk,) = ctc.seconds(ctc.as_offsets(spans, "char"), "char", 320, 16_000)
    assert chunk == {"text": "a", "timestamp": (0.02, 0.04)}
    assert all(isinstance(value, np.float64) for value in chunk["timestamp"])
