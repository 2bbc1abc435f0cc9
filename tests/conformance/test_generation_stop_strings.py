"""Stop strings against transformers' own criterion, on tokenizers that decode bytes, byte pieces and characters."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from conformance import tiny_models
from conformance.torch_decoder import TorchModel
from onnxpipe.generation import StopStringCriteria
from onnxpipe.processing.text.tokenizer import AutoTokenizer
from zoo.text.generator_tokenizers import save

TEXT = "The quick brown fox jumps over the lazy dog.\n\nIt isn't  far: caféter naïve 日本語 😀 end</s> STOP. User: hi"
STOPS = [
    "o",
    " ",
    "\n\n",
    "fox",
    "x jum",
    "ox jumps o",
    "é",
    "日",
    "本語 ",
    "😀",
    "STOP",
    "User:",
    ".",
    "The quick",
    "zzzz",
]


@functools.cache
def both(family: str):
    folder = Path(tempfile.mkdtemp())
    save(family, folder)
    return AutoTokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "qwen2", "gemma2", "bloom"])
def test_as_transformers(family):
    ours, theirs = both(family)
    ids = theirs(TEXT, add_special_tokens=False)["input_ids"]
    rng = np.random.default_rng(0)
    for stops in (*([one] for one in STOPS), ["dog", "fox"], ["😀", "naïve", "q"], STOPS):
        try:
            expected = transformers.StopStringCriteria(theirs, stops)
        except ValueError as error:
            with pytest.raises(ValueError, match=str(error)[:40]):
                StopStringCriteria(ours, stops)
            continue
        got = StopStringCriteria(ours, stops)
        rows = [ids[:end] for end in range(1, len(ids) + 1)]
        for row in rows:
            one = np.array([row])
            assert got(one, None).tolist() == expected(torch.from_numpy(one), None).tolist(), (stops, row)
        mixed = rng.integers(0, len(theirs) + 3, (200, 12))
        real = rng.integers(0, len(ids), (200, 12))
        mixed = np.where(rng.random(mixed.shape) < 0.8, np.array(ids)[real], mixed)
        assert got(mixed, None).tolist() == expected(torch.from_numpy(mixed), None).tolist()


def test_single_string():
    ours, _ = both("gpt2")
    criterion = StopStringCriteria(ours, " fox")
    ids = ours("The quick brown fox", add_special_tokens=False)["input_ids"]
    assert criterion(np.array([ids]), None).tolist() == [True]
    assert criterion(np.array([ids[:-1]]), None).tolist() == [False]
    assert criterion(np.zeros((1, 0), np.int64), None).tolist() == [False]


def test_token_healing():
    ours, theirs = both("gpt2")
    if theirs.pad_token_id is None:
        theirs.pad_token = theirs.eos_token
        ours.pad_token = ours.eos_token
    model = tiny_models.gpt2(0, len(theirs))
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": theirs.pad_token_id}
    for text in ('The link is <a href="http:', "The quick brown fo", "It is", " jump", "the lazy dog and th"):
        ids = theirs(text, return_tensors="pt")["input_ids"]
        expected = model.generate(ids, token_healing=True, tokenizer=theirs, **options)
        got = TorchModel(model).generate(ids.numpy(), token_healing=True, tokenizer=ours, **options)
        assert got.tolist() == expected.tolist(), text
