"""Subtitles from an answer with timestamps."""

from __future__ import annotations

from typing import Any

import pytest

from onnxpipe.processing.audio.io.subtitles import subtitles


def transcript(*chunks: tuple[str, float | None, float | None]) -> dict[str, Any]:
    return {"text": "", "chunks": [{"text": text, "timestamp": (start, end)} for text, start, end in chunks]}


def test_srt() -> None:
    answer = transcript((" And so, my fellow Americans,", 0.0, 3.5), (" ask not.", 3661.004, 3662.9999))
    assert subtitles(answer, "srt") == (
        "1\n00:00:00,000 --> 00:00:03,500\nAnd so, my fellow Americans,\n\n2\n01:01:01,004 --> 01:01:03,000\nask not.\n"
    )


def test_vtt_escapes_what_it_would_read_as_markup() -> None:
    text = subtitles(transcript(("1 < 2 & 3 --> 4", 0.0, 1.0)), "vtt")
    assert text == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n1 &lt; 2 &amp; 3 -&gt; 4\n"
    assert "\n1 < 2 & 3 -> 4\n" in subtitles(transcript(("1 < 2 & 3 --> 4", 0.0, 1.0)), "srt")


def test_long_segments_are_broken_into_lines_and_empty_ones_left_out() -> None:
    words = "one two three four five six seven eight nine ten eleven twelve"
    block = subtitles(transcript(("  ", 0.0, 1.0), (words, 1.0, 2.0)), "srt").splitlines()
    assert block[:2] == ["1", "00:00:01,000 --> 00:00:02,000"]
    assert " ".join(block[2:]) == words
    assert all(len(line) <= 42 for line in block[2:])


def test_an_end_that_nobody_knows() -> None:
    answer = transcript((" a", 0.0, 1.0), (" b", 1.0, None))
    assert "00:00:01,000 --> 00:00:03,000" in subtitles(answer, "srt")
    assert "00:00:01,000 --> 00:00:01,500" in subtitles(answer, "srt", duration=1.5)


def test_times_never_run_backwards() -> None:
    assert "00:00:05,000 --> 00:00:05,000" in subtitles(transcript(("a", 5.0, 6.0), ("b", 4.0, 4.5)), "srt")


def test_words_are_gathered() -> None:
    words = [(word, 0.3 * i, 0.3 * i + 0.25) for i, word in enumerate(["He", "came", ".", "She", "went", "away."])]
    later = [("Then", 9.0, 9.2), ("nothing", 9.3, 9.5)]
    blocks = subtitles(transcript(*words, *later), "srt", words=True).split("\n\n")
    assert [block.splitlines()[2] for block in blocks] == ["He came .", "She went away.", "Then nothing"]
    many = [(f"word{i}", i * 0.4, i * 0.4 + 0.3) for i in range(60)]
    for block in subtitles(transcript(*many), "srt", words=True).split("\n\n"):
        lines = block.splitlines()
        assert len(lines) <= 4
        assert all(len(line) <= 42 for line in lines[2:])


def test_without_timestamps() -> None:
    with pytest.raises(ValueError, match="return_timestamps"):
        subtitles({"text": "a"}, "srt")
