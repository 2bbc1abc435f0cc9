"""Grammars: whatever the scores are, what comes out is well-formed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from onnxpipe import ItemError, TextGenerationPipeline
from onnxpipe.errors import MissingDependencyError, UnfinishedAnswerError
from onnxpipe.generation import grammar
from onnxpipe.generation.grammar import GrammarProcessor, grammar_processor
from onnxpipe.processing.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")

from unit.fakes import FakeCausal
from unit.fakes import tokenizer as letters
from zoo.text.generator_tokenizers import save

KINDS = ("qwen2", "llama", "gemma2")
"""Byte-level BPE; SentencePiece's BPE with bytes, two ways. (T5's Unigram is one that llguidance cannot read.)"""

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "kind": {"enum": ["a", "b", None]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tokenizer]:
    root, known = tmp_path_factory.mktemp("grammar"), {}

    def load(kind: str) -> Tokenizer:
        if kind not in known:
            (root / kind).mkdir()
            save(kind, root / kind)
            known[kind] = Tokenizer.from_folder(root / kind)
        return known[kind]

    return load


def _processor(tokenizer: Tokenizer, response_format: Any, more: int = 24) -> GrammarProcessor:
    processor = grammar_processor(response_format, tokenizer, tokenizer.eos_token_id, len(tokenizer) + more)
    assert processor is not None
    return processor


def _drive(
    tokenizer: Tokenizer, processor: GrammarProcessor, *, rows: int = 3, prompt: int = 4, seed: int = 0
) -> list[str]:
    """Greedy texts of random scores; the prompts are left-padded, finished rows go on with padding."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 300, (rows, prompt))
    ids[0, :2] = tokenizer.pad_token_id or 0
    done = np.zeros(rows, bool)
    for _ in range(400):
        scores = rng.normal(size=(rows, processor.vocab_size)).astype(np.float32)
        masked = processor(ids, scores)
        assert masked.dtype == np.float32
        assert np.isfinite(masked.max(axis=1)).all(), "something may always follow"
        kept = np.isfinite(masked)
        np.testing.assert_array_equal(masked[kept], scores[kept])
        chosen = np.where(done, tokenizer.pad_token_id or 0, masked.argmax(axis=1))
        ids = np.concatenate([ids, chosen[:, None]], axis=1)
        done |= chosen == tokenizer.eos_token_id
        if done.all():
            break
    assert done.all(), "the grammar ends, and so does the text"
    return [tokenizer.decode(row[prompt:], skip_special_tokens=True) for row in ids]


def _check_person(text: str) -> None:
    person = json.loads(text)
    assert person.keys() >= {"name", "age", "kind"}
    assert person.keys() <= SCHEMA["properties"].keys()  # type: ignore[attr-defined]
    assert isinstance(person["name"], str) and len(person["name"]) <= 8
    assert type(person["age"]) is int and 0 <= person["age"] <= 130
    assert person["kind"] in ("a", "b", None)
    assert all(type(tag) is bool for tag in person.get("tags", [])) and len(person.get("tags", [])) <= 3


class _Person:
    """As pydantic's models are."""

    @staticmethod
    def model_json_schema() -> dict[str, Any]:
        return SCHEMA


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wrapped",
    [
        {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}},
        {"type": "json_schema", "json_schema": SCHEMA},
        {"type": "json_schema", "schema": SCHEMA},
        SCHEMA,
        _Person,
        {"type": "json_schema", "json_schema": _Person},
    ],
    ids=["openai", "bare inside", "schema", "bare", "model", "model inside"],
)
def test_json_by_a_schema(tokenizer_of: Callable[[str], Tokenizer], kind: str, wrapped: Any) -> None:
    tokenizer = tokenizer_of(kind)
    processor = _processor(tokenizer, wrapped)
    for seed in range(3):
        for text in _drive(tokenizer, processor, seed=seed):
            _check_person(text)


