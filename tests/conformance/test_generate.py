"""`generate()` through real bundles against transformers' on the same folder: tokens equal, numbers within 1e-4.

What a search or a processor computes is tested in `test_generation_*`; here it is the graphs, their caches and the
rows around them: left padding, beams that reorder, prompts repeated, lengths that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.cases.text_generation import LONG, TEXTS
from conformance.compare import same
from zoo.text.generators import CAUSAL, SEQ2SEQ

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FAMILIES = [*((family, "causal") for family in CAUSAL), *((family, "seq2seq") for family in SEQ2SEQ)]
PROMPTS = [*TEXTS, LONG[:140]]
PLAIN = {"do_sample": False, "num_beams": 1, "max_new_tokens": 16}
NEUTRAL = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "min_length": 0}
"""Turn off what some families' generation configs set, and what padding changes."""


@dataclass
class Pair:
    """One family in both libraries."""

    theirs: Any
    ours: Any
    tokenizer: Any

    def rows(self, texts: str | list[str]) -> dict[str, np.ndarray]:
        """`input_ids` and `attention_mask`; several texts padded at the left for decoder-only models."""
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "right" if self.theirs.config.is_encoder_decoder else "left"
        rows = self.tokenizer(texts if isinstance(texts, list) else [texts], padding=True, return_tensors="np")
        return {name: np.asarray(rows[name]) for name in ("input_ids", "attention_mask")}

    def expected(self, rows: dict[str, np.ndarray], **kwargs: Any) -> Any:
        with torch.no_grad():
            feeds = {name: torch.from_numpy(values) for name, values in rows.items()}
            return _numpy(self.theirs.generate(**feeds, **kwargs))

    def got(self, rows: dict[str, np.ndarray], **kwargs: Any) -> Any:
        return _numpy(self.ours.generate(**rows, **kwargs))


def _numpy(answer: Any) -> Any:
    """An array, or a dict of arrays; the cache is left out."""
    if hasattr(answer, "detach"):
        return answer.detach().numpy()
    if isinstance(answer, tuple):
        return tuple(_numpy(item) for item in answer)
    if isinstance(answer, dict):
        return {name: _numpy(value) for name, value in answer.items() if name != "past_key_values"}
    return answer


def _load(family: str, head: str, models: Callable[[str, str], Path], folder: Path) -> Pair:
    import onnxpipe

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    auto = "AutoModelForCausalLM" if head == "causal" else "AutoModelForSeq2SeqLM"
    model = models(family, head)
    theirs = getattr(transformers, auto).from_pretrained(model).eval()
    ours = getattr(onnxpipe, auto).from_pretrained(str(folder), device="cpu")
    return Pair(theirs, ours, transformers.AutoTokenizer.from_pretrained(model))


_PAIRS: dict[tuple[str, str], Pair] = {}


@pytest.fixture(
    params=[pytest.param(pair, id=pair[0], marks=pytest.mark.xdist_group(f"generate-{pair[0]}")) for pair in FAMILIES]
)
def pair(request: pytest.FixtureRequest, models: Callable[[str, str], Path], bundles: Callable[..., Path]) -> Pair:
    family, head = request.param
    if request.param not in _PAIRS:
        _PAIRS[request.param] = _load(family, head, models, bundles(family, head))
    return _PAIRS[request.param]


@pytest.mark.parametrize("text", PROMPTS)
def test_greedy(pair: Pair, text: str) -> None:
    rows = pair.rows(text)
    assert pair.got(rows, **PLAIN).tolist() == pair.expected(rows, **PLAIN).tolist()


def test_beams(pair: Pair) -> None:
    for text in PROMPTS:
        rows = pair.rows(text)
        kwargs = {**PLAIN, "num_beams": 4, "num_return_sequences": 3}
        assert pair.got(rows, **kwargs).tolist() == pair.expected(rows, **kwargs).tolist(), text


