"""Streamers: pieces of text, prompts, threads, event loops, plain functions."""

from __future__ import annotations

import asyncio
import queue
import threading

import numpy as np
import pytest

from onnxpipe.generation import AsyncTextIteratorStreamer, TextIteratorStreamer, TextStreamer, generate
from unit.generation.models import Script

WORDS = [
    "<s>",
    "</s>",
    "<pad>",
    " one",
    " two",
    "three",
    "\n",
    " four",
    "日",
    "本",
    " five",
    " six",
    "!",
    " a",
    "b",
    "c",
]


class Words:
    """Token ids are words."""

    def decode(self, ids, skip_special_tokens=False, **options):
        assert not options
        kept = [int(i) for i in ids if not (skip_special_tokens and int(i) < 3)]
        return "".join(WORDS[i] for i in kept)


class Pieces(TextStreamer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pieces = []

    def on_finalized_text(self, text, stream_end=False):
        self.pieces.append((text, stream_end))


def test_words_come_when_they_are_whole():
    streamer = Pieces(Words())
    for token in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12):
        streamer.put(np.array([token]))
    streamer.end()
    assert [text for text, _ in streamer.pieces] == [
        " ", "one ", "", "twothree\n", " ", "four日", "本", " ", "five ", "", "six!",
    ]  # fmt: skip
    assert [end for _, end in streamer.pieces] == [False] * 10 + [True]


def test_as_transformers():
    theirs = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")

    class Other(theirs.TextStreamer):
        on_finalized_text = Pieces.on_finalized_text

    rng = np.random.default_rng(0)
    for skip in (False, True):
        own, other = (
            Pieces(Words(), skip_prompt=skip, skip_special_tokens=True),
            Other(Words(), skip, skip_special_tokens=True),
        )
        other.pieces = []
        for _ in range(3):
            prompt = rng.integers(0, 16, (1, 4))
            own.put(prompt)
            other.put(torch.from_numpy(prompt))
            for token in rng.integers(0, 16, 30):
                own.put(np.array([token]))
                other.put(torch.tensor([token]))
            own.end()
            other.end()
        assert own.pieces == other.pieces


def test_printing(capsys):
    generate(Script(), [[3, 4]], max_length=6, streamer=TextStreamer(Words(), skip_prompt=True))
    assert capsys.readouterr().out == "three\n four日\n"


def test_more_than_one_row_is_refused():
    with pytest.raises(ValueError, match="batch size 1"):
        generate(Script(), [[3], [4]], max_length=6, streamer=TextStreamer(Words()))


def test_iterating_in_another_thread():
    streamer = TextIteratorStreamer(Words(), skip_prompt=True, timeout=10)
    thread = threading.Thread(
        target=generate, args=(Script(), [[3, 4]]), kwargs={"max_length": 12, "streamer": streamer}
    )
    thread.start()
    assert "".join(streamer) == "three\n four日本 five six! ab"
    thread.join()
    empty = TextIteratorStreamer(Words(), timeout=0.01)
    with pytest.raises(queue.Empty):
        next(empty)


def test_iterating_in_an_event_loop():
    async def run():
        streamer = AsyncTextIteratorStreamer(Words(), skip_prompt=True, timeout=10)
        thread = threading.Thread(
            target=generate, args=(Script(), [[3, 4]]), kwargs={"max_length": 12, "streamer": streamer}
        )
        thread.start()
        pieces = [piece async for piece in streamer]
        thread.join()
        empty = AsyncTextIteratorStreamer(Words(), timeout=0.01)
        with pytest.raises(TimeoutError):
            await anext(empty)
        return "".join(pieces)

    assert asyncio.run(run()) == "three\n four日本 five six! ab"


def test_a_function_gets_the_new_tokens():
    got = []
    generate(Script(), [[3, 4]], max_length=7, streamer=lambda tokens: got.extend(tokens.tolist()))
    assert got == [5, 6, 7, 8, 9][: 7 - 2]
    got.clear()
    generate(Script(), [[3, 4, 3]], max_length=9, streamer=got.append, prompt_lookup_num_tokens=2)
    assert np.concatenate(got).tolist() == [4, 5, 6, 7, 8, 9]
    with pytest.raises(TypeError, match="streamer"):
        generate(Script(), [[3]], max_length=7, streamer=3)
    with pytest.raises(ValueError, match="streamer"):
        generate(Script(), [[3]], max_length=7, streamer=print, num_beams=2)
