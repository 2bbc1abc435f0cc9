"""text-generation, text2text-generation, summarization and translation over models that are none."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from onnxpipe import (
    GenerationConfig,
    KeyDataset,
    PipelineIterator,
    SummarizationPipeline,
    Text2TextGenerationPipeline,
    TextGenerationPipeline,
    TranslationPipeline,
    check_task,
    get_supported_tasks,
    pipeline,
    set_seed,
)
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.text_generation import ReturnType
from unit.fakes import BOS, EOS, FIRST, LETTERS, PAD, TEMPLATE, FakeCausal, FakeSeq2Seq, tokenizer

BLANK = FIRST + LETTERS.index(" ")
GREEDY = {"do_sample": False, "max_new_tokens": 8}
PROMPTS = ["once upon a time", "hello", "a", "the cat sat on the mat, and the dog"]


def writer(template: str | None = None, *, pad: bool = True, bos: bool = False, config: Any = None, **kw: Any) -> Any:
    model = FakeCausal(config, **kw.pop("generation", {}))
    return TextGenerationPipeline(model, tokenizer(template=template, pad=pad, bos=bos), task="text-generation", **kw)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


# -- shapes ---
def test_shapes() -> None:
    pipe = writer()
    (record,) = pipe("hello", **GREEDY)
    assert list(record) == ["generated_text"]
    assert record["generated_text"].startswith("hello")
    assert len(record["generated_text"]) > 5
    assert pipe(["hello"], **GREEDY) == [[record]]
    assert pipe([], **GREEDY) == []
    assert len(pipe("hello", num_return_sequences=3, max_new_tokens=4, seed=0)) == 3
    assert pipe(text_inputs="hello", **GREEDY) == [record]


def test_streams_of_inputs() -> None:
    pipe = writer()
    expected = pipe(PROMPTS, **GREEDY)
    lazy = pipe((text for text in PROMPTS), **GREEDY)
    assert isinstance(lazy, PipelineIterator)
    assert list(lazy) == expected
    data = KeyDataset([{"t": text} for text in PROMPTS], "t")
    assert list(pipe(data, batch_size=2, **GREEDY)) == expected
    assert list(pipe(iter_of_nothing(), **GREEDY)) == []


def iter_of_nothing() -> Any:
    yield from ()


def test_what_comes_back() -> None:
    pipe = writer()
    full = pipe("hello", **GREEDY)[0]["generated_text"]
    assert pipe("hello", return_full_text=False, **GREEDY) == [{"generated_text": full[5:]}]
    assert pipe("hello", return_type=ReturnType.NEW_TEXT, **GREEDY) == [{"generated_text": full[5:]}]
    assert pipe("hello", return_text=False, **GREEDY) == [{"generated_text": full}]
    for flag in (True, False):
        (record,) = pipe("hello", return_tensors=flag, **GREEDY)
        ids = record["generated_token_ids"]
        assert type(ids) is list
        assert pipe.tokenizer.decode(ids, skip_special_tokens=True) == full
    quiet = writer(return_full_text=False)
    assert quiet("hello", **GREEDY) == [{"generated_text": full[5:]}]
    assert quiet("hello", return_full_text=True, **GREEDY) == [{"generated_text": full}]


def metaspace_writer() -> Any:
    """A writer whose decoder drops the blank before a first word, as SentencePiece's do."""
    pipe = writer(template=TEMPLATE)
    tokens = {token: i for token, i in pipe.tokenizer.get_vocab().items() if i >= FIRST and token != " "}
    backend = Backend(models.BPE({"<pad>": PAD, "<s>": BOS, "</s>": EOS, **tokens, "▁": BLANK}, []))
    backend.add_special_tokens(["<pad>", "<s>", "</s>"])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    pipe.tokenizer = Tokenizer(backend, TokenizerSettings(named, chat_template=TEMPLATE))
    return pipe


#: Words of one letter, each with its blank; a line end after every third.
WORDS = {"do_sample": False, "max_new_tokens": 14, "prefix_allowed_tokens_fn": lambda row, ids: _next_word(ids)}


def _next_word(ids: Any) -> list[int]:
    last, count = int(ids[-1]), int((ids == BLANK).sum())
    if last == BLANK:
        return [FIRST + LETTERS.index("x")]
    return [FIRST + LETTERS.index("\n")] if last != FIRST + LETTERS.index("\n") and count % 3 == 0 else [BLANK]