def test_beams_in_a_batch(pair: Pair) -> None:
    rows = pair.rows(PROMPTS)
    kwargs = {**PLAIN, "num_beams": 3, "num_return_sequences": 2}
    assert pair.got(rows, **kwargs).tolist() == pair.expected(rows, **kwargs).tolist()


def test_a_padded_batch(pair: Pair) -> None:
    rows = pair.rows(PROMPTS)
    assert pair.got(rows, **PLAIN).tolist() == pair.expected(rows, **PLAIN).tolist()


@pytest.mark.parametrize("beams", [1, 3])
def test_alone_or_in_a_batch(pair: Pair, beams: int) -> None:
    kwargs = {**PLAIN, **NEUTRAL, "num_beams": beams}
    together = _texts(pair, pair.rows(PROMPTS), pair.got(pair.rows(PROMPTS), **kwargs))
    alone = [_texts(pair, pair.rows(text), pair.got(pair.rows(text), **kwargs))[0] for text in PROMPTS]
    assert together == alone


def _texts(pair: Pair, rows: dict[str, np.ndarray], sequences: np.ndarray) -> list[list[int]]:
    """New tokens up to the first end."""
    start = 1 if pair.theirs.config.is_encoder_decoder else rows["input_ids"].shape[1]
    ends = pair.theirs.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    texts = []
    for row in sequences[:, start:].tolist():
        stop = next((i for i, token in enumerate(row) if token in ends), len(row))
        texts.append(row[:stop])
    return texts


def test_everything_that_is_returned(pair: Pair) -> None:
    fields = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    for beams in (1, 3):
        rows = pair.rows(PROMPTS[:3])
        kwargs = {**PLAIN, **fields, "num_beams": beams, "max_new_tokens": 8}
        expected, got = pair.expected(rows, **kwargs), pair.got(rows, **kwargs)
        assert set(expected) <= set(got), beams
        for name, values in expected.items():
            difference = same(_finite(values), _finite(got[name]), path=f"{beams} {name}")
            assert difference is None, difference


def _finite(value: Any) -> Any:
    """Forbidden tokens as a large number: two infinities have no difference."""
    if isinstance(value, tuple):
        return tuple(_finite(item) for item in value)
    return np.nan_to_num(value, neginf=-1e9, posinf=1e9) if np.asarray(value).dtype.kind == "f" else value


def test_to_the_end_and_on(pair: Pair) -> None:
    """A continuation of the continuation is the longer continuation."""
    if pair.theirs.config.is_encoder_decoder:
        pytest.skip("the prompt is the encoder's")
    rows = pair.rows(LONG)
    short = pair.got(rows, **{**PLAIN, **NEUTRAL}, eos_token_id=-1)
    more = {"input_ids": short, "attention_mask": np.ones_like(short)}
    longer = pair.got(rows, **{**PLAIN, **NEUTRAL, "max_new_tokens": 40}, eos_token_id=-1)
    assert pair.got(more, **{**PLAIN, **NEUTRAL, "max_new_tokens": 24}, eos_token_id=-1).tolist() == longer.tolist()
    assert (
        longer.tolist() == pair.expected(rows, **{**PLAIN, **NEUTRAL, "max_new_tokens": 40}, eos_token_id=-1).tolist()
    )


def test_stopping(pair: Pair) -> None:
    rows = pair.rows(PROMPTS)
    for kwargs in (
        {**PLAIN, "eos_token_id": list(range(300, 420))},
        {**PLAIN, "max_new_tokens": None, "max_length": rows["input_ids"].shape[1] + 5},
        {**PLAIN, "min_new_tokens": 16},
        {**PLAIN, "num_beams": 2, "max_new_tokens": 30, "early_stopping": True},
    ):
        assert pair.got(rows, **kwargs).tolist() == pair.expected(rows, **kwargs).tolist(), kwargs


def test_stop_strings(pair: Pair) -> None:
    rows, text = pair.rows(PROMPTS[0]), {"stop_strings": ["e", "an"]}
    expected = pair.expected(rows, **PLAIN, **text, tokenizer=pair.tokenizer)
    from onnxpipe import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pair.ours.name_or_path)
    assert pair.got(rows, **PLAIN, **text, tokenizer=tokenizer).tolist() == expected.tolist()


