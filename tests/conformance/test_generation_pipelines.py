"""What has no reference: sampling, seeds, streams of text, and what ours refuses on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.cases.text_generation import CHAT, TEXTS

Pipes = Callable[..., Any]

LLAMA = pytest.mark.xdist_group("generate-llama")
HOT = {"do_sample": True, "temperature": 1.4, "max_new_tokens": 8}


@pytest.fixture(scope="session")
def pipes(bundles: Callable[..., Path]) -> Pipes:
    """`pipes(task, family)`: our pipeline on the zoo's bundle, built once."""
    import onnxpipe

    loaded: dict[tuple[str, str], Any] = {}

    def pipe(task: str, family: str) -> Any:
        if (task, family) not in loaded:
            folder = bundles(family, "causal" if task == "text-generation" else "seq2seq")
            loaded[task, family] = onnxpipe.pipeline(task, model=str(folder), device="cpu")
        return loaded[task, family]

    return pipe


PAIRS = [
    pytest.param(task, family, marks=pytest.mark.xdist_group(f"generate-{family}"))
    for task, family in (
        ("text-generation", "llama"),
        ("text-generation", "gemma3"),
        ("text2text-generation", "t5"),
        ("translation", "marian"),
    )
]


@pytest.mark.parametrize(("task", "family"), PAIRS)
def test_a_seed_gives_the_same_text(task: str, family: str, pipes: Pipes) -> None:
    pipe, kwargs = pipes(task, family), {**HOT, "num_beams": 1}
    first, again, other = (pipe(TEXTS, **kwargs, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(("task", "family"), PAIRS)
def test_sampled_alone_and_in_any_batch(task: str, family: str, pipes: Pipes) -> None:
    pipe, kwargs = pipes(task, family), {**HOT, "num_beams": 1, "seed": 4}
    answers = [pipe(TEXTS, **kwargs, batch_size=size) for size in (1, 2, 4, None)]
    assert all(answer == answers[0] for answer in answers)
    assert list(pipe((text for text in TEXTS), **kwargs)) == [
        answer if isinstance(answer, list) else [answer] for answer in answers[0]
    ]


@pytest.mark.parametrize(("task", "family"), PAIRS)
def test_several_samples(task: str, family: str, pipes: Pipes) -> None:
    answers = pipes(task, family)(TEXTS[:2], **HOT, num_beams=1, num_return_sequences=4, seed=3)
    assert [len(answer) for answer in answers] == [4, 4]
    assert len({str(record) for record in answers[0]}) > 1


@LLAMA
def test_set_seed(pipes: Pipes) -> None:
    from onnxpipe import set_seed

    pipe = pipes("text-generation", "llama")
    answers = []
    for _ in range(2):
        set_seed(11)
        answers.append([pipe(TEXTS[0], **HOT), pipe(TEXTS[0], **HOT)])
    assert answers[0] == answers[1]
    assert answers[0][0] != answers[0][1], "a second call draws other numbers"


@LLAMA
def test_it_samples_by_default(pipes: Pipes) -> None:
    pipe = pipes("text-generation", "llama")
    texts = {pipe(TEXTS[0], max_new_tokens=8, seed=seed)[0]["generated_text"] for seed in range(8)}
    assert len(texts) > 1


@LLAMA
def test_a_streamer_in_a_pipeline(pipes: Pipes) -> None:
    from threading import Thread

    from onnxpipe import TextIteratorStreamer

    pipe = pipes("text-generation", "llama")
    streamer = TextIteratorStreamer(pipe.tokenizer, skip_prompt=True, skip_special_tokens=True)
    kwargs = {"do_sample": False, "max_new_tokens": 20}
    thread = Thread(target=pipe, args=(CHAT,), kwargs={**kwargs, "streamer": streamer})
    thread.start()
    pieces = list(streamer)
    thread.join()
    assert "".join(pieces) == pipe(CHAT, return_full_text=False, **kwargs)[0]["generated_text"]


@pytest.mark.parametrize(("task", "family"), PAIRS)
def test_no_inputs_no_answers(task: str, family: str, pipes: Pipes) -> None:
    assert pipes(task, family)([]) == []


@pytest.mark.parametrize(
    ("family", "near"),
    [
        pytest.param(family, near, marks=pytest.mark.xdist_group(f"generate-{family}"))
        for family, near in (("nllb", "eng_Latn"), ("mbart", "en_XX"), ("m2m_100", "en"))
    ],
)
def test_an_unknown_language_is_refused(family: str, near: str, pipes: Pipes) -> None:
    """transformers translates from and into the unknown token with some families, and raises KeyError with others."""
    pipe = pipes("translation", family)
    with pytest.raises(ValueError, match=near):
        pipe(TEXTS[0], src_lang="engl", tgt_lang=near)
    with pytest.raises(ValueError, match="language"):
        pipe(TEXTS[0], src_lang=near, tgt_lang="xxyy")