def test_the_blank_between_prompt_and_answer_is_kept() -> None:
    pipe = metaspace_writer()
    (full,) = pipe("the dog", **WORDS)
    assert full["generated_text"] == "the dog x\n x x x\n x x"
    (new,) = pipe("the dog", return_full_text=False, **WORDS)
    assert new["generated_text"] == " x\n x x x\n x x"
    assert "".join(pipe.stream("the dog", **WORDS)) == new["generated_text"]


def test_a_continued_message_keeps_its_blank_and_a_new_one_has_none() -> None:
    pipe = metaspace_writer()
    begun = [user("hi"), {"role": "assistant", "content": "the dog"}]
    plain = {**WORDS, "prefix_allowed_tokens_fn": lambda row, ids: [BLANK] if ids[-1] != BLANK else [FIRST]}
    (record,) = pipe(begun, continue_final_message=True, **plain)
    assert record["generated_text"][-1]["content"] == "the dog" + " a" * 7
    assert "".join(pipe.stream(begun, continue_final_message=True, **plain)) == " a" * 7
    (record,) = pipe([user("hi")], **plain)
    assert record["generated_text"][-1]["content"] == "a" + " a" * 6
    assert "".join(pipe.stream([user("hi")], **plain)) == "a" + " a" * 6


@pytest.mark.parametrize("pair", [("return_full_text", "return_text"), ("return_full_text", "return_tensors"),
                                  ("return_tensors", "return_text")])  # fmt: skip
def test_contradictions(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="mutually exclusive"):
        writer()("hello", **dict.fromkeys(pair, True))


# -- alone as in a batch ---
@pytest.mark.parametrize(
    "params",
    [
        {"max_new_tokens": 12},
        {"max_new_tokens": 12, "num_beams": 3, "num_return_sequences": 2},
        {"max_length": 45},
        {"max_new_tokens": 40, "min_length": 41},
        {"max_new_tokens": 9, "no_repeat_ngram_size": 1},
        {"max_new_tokens": 9, "stop_sequence": ["a", "b"]},
        {"max_new_tokens": 9, "do_sample": True, "seed": 3},
        {"max_new_tokens": 9, "do_sample": True, "seed": 3, "num_return_sequences": 3},
    ],
)
@pytest.mark.parametrize("pad", [True, False])
def test_alone_as_in_a_batch(params: dict[str, Any], pad: bool) -> None:
    pipe = writer(pad=pad)
    params = {"do_sample": False, "return_tensors": True, **params}
    together = pipe(PROMPTS, **params)
    if "seed" not in params:
        assert together == [pipe(text, **params) for text in PROMPTS]
    if pad:
        assert pipe(PROMPTS, batch_size=4, **params) == together
    assert pipe(PROMPTS, batch_size=1, **params) == together
    assert len({len(ids["generated_token_ids"]) for answer in together for ids in answer}) > 1


def test_rows_share_batches_and_right_padding_is_turned() -> None:
    pipe = writer()
    assert pipe.tokenizer.padding_side == "left"
    pipe(PROMPTS, **GREEDY)
    assert len(pipe.model.calls) == 1
    assert pipe.model.calls[0]["input_ids"].shape == (4, len(PROMPTS[3]))
    assert (pipe.model.calls[0]["attention_mask"].sum(1) == sorted(map(len, PROMPTS), reverse=True)).all()


def test_explicit_batches_need_a_padding_token() -> None:
    pipe = writer(pad=False)
    with pytest.raises(ValueError, match="without pad_token"):
        pipe(PROMPTS, batch_size=2)
    pipe.tokenizer.pad_token_id = EOS
    assert len(pipe(PROMPTS, batch_size=2, **GREEDY)) == 4


def test_the_cost_of_a_row_holds_what_will_be_written() -> None:
    pipe = writer()
    pipe(["hello"] * 40, do_sample=False, max_new_tokens=500)
    assert [len(call["input_ids"]) for call in pipe.model.calls] == [16, 16, 8]