@pytest.mark.parametrize("kind", [*KINDS, "t5"])
@pytest.mark.parametrize("pattern", ["[a-c]{3,6}(foo|bar)", "[0-9]{3}-[0-9]{4}", "(yes|no)", "a"])
def test_regular_expressions(tokenizer_of: Callable[[str], Tokenizer], kind: str, pattern: str) -> None:
    tokenizer = tokenizer_of(kind)
    for name in ("regex", "pattern"):
        for text in _drive(tokenizer, _processor(tokenizer, {"type": "regex", name: pattern})):
            assert re.fullmatch(pattern, text), text


@pytest.mark.parametrize("kind", [*KINDS, "t5"])
def test_any_grammar(tokenizer_of: Callable[[str], Tokenizer], kind: str) -> None:
    """Lark's notation, here with parentheses that match."""
    tokenizer = tokenizer_of(kind)
    source = 'start: pair\npair: "(" inner ")"\ninner: "" | "x" | "[" inner2 "]"\ninner2: "y" | "(z)"'
    for text in _drive(tokenizer, _processor(tokenizer, {"type": "grammar", "grammar": source})):
        assert text in ("()", "(x)", "([y])", "([(z)])")


def test_json_object(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    """Any object: begun as one, and its end is the end."""
    tokenizer = tokenizer_of("qwen2")
    processor = _processor(tokenizer, {"type": "json_object"})
    prompt = np.array([[5, 6]])
    assert _allowed(tokenizer, processor, prompt) <= {"{", '{"', "{}"}
    ids = tokenizer('{"a": [1, null]}', return_tensors="np")["input_ids"]
    assert _allowed(tokenizer, processor, np.concatenate([prompt, ids], 1)) == {tokenizer.eos_token}


def _allowed(tokenizer: Tokenizer, processor: GrammarProcessor, ids: np.ndarray[Any, Any]) -> set[str]:
    scores = processor(ids, np.zeros((len(ids), processor.vocab_size), np.float32))
    return set(tokenizer.convert_ids_to_tokens(np.flatnonzero(np.isfinite(scores[0]))))


@pytest.mark.parametrize("kind", KINDS)
def test_unicode(tokenizer_of: Callable[[str], Tokenizer], kind: str) -> None:
    """Characters of several bytes, which may be several tokens."""
    tokenizer = tokenizer_of(kind)
    for text in _drive(tokenizer, _processor(tokenizer, {"type": "regex", "regex": "[éà我🎉]{3}x?"})):
        assert re.fullmatch("[éà我🎉]{3}x?", text), text


@pytest.mark.parametrize("kind", KINDS)
def test_beams(tokenizer_of: Callable[[str], Tokenizer], kind: str) -> None:
    """Rows that change places, multiply and vanish have the masks of rows that never moved."""
    tokenizer = tokenizer_of(kind)
    moved = _processor(tokenizer, SCHEMA)
    rng = np.random.default_rng(1)
    rows, prompt = 4, 3
    ids = np.full((rows, prompt), 7)
    for step in range(40):
        scores = rng.normal(size=(rows, moved.vocab_size)).astype(np.float32)
        masked = moved(ids, scores)
        if step % 5 == 0:
            fresh = _processor(tokenizer, SCHEMA)
            fresh(ids[:, :prompt], scores)
            np.testing.assert_array_equal(masked, fresh(ids, scores))
        parents = rng.integers(0, rows, rows)
        chosen = np.array([rng.choice(np.flatnonzero(np.isfinite(masked[parent]))) for parent in parents])
        ids = np.concatenate([ids[parents], chosen[:, None]], axis=1)


def test_drafts(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    """Texts that are tried and taken back, as in assisted decoding, and a second text with the same processor."""
    tokenizer = tokenizer_of("llama")
    processor = _processor(tokenizer, {"type": "regex", "regex": "abcd|abef"})
    prompt = [9, 9]
    ids = {text: prompt + tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("ab", "abc", "abe")}

    def allowed(row: list[int]) -> set[str]:
        return _allowed(tokenizer, processor, np.array([row]))

    first = allowed(prompt)
    for text in ("abc", "ab", "abe", "ab"):
        assert allowed(ids[text])
    assert allowed(prompt) == first
    assert allowed([*prompt, *prompt, *prompt]) == {tokenizer.eos_token}, "nothing can follow what the grammar forbids"


def test_the_grammar_comes_first(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    """Tokens that others forbade come back only where the grammar has no others."""
    tokenizer = tokenizer_of("qwen2")
    processor = _processor(tokenizer, {"type": "regex", "regex": "[ab]"})
    scores = np.zeros((1, processor.vocab_size), np.float32)
    a, b = tokenizer.convert_tokens_to_ids(["a", "b"])
    scores[0, a] = -np.inf
    masked = processor(np.array([[3]]), scores)
    assert np.flatnonzero(np.isfinite(masked[0])).tolist() == [b]
    scores[0, b] = -np.inf
    masked = processor(np.array([[3]]), scores)
    assert sorted(np.flatnonzero(np.isfinite(masked[0]))) == sorted([a, b])


@pytest.mark.parametrize("more", [-100, 0, 500])
def test_logits_of_another_width(tokenizer_of: Callable[[str], Tokenizer], more: int) -> None:
    """Models may have more columns than the tokenizer has tokens, or fewer."""
    tokenizer = tokenizer_of("llama")
    processor = _processor(tokenizer, {"type": "regex", "regex": "[a-c]{3}"}, more)
    for text in _drive(tokenizer, processor):
        assert re.fullmatch("[a-c]{3}", text)


def test_several_ends(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    """Any of the ids that end a text may end it, none before."""
    tokenizer = tokenizer_of("qwen2")
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    processor = grammar_processor({"type": "regex", "regex": "ab?"}, tokenizer, ends, len(tokenizer))
    assert processor is not None
    prompt = np.array([[4]])
    assert not {tokenizer.eos_token, "<|endoftext|>"} & _allowed(tokenizer, processor, prompt)
    a = np.array([[4, tokenizer.convert_tokens_to_ids("a")]])
    assert _allowed(tokenizer, processor, a) == {tokenizer.eos_token, "<|endoftext|>", "b"}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"type": "json"}, "type 'json' is not one of text, json_object"),
        ({"schema": {}}, "type None is not one of"),
        ("json_object", 'a dict with a "type"'),
        ({"type": "json_schema"}, 'needs "json_schema"'),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "thing"}}}, "thing"),
        ({"type": "object", "properties": 5}, "properties"),
        ({"type": "object", "properties": {"a": {1, 2}}}, "not JSON serializable"),
        ({"type": "regex"}, 'needs "regex": a str'),
        ({"type": "regex", "regex": "(a"}, "unclosed group"),
        ({"type": "regex", "regex": "a\ud800"}, '"regex" has a lone surrogate'),
        ({"type": "grammar", "grammar": 'start: "\udfff"'}, '"grammar" has a lone surrogate'),
        ({"type": "grammar", "grammar": "start: nothing"}, "nothing"),
    ],
)
def test_wrong_formats(tokenizer_of: Callable[[str], Tokenizer], wrong: Any, reason: str) -> None:
    """Refused at once, with llguidance's reason."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        _processor(tokenizer_of("qwen2"), wrong)


def test_no_grammar(tokenizer_of: Callable[[str], Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain text needs none; no end, or no llguidance, is said."""
    tokenizer = tokenizer_of("qwen2")
    assert grammar_processor(None, tokenizer, 2, 100) is None
    assert grammar_processor({"type": "text"}, tokenizer, 2, 100) is None
    with pytest.raises(ValueError, match="eos_token_id"):
        grammar_processor({"type": "json_object"}, tokenizer, [], 100)
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "onnxpipe\[grammar\]"'):
        grammar_processor({"type": "json_object"}, tokenizer, 2, 100)