def test_forward(pair: Pair) -> None:
    """Logits of one call, rows padded at either side."""
    rows = pair.rows(PROMPTS)
    more = {"decoder_input_ids": rows["input_ids"][:, ::-1].copy()} if pair.theirs.config.is_encoder_decoder else {}
    with torch.no_grad():
        feeds = {name: torch.from_numpy(values) for name, values in {**rows, **more}.items()}
        if not more:
            feeds["position_ids"] = (feeds["attention_mask"].cumsum(-1) - 1).clamp(0)
        if type(pair.theirs).__name__ in ("BloomForCausalLM", "OPTForCausalLM"):
            feeds.pop("position_ids", None)  # They count for themselves.
        expected = pair.theirs(**feeds).logits.numpy()
    got = np.asarray(pair.ours(**rows, **more).logits)
    real = np.ones_like(rows["attention_mask"]) if more else rows["attention_mask"]
    assert got.shape == expected.shape
    assert np.abs(got - expected)[real.astype(bool)].max() <= 1e-3


# --- sampling, streaming --------------------------------------------------------------------------------------------

SAMPLED = [("llama", "causal"), ("gemma3", "causal"), ("t5", "seq2seq"), ("marian", "seq2seq")]


@pytest.fixture(params=[pytest.param(p, id=p[0], marks=pytest.mark.xdist_group(f"generate-{p[0]}")) for p in SAMPLED])
def sampler(request: pytest.FixtureRequest, models: Callable[[str, str], Path], bundles: Callable[..., Path]) -> Pair:
    family, head = request.param
    if request.param not in _PAIRS:
        _PAIRS[request.param] = _load(family, head, models, bundles(family, head))
    return _PAIRS[request.param]


HOT = {"do_sample": True, "num_beams": 1, "max_new_tokens": 10, "temperature": 1.5}


def test_a_seed_repeats_itself(sampler: Pair) -> None:
    rows = sampler.rows(PROMPTS[0])
    first, second, other = (sampler.got(rows, **HOT, seed=seed, num_return_sequences=4).tolist() for seed in (1, 1, 2))
    assert first == second != other
    assert len({tuple(row) for row in first}) > 1, "the sequences of one prompt differ"


def test_sampled_alone_or_in_a_batch(sampler: Pair) -> None:
    kwargs = {**HOT, **NEUTRAL}
    rows = sampler.rows(PROMPTS)
    together = _texts(sampler, rows, sampler.got(rows, **kwargs, seed=list(range(len(PROMPTS)))))
    for i, text in enumerate(PROMPTS):
        alone = sampler.rows(text)
        assert _texts(sampler, alone, sampler.got(alone, **kwargs, seed=[i]))[0] == together[i], text


def test_samples_are_among_the_allowed(sampler: Pair) -> None:
    """Every sampled token is one of the `top_k` best after the text before it, by transformers' own logits."""
    rows = sampler.rows(PROMPTS[0])
    kwargs = {**HOT, **NEUTRAL, "top_k": 4, "num_return_sequences": 6, "seed": 3, "forced_eos_token_id": None}
    sequences = sampler.got(rows, **kwargs, suppress_tokens=None)
    start = 1 if sampler.theirs.config.is_encoder_decoder else rows["input_ids"].shape[1]
    for sequence in sequences:
        feeds = {"input_ids": torch.from_numpy(rows["input_ids"])}
        feeds |= {"decoder_input_ids" if start == 1 else "input_ids": torch.from_numpy(sequence[None])}
        with torch.no_grad():
            best = sampler.theirs(**feeds).logits[0, start - 1 : -1].topk(5).indices.tolist()
        ends = np.atleast_1d(sampler.theirs.generation_config.eos_token_id).tolist()
        for token, allowed in zip(sequence[start:].tolist(), best):  # the fifth: the end or padding may be forbidden
            assert token in allowed
            if token in ends:
                break