# -- seeds ---
def test_seeds() -> None:
    pipe = writer()
    kw = {"max_new_tokens": 6, "temperature": 5.0}
    assert pipe(PROMPTS, seed=1, **kw) == pipe(PROMPTS, seed=1, **kw)
    assert pipe(PROMPTS, seed=1, **kw) != pipe(PROMPTS, seed=2, **kw)
    same = pipe(["hello"] * 3, seed=1, **kw)
    assert len({answer[0]["generated_text"] for answer in same}) == 3  # each place has a stream of its own
    assert same[0] == pipe("hello", seed=1, **kw)
    ids = pipe.model.generate(input_ids=np.array([pipe.tokenizer("hello")["input_ids"]]), do_sample=True, seed=1, **kw)
    assert pipe.tokenizer.decode(ids[0], skip_special_tokens=True) == same[0][0]["generated_text"]
    set_seed(4)
    first = pipe(PROMPTS, **kw)
    assert pipe(PROMPTS, **kw) != first
    set_seed(4)
    assert pipe(PROMPTS, batch_size=1, **kw) == first
    assert writer(seed=7)("hello", **kw) == writer()("hello", seed=7, **kw)


# -- where parameters come from ---
def test_defaults() -> None:
    pipe = writer()
    pipe("hello", seed=0)
    call = pipe.model.calls[-1]
    assert (call["max_new_tokens"], call["do_sample"], call["temperature"], call["pad_token_id"]) == (256, True, 0.7, 0)
    pipe("hello", do_sample=False, max_length=9)
    call = pipe.model.calls[-1]
    assert "max_new_tokens" not in call
    assert "temperature" not in call
    own = writer(generation={"max_length": 12, "do_sample": False})
    assert len(own("hello", return_tensors=True)[0]["generated_token_ids"]) <= 12


def test_constructor_and_call() -> None:
    pipe = writer(max_new_tokens=3, do_sample=False)
    assert len(pipe("hello", return_full_text=False)[0]["generated_text"]) == 3
    assert len(pipe("hello", return_full_text=False, max_new_tokens=4)[0]["generated_text"]) == 4
    pipe("hello", generation_config=GenerationConfig(do_sample=False))
    config = pipe.model.calls[-1]["generation_config"]
    assert (config.max_new_tokens, config.pad_token_id) == (256, PAD)  # the constructor's 3 is replaced
    mine = GenerationConfig(do_sample=False, max_length=7)
    assert pipe("hello", generation_config=mine)[0]["generated_text"].startswith("hello")
    assert mine.max_new_tokens is None


def test_the_config_that_users_of_version_4_look_at() -> None:
    pipe = writer(max_new_tokens=3, do_sample=False)
    assert (pipe.generation_config.max_new_tokens, pipe.generation_config.do_sample) == (3, False)
    pipe.generation_config.max_new_tokens = 4
    assert len(pipe("hello", return_full_text=False)[0]["generated_text"]) == 4
    assert len(pipe("hello", return_full_text=False, max_new_tokens=2)[0]["generated_text"]) == 2
    assert maker().generation_config.num_beams == 4
    assert "'output_modalities': ('text',)" in repr(pipe)


def test_unknown_keywords() -> None:
    with pytest.raises(
        ValueError, match=r"`model_kwargs` are not used by the model: \['max_new_tokenz'\].*max_new_tokens"
    ):
        writer()("hello", max_new_tokenz=3)
    with pytest.raises(ValueError, match="not used by the model"):
        writer(bogus=1)
    with pytest.raises(ValueError, match="handle_long_generation"):
        writer()("hello", handle_long_generation="cut")
    with pytest.raises(ValueError, match="choose one of"):
        writer()("hello", return_type=0)


@pytest.mark.parametrize("value", [3, [["a", "b"]], [{"a": 1}], ("a", "b"), [3]])
def test_wrong_inputs(value: Any) -> None:
    with pytest.raises(TypeError):
        writer()(value, **GREEDY)


def test_one_bad_input_of_many() -> None:
    found = writer()(["hello", 3, "a"], on_error="return", **GREEDY)
    assert isinstance(found[1].error, TypeError)
    assert found[0] == writer()("hello", **GREEDY)


def test_greedy_cannot_return_several() -> None:
    with pytest.raises(ValueError, match="Greedy methods"):
        writer()("hello", num_return_sequences=2, do_sample=False)


