"""A real language model (llama, 15M parameters, children's stories): its text is the original's, word by word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe import AutoModelForCausalLM, AutoTokenizer, pipeline
from onnxpipe.errors import UnfinishedAnswerError

NEW = 100
PROMPTS = [
    "Once upon a time", "Lily and Tom", "The little dog was", "One day, a girl named Sue", "In the forest",
    "Ben had a big red ball.", "It was a sunny day and", "The cat", "Mom said", "A tiny bird could not fly.",
    "A boy named Max loved", "The moon", "Sara found a", "At the park,", "Grandma made a cake. She", "The bear was",
    "Tim and his dad went to the lake. They", "Every night", "Anna was sad because", "The train went",
]  # fmt: skip


@pytest.fixture(scope="module")
def bundle(real_model: Callable[[str], Path]) -> Path:
    from zoo.cache import cached_export

    return cached_export(real_model("stories15M"), ("fp32", "int8", "q4"))


@pytest.fixture(scope="module")
def expected(real_model: Callable[[str], Path]) -> list[list[int]]:
    """transformers' greedy tokens for each prompt alone, prompt included."""
    import torch
    import transformers

    torch.set_num_threads(2)
    folder = real_model("stories15M")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return [
        model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=NEW, do_sample=False)[0].tolist()
        for text in PROMPTS
    ]


@pytest.mark.xdist_group("stories")
def test_greedy_text_alone(bundle: Path, expected: list[list[int]]) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(bundle), AutoModelForCausalLM.from_pretrained(bundle)
    for text, wanted in zip(PROMPTS, expected, strict=True):
        got = model.generate(**tokenizer(text, return_tensors="np"), max_new_tokens=NEW, do_sample=False)
        assert got[0].tolist() == wanted, tokenizer.decode(got[0])


@pytest.mark.xdist_group("stories")
def test_greedy_text_in_a_left_padded_batch(bundle: Path, expected: list[list[int]]) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(bundle), AutoModelForCausalLM.from_pretrained(bundle)
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    inputs = tokenizer(PROMPTS, padding=True, return_tensors="np")
    width = inputs["input_ids"].shape[1]
    rows = model.generate(**inputs, max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    for row, mask, wanted in zip(rows, inputs["attention_mask"], expected, strict=True):
        prompt = int(mask.sum())
        new = wanted[prompt:]
        assert row[width : width + len(new)].tolist() == new


@pytest.mark.xdist_group("stories")
def test_the_pipeline_writes_the_same_stories(bundle: Path, expected: list[list[int]]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    pipe = pipeline("text-generation", model=bundle)
    answers = pipe(PROMPTS, max_new_tokens=NEW, do_sample=False, return_full_text=False)
    prompts = [len(tokenizer(text)["input_ids"]) for text in PROMPTS]
    wanted = []
    for ids, count in zip(expected, prompts, strict=True):  # the blank after the prompt belongs to the answer
        whole, prompt = (tokenizer.decode(part, skip_special_tokens=True) for part in (ids, ids[:count]))
        wanted.append(whole.removeprefix(prompt))
    assert [answer[0]["generated_text"] for answer in answers] == wanted


@pytest.mark.xdist_group("stories")
@pytest.mark.parametrize("precision", ["int8", "q4"])
def test_smaller_precisions_are_certified(bundle: Path, precision: str) -> None:
    certificate: dict[str, Any] = json.loads((bundle / "certificate.json").read_text("utf-8"))
    assert certificate["graphs"]["model"][precision]["passed"]
    pipe = pipeline("text-generation", model=bundle, dtype=precision)
    text = pipe("Once upon a time", max_new_tokens=30, do_sample=False)[0]["generated_text"]
    assert text.startswith("Once upon a time, there was")
    assert len(np.unique(text.split())) > 10


@pytest.mark.xdist_group("stories")
@pytest.mark.parametrize("prompt", ["Once upon a time", "The weather:"])
def test_an_answer_in_json_ends(bundle: Path, prompt: str) -> None:
    pytest.importorskip("llguidance")
    names = ["sunny", "rainy", "windy", "cold"]
    schema = {"type": "object", "properties": {name: {"type": "boolean"} for name in names}, "required": names}
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}}
    pipe = pipeline("text-generation", model=bundle, dtype="int8")
    options = {"response_format": form, "do_sample": False, "return_full_text": False}
    for budget in ({}, {"max_new_tokens": 30}, {"max_new_tokens": 60}):
        answer = json.loads(pipe(prompt, **options, **budget)[0]["generated_text"])
        assert all(type(answer[name]) is bool for name in names)
    with pytest.raises(UnfinishedAnswerError, match="larger max_new_tokens"):
        pipe(prompt, max_new_tokens=10, **options)
