"""Whisper's tokens to text, segments and words, against transformers' tokenizer on random streams of tokens."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe import AutoTokenizer
from onnxpipe.processing.text.speech.text_normalizers import basic_normalize
from onnxpipe.processing.text.speech.whisper import WhisperTokenizer
from onnxpipe.processing.text.speech.whisper_languages import LANGUAGES, code_of
from onnxpipe.processing.text.speech.whisper_merge import Tokens, append_chunks, merge_chunks

TEXT = "The quick, brown fox (yes) 'no' -- well 日本語 naïve — café !? \"x\" hello I'm [so] it goes."
STREAMS = 120
PRECISION = 0.02


@pytest.fixture(scope="module")
def pair(models: Callable[[str, str], Path]) -> tuple[Any, Any]:
    """transformers' tokenizer and ours, of the zoo's multilingual Whisper."""
    transformers = pytest.importorskip("transformers")
    folder = models("whisper", "automatic-speech-recognition")
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    ours = AutoTokenizer.from_pretrained(folder)
    assert isinstance(ours, WhisperTokenizer)
    return theirs, ours


class Streams:
    """Random tokens as Whisper might generate them: time stamps in pairs or alone, back in time, prompts, languages."""

    def __init__(self, tokenizer: Any, seed: int) -> None:
        self.rng = random.Random(seed)
        self.first = tokenizer.convert_tokens_to_ids("<|notimestamps|>") + 1
        self.words = [tokenizer(" " + word, add_special_tokens=False)["input_ids"] for word in TEXT.split()]
        known = tokenizer.get_vocab()
        self.languages = [known[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in known]
        self.marks = [known[name] for name in ("<|startoftranscript|>", "<|startofprev|>", "<|transcribe|>")]

    def tokens(self) -> list[int]:
        rng, found, stamp = self.rng, [], 0
        if rng.random() < 0.2:
            found.append(rng.choice(self.marks))
        if rng.random() < 0.4 and self.languages:
            found.append(rng.choice(self.languages))
        for _ in range(rng.randrange(6)):
            if rng.random() < 0.8:
                found.append(self.first + stamp)
            for _ in range(rng.randrange(6)):
                found += rng.choice(self.words)
            stamp = min(1500, stamp + rng.randrange(400)) if rng.random() < 0.9 else rng.randrange(500)
            found += [self.first + stamp] * rng.choice([0, 1, 1, 1, 2])
        return found

    def outputs(self, count: int) -> list[dict[str, Any]]:
        rng, found, before = self.rng, [], list[int]()
        for i in range(count):
            tokens = self.tokens()
            if i and rng.random() < 0.7:  # the overlap of both chunks
                tokens = before[len(before) // 2 :] + tokens
            before = tokens
            times = sorted(round(rng.uniform(0, 30), 2) for _ in tokens)
            output: dict[str, Any] = {"tokens": np.array([tokens], np.int64), "token_timestamps": np.array([times])}
            if count > 1 or rng.random() < 0.5:
                output["stride"] = (30.0, 5.0 if i else 0.0, 5.0 if i < count - 1 else 0.0)
            found.append(output)
        return found


def either(call: Callable[[], Any]) -> Any:
    """The answer, or the kind of error."""
    try:
        return call()
    except (IndexError, TypeError, ValueError) as error:
        return type(error).__name__


@pytest.mark.parametrize("timestamps", [None, True, "word"])
@pytest.mark.parametrize("language", [None, True])
def test_transcripts_equal_transformers(
    pair: tuple[Any, Any], timestamps: Any, language: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "onnxpipe")  # most streams end without a time stamp, which is warned of
    answers = 0
    for seed in range(STREAMS):
        outputs = Streams(pair[0], seed).outputs(1 + seed % 4)
        wanted = {"return_timestamps": timestamps, "return_language": language, "time_precision": PRECISION}
        theirs, ours = (either(partial(t._decode_asr, copy.deepcopy(outputs), **wanted)) for t in pair)
        assert ours == theirs, seed
        if isinstance(ours, tuple):
            answers += 1
            for chunk in ours[1].get("chunks", ()):
                assert list(chunk) == list(next(c for c in theirs[1]["chunks"] if c == chunk))
    assert answers > STREAMS * 0.9


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"skip_special_tokens": True},
        {"output_offsets": True},
        {"decode_with_timestamps": True},
        {"basic_normalize": True},
        {"basic_normalize": True, "remove_diacritics": True},
        {"skip_special_tokens": True, "decode_with_timestamps": True, "output_offsets": True},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_texts_equal_transformers(pair: tuple[Any, Any], options: dict[str, Any]) -> None:
    for seed in range(STREAMS):
        ids = Streams(pair[0], seed).tokens()
        theirs, ours = (t.decode(ids, **options) for t in pair)
        assert ours == theirs, seed
    batch = [Streams(pair[0], seed).tokens() for seed in (3, 4)]
    if "output_offsets" not in options:
        assert pair[1].batch_decode(batch, **options) == [pair[1].decode(row, **options) for row in batch]


def test_prompts_equal_transformers(pair: tuple[Any, Any]) -> None:
    theirs, ours = pair
    assert ours.all_special_ids == theirs.all_special_ids
    assert ours.get_prompt_ids("Mr. Quilter, naïve").tolist() == list(theirs.get_prompt_ids("Mr. Quilter, naïve"))
    assert ours.get_prompt_ids("Mr.", return_tensors=None) == list(theirs.get_prompt_ids("Mr."))
    assert ours.timestamp_ids() == theirs.timestamp_ids()
    for options in ({}, {"language": "french"}, {"language": "de", "task": "translate"}, {"no_timestamps": False}):
        assert ours.get_decoder_prompt_ids(**options) == theirs.get_decoder_prompt_ids(**options)
        assert ours("hello there")["input_ids"] == theirs("hello there")["input_ids"]
        assert ours.prefix_tokens == theirs.prefix_tokens
    for bad in ({"language": "klingon"}, {"task": "sing"}):
        for tokenizer in pair:
            with pytest.raises(ValueError, match=r"Unsupported (language|task)"):
                tokenizer.get_decoder_prompt_ids(**bad)
    with pytest.raises(ValueError, match="disallowed special token"):
        ours.get_prompt_ids("so <|startoftranscript|> it goes")


def test_words_of_languages_without_spaces_are_characters(pair: tuple[Any, Any]) -> None:
    ours = pair[1]
    ids = ours("日本語。hi", add_special_tokens=False)["input_ids"]
    output = {"tokens": np.array([ids]), "token_timestamps": np.arange(len(ids), dtype=float)[None]}
    for code in ("ja", "en"):
        outputs = [{**output, "tokens": np.array([[ours.convert_tokens_to_ids(f"<|{code}|>"), *ids]])}]
        outputs[0]["token_timestamps"] = np.arange(len(ids) + 1, dtype=float)[None]
        wanted = {"return_timestamps": "word", "return_language": True, "time_precision": PRECISION}
        found = [t._decode_asr(copy.deepcopy(outputs), **wanted) for t in pair]
        assert found[1] == found[0]


def test_lists_that_overlap_are_one() -> None:
    assert merge_chunks([Tokens([1, 2, 3, 4]), Tokens([3, 4, 5])]).ids == [1, 2, 3, 4, 5]
    assert merge_chunks([Tokens([1, 2]), Tokens([8, 9])]).ids == [1, 2, 8, 9]
    assert merge_chunks([Tokens([]), Tokens([7])]).ids == [7]
    timed = merge_chunks([Tokens([1, 2, 3], [(0, 1), (1, 2), (2, 3)]), Tokens([2, 3, 4], [(1, 2), (2, 3), (3, 4)])])
    assert timed == Tokens([1, 2, 3, 4], [(0, 1), (1, 2), (2, 3), (3, 4)])
    # equal words that are said later are not the same words
    assert merge_chunks([Tokens([1, 2], [(5, 6), (6, 7)]), Tokens([1, 2], [(0, 1), (1, 2)])]).ids == [1, 2, 1, 2]


def test_chunks_of_other_models_are_appended() -> None:
    assert append_chunks([[1, 2, 3, 4], [3, 4, 5], [4, 5, 6]]) == [1, 2, 3, 4, 5, 6]
    assert append_chunks([[1], [1, 2]]) == [1, 1, 2]  # one token alone is not an overlap
    assert append_chunks([[], [1, 2]]) == [1, 2]


def test_appending_equals_transformers() -> None:
    pipelines = pytest.importorskip("transformers.pipelines.automatic_speech_recognition")
    torch = pytest.importorskip("torch")
    rng = random.Random(7)

    class Plain:
        all_special_ids = (0,)

    for _ in range(200):
        lists = [[rng.randrange(1, 5) for _ in range(rng.randrange(6, 9))] for _ in range(3)]
        rows = [torch.tensor([[*row, 0]]) for row in lists]
        lists = [row[: len(lists[0])] for row in lists]
        rows = [row[:, : len(lists[0])] for row in rows]
        expected = pipelines._find_longest_common_sequence([row.numpy() for row in rows], Plain())
        kept = [[i for i in row[0].tolist() if i] for row in rows]
        assert append_chunks(kept) == expected.tolist()


def test_languages() -> None:
    assert (code_of("French"), code_of("fr"), code_of("Mandarin"), len(LANGUAGES)) == ("fr", "fr", "zh", 100)
    with pytest.raises(ValueError, match="Unsupported language: xx"):
        code_of("xx")


def test_normalizing() -> None:
    assert basic_normalize("Hé [noise], (aside) WÖRLD!") == "hé wörld "
    assert basic_normalize("Hé Straße Łódź", remove_diacritics=True) == "he strasse lodz"