# -- prompts ---
def test_an_empty_prompt_begins_with_the_first_token() -> None:
    pipe = writer()
    (record,) = pipe("", return_tensors=True, **GREEDY)
    assert record["generated_token_ids"][0] == BOS
    full, mixed = pipe("", **GREEDY), pipe(["", "hello"], **GREEDY)
    assert mixed[0] == full
    assert full[0]["generated_text"]
    nothing = writer(generation={"bos_token_id": None})
    nothing.model.generation_config.bos_token_id = None
    with pytest.raises(ValueError, match="bos_token_id"):
        nothing("", **GREEDY)


def test_prefix() -> None:
    pipe = writer()
    whole = pipe("once hello", **GREEDY)[0]["generated_text"]
    assert pipe("hello", prefix="once ", **GREEDY)[0]["generated_text"] == whole[5:]
    from_config = writer(config={"prefix": "once "})
    assert from_config("hello", **GREEDY)[0]["generated_text"] == whole[5:]
    assert from_config("hello", prefix="", **GREEDY) == writer()("hello", **GREEDY)
    pipe("hello", prefix="once ", do_sample=False, max_length=9)
    assert pipe.model.calls[-1]["max_length"] == 14


def test_a_hole_in_a_long_prompt() -> None:
    pipe = writer()
    pipe.tokenizer.model_max_length = 10
    kw = {"handle_long_generation": "hole", "do_sample": False}
    pipe("abcdefghijkl", max_new_tokens=4, **kw)
    ids = pipe.model.calls[-1]["input_ids"]
    assert pipe.tokenizer.decode(ids[0]) == "ghijkl"
    text = pipe("abcdefghijkl", max_new_tokens=4, **kw)[0]["generated_text"]
    assert text.startswith("abcdefghijkl")
    with pytest.raises(ValueError, match="cannot use `hole`"):
        pipe("abcdefghijkl", max_new_tokens=20, **kw)
    with pytest.raises(ValueError, match="cannot infer"):
        pipe("abcdefghijkl", max_length=5, truncation=False, **kw)


def test_the_tokenizers_call() -> None:
    pipe = writer(bos=True)
    pipe("hello", **GREEDY)
    assert pipe.model.calls[-1]["input_ids"].tolist()[0][0] == BOS
    pipe("hello", add_special_tokens=False, **GREEDY)
    assert len(pipe.model.calls[-1]["input_ids"][0]) == 5
    pipe("hello", truncation=True, tokenizer_encode_kwargs={"max_length": 3}, **GREEDY)
    assert len(pipe.model.calls[-1]["input_ids"][0]) == 3
    pipe("hello", padding="max_length", tokenizer_encode_kwargs={"max_length": 9}, **GREEDY)
    assert pipe.model.calls[-1]["attention_mask"].tolist() == [[0, 0, 0, 1, 1, 1, 1, 1, 1]]
    with pytest.raises(ValueError, match="Input length of input_ids is 3"):
        pipe("hello", max_length=3, do_sample=False)  # the tokenizer cuts there too


def test_stop_sequence() -> None:
    pipe = writer()
    text = pipe("hello", return_full_text=False, **GREEDY)[0]["generated_text"]
    stop = text[2:4]
    for given in (stop, [stop]):
        found = pipe("hello", stop_sequence=given, return_full_text=False, **GREEDY)
        assert found == [{"generated_text": text[: text.index(stop) + 2]}]
    with pytest.raises(ValueError, match="tokenizer"):
        pipe("hello", stop_strings=[stop], **GREEDY)
    assert pipe("hello", stop_strings=[stop], tokenizer=pipe.tokenizer, return_full_text=False, **GREEDY) == found


def test_special_tokens_in_text() -> None:
    pipe = writer()
    text = pipe("hello", max_new_tokens=200, do_sample=False)[0]["generated_text"]
    assert pipe("hello", max_new_tokens=200, do_sample=False, skip_special_tokens=False) == [
        {"generated_text": text + "</s>"}
    ]


