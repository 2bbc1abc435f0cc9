"""Live recognition, with a recogniser whose words lie where the test put them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpipe.errors import UnsupportedError
from onnxpipe.tasks.speech_recognition.live import LiveText, live_text

RATE = 4000
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "and",
    "runs",
    "away",
    "into",
    "the",
    "deep",
    "dark",
    "wood",
    "today",
]


class Recogniser:
    """Recognise word i where samples have the value (i + 1) / 100; a word that is cut off is misrecognised."""

    feature_extractor = SimpleNamespace(sampling_rate=RATE)

    def __init__(self, kind: str = "ctc", each_s: float = 0.5) -> None:
        self.type = kind
        self.model = SimpleNamespace(gives_word_timestamps=True)
        self.size = int(each_s * RATE)
        self.longest = 0
        self.calls: list[dict[str, Any]] = []

    def __call__(self, audio: Any, **options: Any) -> dict[str, Any]:
        self.longest = max(self.longest, len(audio))
        self.calls.append(options)
        chunks = []
        for number in dict.fromkeys(np.rint(audio * 100).astype(int).tolist()):
            if number == 0:
                continue
            places = np.flatnonzero(np.rint(audio * 100) == number)
            whole = len(places) >= self.size
            word = WORDS[number - 1] if whole else WORDS[number - 1][:2]
            chunks.append({"text": word, "timestamp": (places[0] / RATE, (places[-1] + 1) / RATE)})
        text = " ".join(chunk["text"] for chunk in chunks)
        return {"text": text, "chunks": chunks} if options.get("return_timestamps") else {"text": text}


def speech(each_s: float = 0.5) -> Any:
    """The words, and a short silence after each."""
    words = np.repeat((np.arange(len(WORDS)) + 1)[:, None] / 100, int(each_s * RATE), axis=1)
    return np.pad(words, ((0, 0), (0, RATE // 25))).ravel().astype(np.float32)


def pieces(audio: Any, size: int = 920) -> Iterator[Any]:
    return (audio[i : i + size] for i in range(0, len(audio), size))


def live(pipe: Any, chunks: Any, **given: Any) -> list[LiveText]:
    return list(live_text(pipe, chunks, **{"options": {}, **given}))


@pytest.mark.parametrize("kind", ["ctc", "seq2seq_whisper", "seq2seq"])
def test_the_final_text_only_grows_and_ends_whole(kind: str) -> None:
    pipe = Recogniser(kind)
    found = live(pipe, pieces(speech()), step_s=0.7, window_s=3.0)
    assert found[-1] == LiveText(" ".join(WORDS), "", len(speech()) / RATE, done=True)
    for before, after in itertools.pairwise(found):
        assert after.final.startswith(before.final)
    assert any(each.partial for each in found)
    assert len({each.final for each in found}) > 4
    assert pipe.longest <= (3.0 + 0.7 + 0.23) * RATE


def test_times_are_asked_for_where_the_model_has_them() -> None:
    for kind, timestamps in (("ctc", "word"), ("seq2seq_whisper", "word"), ("seq2seq", None)):
        pipe = Recogniser(kind)
        live(pipe, pieces(speech()), options={"seed": 3})
        assert {call.get("return_timestamps") for call in pipe.calls[:-1]} == {timestamps}
        assert "return_timestamps" not in pipe.calls[-1]  # the last text is that of a call without them
        assert {call["seed"] for call in pipe.calls} == {3}
    pipe = Recogniser("seq2seq_whisper")
    pipe.model.gives_word_timestamps = False
    live(pipe, pieces(speech()))
    assert {call["return_timestamps"] for call in pipe.calls[:-1]} == {True}


def test_pieces_of_every_form() -> None:
    audio = speech()
    expected = live(Recogniser(), [audio], step_s=0.7, window_s=3.0)[-1]
    whole = np.rint(audio * 32768).astype("<i2")
    forms: list[Any] = [audio[:, None].repeat(2, 1), whole, whole.tobytes(), {"raw": audio, "sampling_rate": RATE}]
    for form in forms:
        assert live(Recogniser(), [form], step_s=0.7, window_s=3.0)[-1] == expected
    with pytest.raises(TypeError, match="a piece of live audio"):
        live(Recogniser(), [[0.1, 0.2]])
    with pytest.raises(UnsupportedError, match="changed from 4000 to 2000"):
        live(Recogniser(), [audio, {"raw": audio, "sampling_rate": 2000}])


def test_another_rate_is_resampled_as_one_stream() -> None:
    pytest.importorskip("soxr")
    lengths: list[int] = []

    class Ears(Recogniser):
        def __call__(self, audio: Any, **options: Any) -> dict[str, Any]:
            lengths.append(len(audio))
            return {"text": ""}

    (*_, last) = live(
        Ears("seq2seq"), pieces(np.ones(4 * RATE, np.float32), 1600), sampling_rate=2 * RATE, step_s=9, window_s=20
    )
    assert lengths == [2 * RATE]
    assert last.seconds == 2.0


def test_silence_says_nothing_and_is_not_recognised() -> None:
    pipe = Recogniser()
    found = live(pipe, pieces(np.zeros(5 * RATE, np.float32)))
    assert [each.text for each in found] == [""] * len(found)
    assert not pipe.calls


@pytest.mark.parametrize("kind", ["ctc", "seq2seq_whisper", "seq2seq"])
@pytest.mark.parametrize("step_s", [0.5, 1.0])
def test_nothing_is_final_before_enough_follows_it(kind: str, step_s: float) -> None:
    """A word whose audio has been there for less than two seconds is misrecognised, each time alike."""

    class Hasty(Recogniser):
        def __call__(self, audio: Any, **options: Any) -> dict[str, Any]:
            answer = super().__call__(audio, **{**options, "return_timestamps": "word"})
            for chunk in answer["chunks"]:
                if len(audio) / RATE - chunk["timestamp"][1] < 2.0 and len(audio) < len(speech()):
                    chunk["text"] = "uh"
            answer["text"] = " ".join(chunk["text"] for chunk in answer["chunks"])
            return answer if options.get("return_timestamps") else {"text": answer["text"]}

    found = live(Hasty(kind), pieces(speech(), RATE // 2), step_s=step_s, window_s=20.0)
    assert found[-1].final == " ".join(WORDS)
    assert not any(each.final for each in found if each.seconds < 8.0)
    assert kind == "seq2seq" or len({each.final for each in found}) > 2


def test_a_recogniser_that_changes_its_mind_repeats_nothing() -> None:
    answers = iter(["a b", "a b c", "ab c d", "a b c d e"])

    class Moody(Recogniser):
        def __call__(self, audio: Any, **options: Any) -> dict[str, Any]:
            return {"text": next(answers)}

    found = live(Moody("seq2seq"), [np.ones(3 * RATE, np.float32)] * 3, window_s=9.0)
    assert [(each.final, each.partial) for each in found] == [
        ("", "a b"), ("a b", " c"), ("a b c", " d"), ("a b c d e", "")
    ]  # fmt: skip


def test_wrong_lengths() -> None:
    for wrong in ({"step_s": 0}, {"step_s": 2.0, "window_s": 3.0}):
        with pytest.raises(ValueError, match="step_s"):
            live(Recogniser(), [], **wrong)
