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


def lines(text: str, *words: str) -> list[str]:
    """The text of the subtitles of words, a quarter of a second each."""
    chunks = transcript(*((word, i * 0.25, i * 0.25 + 0.25) for i, word in enumerate(words)))
    blocks = subtitles({**chunks, "text": text}, "srt", words=True).removesuffix("\n").split("\n\n")
    return [" / ".join(block.splitlines()[2:]) for block in blocks]


def test_words_are_joined_as_in_the_transcript() -> None:
    assert lines(" It is 50% off.", " It", " is", " 50", "%", " off.") == ["It is 50% off."]
    assert lines("IT IS 50 % OFF", "IT", "IS", "50", "%", "OFF") == ["IT IS 50 % OFF"]
    assert lines("", " It", " is", " 50", "%") == ["It is 50%"]
    assert lines("今日は良い天気。", "今日", "は", "良い", "天気", "。") == ["今日は良い天気。"]
    assert lines("", "今日", "は", "良い") == ["今日は良い"]
    assert lines("I like 寿司 much", "I", "like", "寿", "司", "much") == ["I like 寿司 much"]
    assert lines(' He said "hi." Then', " He", " said", ' "hi', ".", '"', " Then") == ['He said "hi."', "Then"]
    assert lines("今日は。明日は。", "今日", "は", "。", "明日", "は", "。") == ["今日は。", "明日は。"]


def test_long_words_and_scripts_without_blanks_are_broken_into_lines() -> None:
    text = "今日は良い天気です" * 12
    found = lines(text, *text)
    assert "".join(found).replace(" / ", "") == text
    assert all(len(line) <= 42 for block in found for line in block.split(" / "))


def test_an_end_in_the_middle_that_nobody_knows() -> None:
    answer = transcript((" a", 0.0, None), (" b", 5.5, None))
    found = subtitles(answer, "srt", duration=9.0)
    assert "00:00:00,000 --> 00:00:05,500" in found and "00:00:05,500 --> 00:00:09,000" in found


def test_without_timestamps() -> None:
    with pytest.raises(ValueError, match="return_timestamps"):
        subtitles({"text": "a"}, "srt")