# -- extras ---
def test_extras() -> None:
    kw = {"return_dict_in_generate": True, "output_scores": True, "max_new_tokens": 3, "do_sample": False}
    pipe = writer()
    (record,) = pipe("hello", **kw)
    assert list(record) == ["generated_text", "scores"]
    assert np.shape(record["scores"]) == (3, len(LETTERS) + 3)
    assert pipe(["hello", "a"], **kw)[0] == [record]
    (first, second) = pipe("hello", num_beams=2, num_return_sequences=2, **kw)
    assert first["sequences_scores"] >= second["sequences_scores"]
    assert isinstance(first["sequences_scores"], float)


# -- chats ---
def test_chats() -> None:
    pipe = writer(TEMPLATE)
    said = [user("hello")]
    (record,) = pipe(said, **GREEDY)
    *before, answer = record["generated_text"]
    assert before == said
    assert list(answer) == ["role", "content"]
    assert answer["role"] == "assistant"
    assert pipe.tokenizer.decode(pipe.model.calls[-1]["input_ids"][0]) == "u:hello|a:"
    assert pipe(tuple(said), **GREEDY) == [record]
    assert pipe([said, [user("a")]], **GREEDY)[0] == [record]
    assert pipe([said], **GREEDY) == [[record]]
    assert list(pipe((chat for chat in [said, said]), **GREEDY)) == [[record]] * 2
    assert pipe((message for message in said), **GREEDY) == [record]
    assert pipe(KeyDataset([{"c": said}], "c"), **GREEDY) == [[record]]
    assert pipe(KeyDataset([{"c": said[0]}], "c"), **GREEDY) == [record]
    assert pipe(said, return_full_text=False, **GREEDY) == [{"generated_text": answer["content"]}]


def test_a_chat_goes_on_in_its_last_message() -> None:
    pipe = writer(TEMPLATE)
    said = [user("hello"), {"role": "assistant", "content": "well"}]
    (record,) = pipe(said, **GREEDY)
    assert len(record["generated_text"]) == 2
    assert record["generated_text"][1]["content"].startswith("well")
    assert pipe.tokenizer.decode(pipe.model.calls[-1]["input_ids"][0]) == "u:hello|a:well"
    (anew,) = pipe(said, continue_final_message=False, **GREEDY)
    assert len(anew["generated_text"]) == 3
    (continued,) = pipe([user("hello")], continue_final_message=True, **GREEDY)
    assert continued["generated_text"][0]["content"].startswith("hello")
    assert said[1]["content"] == "well"


def test_what_templates_get() -> None:
    template = "{{ tools | length }} {{ documents[0]['text'] }} {{ tone }}"
    pipe = writer(template)
    pipe(
        [user("hello")],
        tools=[{"type": "function", "function": {"name": "f"}}],
        documents=[{"title": "t", "text": "d"}],
        tokenizer_encode_kwargs={"tone": "low"},
        add_special_tokens=True,
        **GREEDY,
    )
    assert pipe.tokenizer.decode(pipe.model.calls[-1]["input_ids"][0]) == "1 d low"


def test_chats_that_are_none() -> None:
    with pytest.raises(ValueError, match="chat_template is not set"):
        writer()([user("hello")], **GREEDY)
    with pytest.raises(ValueError, match="'role' and 'content'"):
        writer(TEMPLATE)([user("hello"), {"role": "user"}], **GREEDY)


# -- text as it comes ---
def test_stream() -> None:
    pipe = writer()
    kw = {"max_new_tokens": 30, "do_sample": False}
    pieces = list(pipe.stream("hello", **kw))
    assert len(pieces) > 1
    assert "hello" + "".join(pieces) == pipe("hello", **kw)[0]["generated_text"]
    chat = writer(TEMPLATE)
    written = "".join(chat.stream([user("hello")], **kw))
    assert written == chat([user("hello")], return_full_text=False, **kw)[0]["generated_text"]