def test_the_vocabulary_is_read_once(tokenizer_of: Callable[[str], Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes up to a second; it is built anew where tokens were added."""
    tokenizer, calls = tokenizer_of("gemma2"), []
    make = grammar._make_vocabulary
    monkeypatch.setattr(grammar, "_make_vocabulary", lambda *a: calls.append(1) or make(*a))
    for pattern in ("a", "b"):
        _processor(tokenizer, {"type": "regex", "regex": pattern}, more=77)
    assert len(calls) == 1


def test_what_tokens_cannot_spell(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    """T5 has no braces, and so no JSON: that is an error and no endless text."""
    tokenizer = tokenizer_of("t5")
    with pytest.raises(ValueError, match="cannot spell a text of this grammar"):
        _drive(tokenizer, _processor(tokenizer, SCHEMA))


def test_blanks_end(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    """A model that only ever wants newlines comes out of them."""
    tokenizer = tokenizer_of("llama")
    processor = _processor(tokenizer, {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"],
                                       "additionalProperties": False})  # fmt: skip
    newline = tokenizer.convert_tokens_to_ids("<0x0A>")
    scores = np.zeros((1, processor.vocab_size), np.float32)
    scores[0, newline], scores[0, tokenizer.eos_token_id] = 9, 5
    ids = np.array([[8]])
    for _ in range(400):
        ids = np.concatenate([ids, processor(ids, scores).argmax(axis=1)[:, None]], axis=1)
        if ids[0, -1] == tokenizer.eos_token_id:
            break
    assert json.loads(tokenizer.decode(ids[0, 1:], skip_special_tokens=True)) == {"a": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "json_schema", "json_schema": {"name": "n"}},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": None}},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": False}},
        {"type": "json_schema", "json_schema": {"schema": "x"}},
        {"type": "json_schema", "json_schema": {}},
        {"type": "json_schema", "json_schema": None},
        {"type": "json_schema", "json_schema": False},
        {"type": "json_schema", "schema": None},
        {"type": "json_schema", "schema": []},
        {"type": "json_schema"},
        {"type": "json_object", "schema": None},
        {"type": "json_object", "schema": False},
        {"type": "json_object", "properties": {}},
        {"type": "json_schema", "json_schema": SCHEMA, "shema": SCHEMA},
        {"type": "regex", "regex": "a", "flags": "i"},
        {"type": ["regex"], "regex": "a"},
    ],
)
def test_a_format_is_obeyed_or_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="response_format"):
        grammar.grammar_source(wrong)


def test_a_schema_beside_json_object_is_obeyed(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of("qwen2")
    for text in _drive(tokenizer, _processor(tokenizer, {"type": "json_object", "schema": SCHEMA})):
        _check_person(text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_prefers_blanks_ends_all_the_same(tokenizer_of: Callable[[str], Tokenizer], kind: str) -> None:
    names = ("is_happy", "is_old", "is_tall", "is_kind")
    schema = {"type": "object", "properties": {n: {"type": "boolean"} for n in names}, "required": list(names)}
    tokenizer = tokenizer_of(kind)
    processor = _processor(tokenizer, {**schema, "additionalProperties": False})
    blanks = [i for i, piece in tokenizer.pieces().items() if piece and not piece.strip()]
    ids = np.full((1, 4), 5)
    for _ in range(256):
        scores = np.zeros((1, processor.vocab_size), np.float32)
        scores[:, blanks] = 9
        token = int(processor(ids, scores)[0].argmax())
        if token == tokenizer.eos_token_id:
            break
        ids = np.append(ids, [[token]], axis=1)
    else:
        pytest.fail("only blanks")
    text = tokenizer.decode(ids[0, 4:], skip_special_tokens=True)
    assert json.loads(text).keys() == set(names)
    assert max(map(len, re.findall(r"\s+", text))) <= 4


OPEN = {"type": "object", "properties": {n: {"type": "boolean"} for n in ("sunny", "rainy", "windy", "cold")}}
OPEN["required"] = list(OPEN["properties"])  # additional properties are allowed, and a model may never stop to add them
NESTED = {
    "type": "object",
    "properties": {
        "words": {"type": "array", "items": {"type": "string", "minLength": 2}, "minItems": 2},
        "place": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"enum": ["up", "down"]}},
                  "required": ["x", "y"]},
        "day": {"type": "string", "pattern": "^[0-9]{4}-[a-f]{2}$"},
    },
    "required": ["words", "place", "day"],
}  # fmt: skip


def _within(
    tokenizer: Tokenizer, schema: Any, budget: int, seed: int, liked: Sequence[int] = ()
) -> tuple[str, GrammarProcessor, Any]:
    """Greedy text of random scores that stops after `budget` tokens, its processor, and its ids."""
    rng = np.random.default_rng(seed)
    processor = grammar_processor(schema, tokenizer, tokenizer.eos_token_id, len(tokenizer), 4 + budget)
    assert processor is not None
    ids = rng.integers(5, 300, (1, 4))
    while ids.shape[1] < 4 + budget:
        scores = rng.normal(size=(1, processor.vocab_size)).astype(np.float32)
        scores[:, tokenizer.eos_token_id] -= 9  # it never wants to end
        scores[:, list(liked)] += 9
        ids = np.append(ids, processor(ids, scores).argmax(axis=1)[:, None], axis=1)
        if ids[0, -1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(ids[0, 4:], skip_special_tokens=True), processor, ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schema", [OPEN, NESTED, {"type": "json_object"}], ids=["open", "nested", "object"])
def test_a_text_ends_within_its_tokens(tokenizer_of: Callable[[str], Tokenizer], kind: str, schema: Any) -> None:
    tokenizer = tokenizer_of(kind)
    for seed, budget in enumerate((90, 110, 256)):
        text, processor, ids = _within(tokenizer, schema, budget, seed)
        processor.check_finished(ids)
        assert json.loads(text).keys() >= set(schema.get("required", ()))


@pytest.mark.parametrize("wanted", [True, False])
def test_with_few_tokens_the_values_are_the_models(tokenizer_of: Callable[[str], Tokenizer], wanted: bool) -> None:
    tokenizer = tokenizer_of("qwen2")
    liked = [i for i, piece in tokenizer.pieces().items() if piece and piece in json.dumps(wanted).encode()]
    text, processor, ids = _within(tokenizer, OPEN, _shortest(tokenizer, OPEN) + 7, 0, liked)
    processor.check_finished(ids)
    assert [json.loads(text)[name] for name in OPEN["required"]] == [wanted] * 4


def _shortest(tokenizer: Tokenizer, schema: Any) -> int:
    processor = _processor(tokenizer, schema)
    return len(processor._finisher().plan(processor.root, [], 200) or [])


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_tokens_are_an_error(tokenizer_of: Callable[[str], Tokenizer], kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    text, processor, ids = _within(tokenizer, OPEN, 5, 0)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    with pytest.raises(UnfinishedAnswerError, match=r"cut off after 5 tokens, .* pass a larger"):
        processor.check_finished(ids)


def test_cut_answers_of_a_pipeline() -> None:
    """FakeCausal's tokens are letters, its scores random."""
    pipe = TextGenerationPipeline(FakeCausal(), letters(), task="text-generation")
    form = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    options = {"do_sample": False, "return_full_text": False, "response_format": form}
    for text in ("hello", "the cat"):
        (answer,) = pipe(text, max_new_tokens=24, **options)
        assert type(json.loads(answer["generated_text"])["a"]) is bool
        with pytest.raises(UnfinishedAnswerError, match="cut off after 6 tokens"):
            pipe(text, max_new_tokens=6, **options)
    answers = pipe(["hello", "the cat"], max_new_tokens=6, on_error="return", **options)
    assert [type(answer) for answer in answers] == [ItemError, ItemError]
    form = {"type": "regex", "regex": "a|bcdefgh"}
    answers = pipe(list("hello you"), max_new_tokens=3, on_error="return", **{**options, "response_format": form})
    assert all(answer == [{"generated_text": "a"}] for answer in answers)
    with pytest.raises(UnfinishedAnswerError):
        pipe("hello", max_new_tokens=40, stop_strings=['"a"'], **options)