def test_tokens_come_one_by_one(sampler: Pair) -> None:
    """`put(prompt)`, a `put` for every token, `end()`: before the next step runs."""

    class Recorder:
        def __init__(self) -> None:
            self.events: list[list[int] | str] = []

        def put(self, tokens: Any) -> None:
            self.events.append(np.asarray(tokens).reshape(-1).tolist())

        def end(self) -> None:
            self.events.append("end")

    rows, recorder = sampler.rows(PROMPTS[0]), Recorder()
    seen: list[int] = []

    def count(input_ids: Any, scores: Any) -> Any:
        seen.append(len(recorder.events))
        return np.zeros(len(input_ids), dtype=bool)

    sequence = sampler.got(rows, **PLAIN, streamer=recorder, stopping_criteria=[count])[0].tolist()
    start = 1 if sampler.theirs.config.is_encoder_decoder else rows["input_ids"].shape[1]
    assert recorder.events == [sequence[:start], *([token] for token in sequence[start:]), "end"]
    assert seen[0] <= 2, "the first token is out before the second is computed"


def test_text_streamers(sampler: Pair) -> None:
    from threading import Thread

    from onnxpipe import AutoTokenizer, TextIteratorStreamer

    tokenizer = AutoTokenizer.from_pretrained(sampler.ours.name_or_path)
    rows = sampler.rows(PROMPTS[0])
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    thread = Thread(target=sampler.ours.generate, kwargs={**rows, **PLAIN, "streamer": streamer})
    thread.start()
    text = "".join(streamer)
    thread.join()
    start = 1 if sampler.theirs.config.is_encoder_decoder else rows["input_ids"].shape[1]
    assert text == tokenizer.decode(sampler.got(rows, **PLAIN)[0][start:], skip_special_tokens=True)


# --- kinds of graphs, precisions ------------------------------------------------------------------------------------


@pytest.fixture(params=["standard", "gqa"])
def kind(request: pytest.FixtureRequest, models: Callable[[str, str], Path]) -> Iterator[Pair]:
    from zoo.cache import cached_variant

    yield _load("llama", "causal", models, cached_variant("llama", "causal", attention=request.param))


@pytest.mark.xdist_group("generate-llama")
def test_both_kinds_of_attention(kind: Pair) -> None:
    test_a_padded_batch(kind)
    test_beams_in_a_batch(kind)
    test_alone_or_in_a_batch(kind, 1)
    test_to_the_end_and_on(kind)
    test_everything_that_is_returned(kind)
    test_forward(kind)


@pytest.mark.parametrize(
    ("family", "head"),
    [
        pytest.param(family, head, id=family, marks=pytest.mark.xdist_group(f"generate-{family}"))
        for family, head in (("llama", "causal"), ("gpt2", "causal"), ("t5", "seq2seq"), ("marian", "seq2seq"))
    ],
)
def test_precisions(family: str, head: str, models: Callable[[str, str], Path], bundles: Callable[..., Path]) -> None:
    """Certified, loaded by name, and they generate: in a batch what they generate alone."""
    import onnxpipe

    # Four bits change random weights after few inputs more than the certificate allows.
    precisions = ("fp32", "fp16", "int8") if family == "marian" else ("fp32", "fp16", "int8", "q4")
    folder = bundles(family, head, precisions)
    pair = _load(family, head, models, folder)
    rows = pair.rows(PROMPTS)
    auto = onnxpipe.AutoModelForCausalLM if head == "causal" else onnxpipe.AutoModelForSeq2SeqLM
    for precision in precisions:
        pair.ours = auto.from_pretrained(str(folder), dtype=precision, device="cpu")
        assert pair.ours.precision == precision
        test_alone_or_in_a_batch(pair, 1)
        if precision == "fp32":
            assert pair.got(rows, **PLAIN).tolist() == pair.expected(rows, **PLAIN).tolist()
    graphs = pair.ours.bundle.certificate["graphs"]
    assert {precision for proofs in graphs.values() for precision in proofs} >= set(precisions), graphs.keys()