def test_the_first_piece_comes_before_the_last_token(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = writer()
    scores, read, waited = pipe.model.scores, threading.Event(), []

    def scores_of_a_model_that_waits(rows: Any) -> Any:
        if pipe.model.steps > 30:  # half of the tokens: it goes on when the first piece was read
            waited.append(read.wait(60))
        return scores(rows)

    monkeypatch.setattr(pipe.model, "scores", scores_of_a_model_that_waits)
    pieces = pipe.stream("hello", max_new_tokens=60, do_sample=True, temperature=30.0, seed=1, eos_token_id=None)
    next(pieces)
    read.set()
    assert list(pieces)
    assert waited and all(waited)


def test_closing_a_stream_stops_the_model() -> None:
    pipe = writer()
    pipe.model.pause = 0.01
    pieces = pipe.stream("hello", max_new_tokens=10_000, do_sample=True, temperature=30.0, eos_token_id=None)
    next(pieces)
    pieces.close()
    assert pipe.model.steps < 5_000
    assert not [each for each in threading.enumerate() if each.name == "onnxpipe-stream"]


def test_errors_reach_the_reader() -> None:
    pipe = writer()
    pipe.model.fail_after = 6
    found: list[str] = []
    with pytest.raises(RuntimeError, match="the model broke"):
        found.extend(pipe.stream("hello", max_new_tokens=40, do_sample=True, temperature=30.0, eos_token_id=None))
    with pytest.raises(ValueError, match="not used by the model"):
        writer().stream("hello", bogus=1)
    with pytest.raises(ValueError, match="one text at a time"):
        writer().stream(["a", "b"])
    with pytest.raises(ValueError, match="num_beams"):
        list(writer().stream("hello", num_beams=2, max_new_tokens=3))


def test_can_stream() -> None:
    pipe = writer()
    assert pipe.can_stream(max_new_tokens=3)
    assert not pipe.can_stream(num_beams=2)
    assert not pipe.can_stream(return_tensors=True)
    assert not writer(generation={"num_beams": 4}).can_stream()


def test_a_streamer_of_the_users_own() -> None:
    class Log:
        def __init__(self) -> None:
            self.put_ids: list[Any] = []
            self.ended = 0

        def put(self, value: Any) -> None:
            self.put_ids.append(np.asarray(value).reshape(-1).tolist())

        def end(self) -> None:
            self.ended += 1

    log, pipe = Log(), writer()
    answers = pipe(["hello", "a"], streamer=log, return_tensors=True, **GREEDY)  # one after the other
    assert log.ended == 2
    assert [token for ids in log.put_ids for token in ids] == [
        token for (record,) in answers for token in record["generated_token_ids"]
    ]


def test_what_needs_one_prompt_at_a_time() -> None:
    seen: list[int] = []

    def allowed(batch: int, ids: Any) -> list[int]:
        seen.append(batch)
        return list(range(3, 10))

    pipe = writer()
    found = pipe(PROMPTS, prefix_allowed_tokens_fn=allowed, return_full_text=False, **GREEDY)
    assert set(seen) == {0}
    assert all(set(answer[0]["generated_text"]) <= set("abcdefg") for answer in found)
    plain = pipe(PROMPTS, **GREEDY)
    assert pipe(PROMPTS, prompt_lookup_num_tokens=2, **GREEDY) == plain
    helped = TextGenerationPipeline(FakeCausal(), tokenizer(), task="text-generation", assistant_model=FakeCausal())
    assert helped(PROMPTS, **GREEDY) == plain
    with pytest.raises(ValueError, match="different tokenizer"):
        TextGenerationPipeline(FakeCausal(), tokenizer(), assistant_model=FakeCausal({"vocab_size": 9}))


# -- encoder-decoders ---
def maker(
    cls: Any = Text2TextGenerationPipeline, task: str = "text2text-generation", config: Any = None, **kw: Any
) -> Any:
    return cls(FakeSeq2Seq(config, **kw.pop("generation", {})), tokenizer(), task=task, **kw)


def test_text2text_shapes() -> None:
    pipe = maker(max_new_tokens=6)
    (record,) = pipe("hello")
    assert list(record) == ["generated_text"]
    assert pipe(["hello", "a"])[0] == record
    assert pipe(["hello"]) == [record]
    assert [len(answer) for answer in pipe(["hello", "a"], num_return_sequences=2)] == [2, 2]
    assert list(pipe(text for text in ["hello"])) == [[record]]
    assert pipe([["hello", "a longer one"]]) == [[record]]
    (ids,) = pipe("hello", return_tensors=True)
    assert list(ids) == ["generated_token_ids"]
    assert isinstance(ids["generated_token_ids"], np.ndarray)
    assert ids["generated_token_ids"][0] == PAD  # the decoder's start
    assert pipe("hello", "ignored") == [record]
    assert pipe([]) == []
    call = pipe.model.calls[0]
    assert (call["num_beams"], call["max_new_tokens"]) == (4, 6)


@pytest.mark.parametrize("value", [3, [3], {"text": "a"}])
def test_text2text_refuses(value: Any) -> None:
    with pytest.raises(TypeError, match="wrong format"):
        maker()(value)


def test_text2text_alone_as_in_a_batch() -> None:
    pipe = maker(max_new_tokens=9)
    for kw in ({}, {"num_beams": 1}, {"num_return_sequences": 3}, {"encoder_no_repeat_ngram_size": 1}):
        together = pipe(PROMPTS, return_tensors=True, **kw)
        for text, answer in zip(PROMPTS, together, strict=True):
            alone = pipe(text, return_tensors=True, **kw)
            mine = answer if isinstance(answer, list) else [answer]
            for a, b in zip(alone, mine, strict=True):
                assert a["generated_token_ids"].tolist() == b["generated_token_ids"].tolist()


def test_bad_texts_of_many() -> None:
    found = maker(max_new_tokens=3)(["hello", "a"], on_error="return")
    assert isinstance(found[0], dict)
    pipe = maker(max_new_tokens=3)
    pipe.model.fail_after = 0
    assert isinstance(pipe(["hello"], on_error="return")[0].error, RuntimeError)


def test_stop_sequence_is_its_first_token() -> None:
    pipe = maker(num_beams=1, max_new_tokens=20)
    text = pipe("hello", eos_token_id=None)[0]["generated_text"]
    with pytest.warns(UserWarning, match="multiple token sequence"):
        found = pipe("hello", stop_sequence=text[1:3])
    assert found[0]["generated_text"] == text[: text.index(text[1]) + 1]


def test_task_specific_params() -> None:
    config = {"task_specific_params": {
        "summarization": {"prefix": "short: ", "max_length": 9, "num_beams": 2},
        "translation_en_to_fr": {"prefix": "french: ", "max_length": 300},
    }}  # fmt: skip
    pipe = maker(SummarizationPipeline, "summarization", config)
    (record,) = pipe("hello")
    assert list(record) == ["summary_text"]
    call = pipe.model.calls[-1]
    assert pipe.tokenizer.decode(call["input_ids"][0]) == "short: hello"
    assert (call["num_beams"], call["max_length"], "max_new_tokens" in call) == (2, 9, False)
    pipe("hello", num_beams=1, max_length=5)
    assert (pipe.model.calls[-1]["num_beams"], pipe.model.calls[-1]["max_length"]) == (1, 5)
    assert maker(SummarizationPipeline, "summarization", config).prefix == "short: "
    assert maker(TranslationPipeline, "translation_en_to_fr", config).prefix == "french: "
    assert maker(config=config).prefix is None
    pipe("hello", max_new_tokens=5)
    assert "max_length" not in pipe.model.calls[-1]  # the user's length replaces the config's, whichever form it has
    pipe("hello", generation_config=GenerationConfig(max_new_tokens=3))
    call = pipe.model.calls[-1]
    assert "num_beams" not in call
    assert call["generation_config"].num_beams is None


def test_four_beams_whatever_the_model_says() -> None:
    for kw, beams in (({}, 4), ({"num_beams": 2}, 2)):
        pipe = maker(generation={"num_beams": 5}, max_new_tokens=3, **kw)
        pipe("hello")
        assert pipe.model.calls[-1]["num_beams"] == beams
    pipe("hello", generation_config=GenerationConfig(max_new_tokens=3))
    assert "num_beams" not in pipe.model.calls[-1]


def test_lengths_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    pipe = maker(SummarizationPipeline, "summarization")
    pipe(documents="hello")
    assert not caplog.records
    pipe(["hello", "hello"], max_length=20, min_length=30)
    text = caplog.text
    assert text.count("must be inferior") == 1
    assert text.count("your input_length is only 5") == 1
    assert "max_length=2)" in text
    caplog.clear()
    maker(TranslationPipeline, "translation")("hello", max_length=5)
    assert "bigger than 0.9 * max_length: 5" in caplog.text


def test_lengths_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    config = {"task_specific_params": {"summarization": {"max_length": 60}, "translation": {"max_length": 4}}}
    maker(SummarizationPipeline, "summarization", config)("hello", max_new_tokens=5)  # the limit that holds is 5
    maker(TranslationPipeline, "translation", config)("hello", max_new_tokens=5)
    assert "seem to have been set" not in caplog.text
    for text in ("", "a", "abc"):  # half of it is no length to propose
        maker(SummarizationPipeline, "summarization", config)(text)
    assert "Your" not in caplog.text


def test_a_text_that_is_too_long() -> None:
    class Short(FakeSeq2Seq):
        def start(self, prompt: Any, inputs: Any, **kw: Any) -> Any:
            if inputs["input_ids"].shape[1] > 8:
                raise RuntimeError("Gather: index out of bounds")
            return super().start(prompt, inputs, **kw)

    pipe = Text2TextGenerationPipeline(Short({"max_position_embeddings": 8}), tokenizer(), max_new_tokens=3)
    with pytest.raises(ValueError, match=r"11 tokens and the model takes at most 8: pass truncation=True"):
        pipe("hello world")
    pipe.tokenizer.model_max_length = 8
    assert pipe("hello world", truncation=True)


# -- translation ---
class Linguist:
    """A tokenizer of several languages."""

    def __init__(self) -> None:
        self.inner = tokenizer()
        self.languages: list[tuple[Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, *args: Any, **kw: Any) -> Any:
        return self.inner(*args, **kw)

    def _build_translation_inputs(self, text: str, return_tensors: Any, src_lang: Any, tgt_lang: Any, **kw: Any) -> Any:
        if src_lang is None or tgt_lang is None:
            raise ValueError("Translation requires a `src_lang` and a `tgt_lang` for this model")
        self.languages.append((src_lang, tgt_lang))
        found = self.inner(text, return_tensors=return_tensors, **kw)
        found["forced_bos_token_id"] = 3 + LETTERS.index(tgt_lang[0])
        return found


def test_languages() -> None:
    pipe = TranslationPipeline(FakeSeq2Seq(), Linguist(), task="translation_en_to_fr", max_new_tokens=5)
    (record,) = pipe("hello")
    assert record["translation_text"][0] == "f"
    assert pipe("hello", tgt_lang="de", src_lang="en")[0]["translation_text"][0] == "d"
    assert pipe(["hello", "a cat"], tgt_lang="de", src_lang="en")[1]["translation_text"][0] == "d"
    assert pipe.tokenizer.languages[:2] == [("en", "fr"), ("en", "de")]
    plain = TranslationPipeline(FakeSeq2Seq(), Linguist(), task="translation", max_new_tokens=5)
    with pytest.raises(ValueError, match="`src_lang` and a `tgt_lang`"):
        plain("hello")
    assert TranslationPipeline(
        FakeSeq2Seq(), Linguist(), task="translation", src_lang="en", tgt_lang="ro", max_new_tokens=5
    )("hello")[0]["translation_text"].startswith("r")
    one_pair = TranslationPipeline(FakeSeq2Seq(), tokenizer(), task="translation", max_new_tokens=5)
    assert one_pair("hello", src_lang="x", tgt_lang="y") == one_pair("hello")


# -- names ---
def test_names_of_tasks() -> None:
    assert check_task("translation_en_to_fr")[::2] == ("translation", ("en", "fr"))
    assert check_task("translation")[::2] == ("translation", None)
    for task in ("text-generation", "text2text-generation", "summarization", "translation"):
        assert task in get_supported_tasks()
    for wrong in ("translation_en_fr", "translation_en_to", "translation_eng_Latn_to_fra_Latn"):
        with pytest.raises(KeyError, match="use 'translation_XX_to_YY' format"):
            check_task(wrong)
    with pytest.raises(KeyError, match="translation_XX_to_YY"):
        check_task("no-such-task")


def test_defaults_of_translation() -> None:
    with pytest.raises(ValueError, match=r"default models for options \('en', 'es'\)"):
        pipeline("translation_en_to_es")
    with pytest.raises(ValueError, match="You probably meant"):
        pipeline("translation")


def test_models_of_another_kind() -> None:
    with pytest.raises(ValueError, match="does not generate"):
        TextGenerationPipeline(SimpleNamespace(can_generate=lambda: False, name_or_path="bert"), tokenizer())
