"""OpenAI's shapes of text: chats, completions, embeddings, whole and streamed."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")
from onnxpipe import pipeline
from onnxpipe.serving.texts import StopHolder
from onnxpipe.serving.tool_calls import may_be_call, parse_calls
from unit.fakes import EOS, TEMPLATE, tokenizer
from unit.serving.stubs import client, sentiment, writer
from unit.tasks.test_embedding import folder

CHAT = [{"role": "user", "content": "hi"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:,x"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def web() -> Any:
    return client({"w": writer()})


def ask(web: Any, **fields: Any) -> Any:
    body = {"messages": CHAT, "temperature": 0, "max_tokens": 12, **fields}
    return web.post("/v1/chat/completions", json={name: value for name, value in body.items() if value is not None})


def events(answer: Any) -> list[Any]:
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def own(value: Any, **options: Any) -> str:
    answer = writer()(value, return_full_text=False, **{"do_sample": False, "max_new_tokens": 12, **options})
    return answer[0]["generated_text"]


def test_a_chat(web: Any) -> None:
    answer = ask(web).json()
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": own(CHAT), "refusal": None}
    assert choice["finish_reason"] == "length" and answer["object"] == "chat.completion" and answer["model"] == "w"
    prompt = len(tokenizer(template=TEMPLATE).apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"])
    assert answer["usage"]["prompt_tokens"] == prompt and answer["usage"]["completion_tokens"] == 12
    parts = [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}]
    assert ask(web, messages=parts, model="dummy").json()["choices"] == answer["choices"]


def test_a_streamed_chat_is_the_same(web: Any) -> None:
    chunks = events(ask(web, stream=True, stream_options={"include_usage": True}))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(each["choices"][0]["delta"].get("content", "") for each in chunks[:-1])
    assert text == own(CHAT)
    assert chunks[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 12
    assert len({each["id"] for each in chunks}) == 1


def test_sampling_several_answers_and_seeds(web: Any) -> None:
    answers = ask(web, temperature=1, n=3, seed=5).json()["choices"]
    expected = writer()(CHAT, return_full_text=False, num_return_sequences=3, seed=5, do_sample=True, temperature=1,
                        max_new_tokens=12)  # fmt: skip
    assert [each["message"]["content"] for each in answers] == [each["generated_text"] for each in expected]
    greedy = ask(web, n=2).json()["choices"]
    assert [each["index"] for each in greedy] == [0, 1] and len({each["message"]["content"] for each in greedy}) == 1


def joined(chunks: list[Any], part: Callable[[Any], str]) -> dict[int, tuple[str, str, Any]]:
    """The texts of a stream by their index, with why they ended and their log-probabilities."""
    found: dict[int, tuple[str, str, Any]] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        index = choice["index"]
        text, reason, logprobs = found.get(index, ("", None, None))
        assert reason is None  # nothing follows
        found[index] = (text + part(choice), choice["finish_reason"], choice["logprobs"] or logprobs)
    return found


@pytest.mark.parametrize("more", [{"temperature": 1.5, "seed": 5}, {"temperature": 0}, {"stop": ["e"], "seed": 5}])
@pytest.mark.parametrize("slots", [0, 8])
def test_a_stream_of_several_answers_is_the_same(slots: int, more: dict[str, Any]) -> None:
    web = client({"w": writer()}, slots=slots)
    fields = {"n": 3, "max_tokens": 60, "logprobs": True, **more}
    answer = ask(web, **fields).json()
    whole = {c["index"]: (c["message"]["content"], c["finish_reason"], c["logprobs"]) for c in answer["choices"]}
    chunks = events(ask(web, **fields, stream=True, stream_options={"include_usage": True}))
    assert joined(chunks, lambda choice: choice["delta"].get("content", "")) == whole
    assert [each["choices"][0]["delta"].get("role") for each in chunks[:3]] == ["assistant"] * 3
    assert chunks[-1]["usage"] == answer["usage"]


def test_several_answers_count_their_own_tokens(web: Any) -> None:
    answer = ask(web, n=3, max_tokens=60, temperature=1.5, seed=5, logprobs=True).json()
    ended = [each for each in answer["choices"] if each["finish_reason"] == "stop"]
    assert ended and len({len(each["message"]["content"]) for each in answer["choices"]}) == 3
    counted = [len(each["message"]["content"]) + (each in ended) for each in answer["choices"]]  # with the end token
    assert [len(each["logprobs"]["content"]) for each in answer["choices"]] == counted
    assert answer["usage"]["completion_tokens"] == sum(counted)


def test_stop_strings_are_never_sent_even_in_part(web: Any) -> None:
    whole = own(CHAT, max_new_tokens=40)
    stop = whole[6:9]
    expected = whole[: whole.index(stop)]
    answer = ask(web, max_tokens=40, stop=[stop]).json()["choices"][0]
    assert answer["message"]["content"] == expected and answer["finish_reason"] == "stop"
    chunks = events(ask(web, max_tokens=40, stop=stop, stream=True))
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in chunks) == expected
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_text_that_may_begin_a_stop_string_is_held_back() -> None:
    holder = StopHolder(["STOP", "end"])
    assert [holder.add(piece) for piece in ("a S", "T", "x e", "n", "d y")] == ["a ", "", "STx ", "", ""]
    assert holder.hit and holder.end() == ""
    holder = StopHolder(["STOP"])
    assert holder.add("aSTO") == "a" and holder.end() == "STO"


def test_logprobs(web: Any) -> None:
    answer = ask(web, logprobs=True, top_logprobs=3, max_tokens=4).json()["choices"][0]
    content = answer["logprobs"]["content"]
    assert "".join(each["token"] for each in content) == answer["message"]["content"] and len(content) == 4
    for each in content:
        assert each["logprob"] == each["top_logprobs"][0]["logprob"] < 0  # greedy: the best
        assert [top["logprob"] for top in each["top_logprobs"]] == sorted(
            (t["logprob"] for t in each["top_logprobs"]), reverse=True
        )
        assert sum(math.exp(top["logprob"]) for top in each["top_logprobs"]) <= 1


def test_penalties_and_biases(web: Any) -> None:
    plain = ask(web, max_tokens=30).json()["choices"][0]["message"]["content"]
    assert len(
        set(ask(web, max_tokens=30, frequency_penalty=2, presence_penalty=2).json()["choices"][0]["message"]["content"])
    ) >= len(set(plain))
    letter = tokenizer()("q", add_special_tokens=False)["input_ids"][0]
    assert ask(web, logit_bias={str(letter): 100}).json()["choices"][0]["message"]["content"] == "q" * 12
    assert ask(web, logit_bias={"100000": 1}).status_code == 400


def test_tools_are_found_in_what_models_write() -> None:
    names = ["look"]
    for text in (
        '<tool_call>\n{"name": "look", "arguments": {"a": 1}}\n</tool_call>',
        '[TOOL_CALLS][{"name": "look", "arguments": {"a": 1}}]', '[{"name": "look", "arguments": {"a": 1}}]',
        '<|python_tag|>{"name": "look", "parameters": {"a": 1}}', '{"name": "look", "parameters": {"a": 1}}',
        '{"type": "function", "function": {"name": "look", "arguments": {"a": 1}}}',
    ):  # fmt: skip
        said, calls = parse_calls(text, names)
        assert said == "" and [(call.name, json.loads(call.arguments)) for call in calls] == [("look", {"a": 1})]
    said, calls = parse_calls('Wait. <tool_call>{"name": "look", "arguments": {}}</tool_call>', names)
    assert said == "Wait." and len(calls) == 1
    for text in ("hello", '{"a": 1}', '{"name": "other", "arguments": {}}', "[1, 2]", "{broken", "[" * 5000):
        assert parse_calls(text, names) == (text, [])
    assert may_be_call("  {") and may_be_call("well <tool_") and not may_be_call("well, 1 < 2")


def scripted(text: str) -> Any:
    """A pipeline that answers the chat with a text."""
    pipe = writer()
    prompt, ids = pipe.prompt_ids(CHAT), tokenizer()(text, add_special_tokens=False)["input_ids"]

    def scores(rows: list[list[int]]) -> Any:
        found = np.full((len(rows), pipe.model.vocab_size), -50, np.float32)
        for number, row in enumerate(rows):
            done = len(row) - len(prompt)
            found[number, ids[done] if done < len(ids) else EOS] = 50
        return found

    pipe.model.scores = scores
    return pipe


def test_a_call_of_a_tool_is_told_as_one() -> None:
    web = client({"w": scripted('{"name": "look", "parameters": {"a": 1}}')})
    answer = ask(web, max_tokens=100, tools=[TOOL]).json()["choices"][0]
    assert answer["finish_reason"] == "tool_calls" and answer["message"]["content"] is None
    function = answer["message"]["tool_calls"][0]["function"]
    assert function["name"] == "look" and json.loads(function["arguments"]) == {"a": 1}
    chunks = events(ask(web, max_tokens=100, tools=[TOOL], stream=True))
    assert chunks[-2]["choices"][0]["delta"]["tool_calls"][0]["function"] == function
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert (
        "tool_calls" not in ask(web, max_tokens=100, tools=[TOOL], tool_choice="none").json()["choices"][0]["message"]
    )


def test_a_tool_that_must_be_called() -> None:
    pytest.importorskip("llguidance")
    answer = ask(client({"w": writer()}), max_tokens=200, tools=[TOOL], tool_choice="required")
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look"


def test_completions(web: Any) -> None:
    def complete(**fields: Any) -> Any:
        return web.post("/v1/completions", json={"temperature": 0, **fields})

    answer = complete(prompt="once").json()
    assert answer["choices"][0]["text"] == own("once", max_new_tokens=16)
    several = complete(prompt=["once", "a"], max_tokens=5, echo=True).json()["choices"]
    assert [each["text"] for each in several] == [text + own(text, max_new_tokens=5) for text in ("once", "a")]
    ids = tokenizer()("once", add_special_tokens=False)["input_ids"]
    assert complete(prompt=ids).json()["choices"] == answer["choices"]
    chunks = events(complete(prompt="once", stream=True, stream_options={"include_usage": True}))
    assert "".join(each["choices"][0]["text"] for each in chunks[:-1]) == answer["choices"][0]["text"]
    assert chunks[-1]["usage"] == answer["usage"]
    for fields in ({"n": 2, "temperature": 1.5, "seed": 1, "echo": True}, {"logprobs": 2, "prompt": "once"}):
        fields = {"prompt": ["once", "a"], "max_tokens": 30, **fields}
        answer = complete(**fields).json()
        chunks = events(complete(**fields, stream=True, stream_options={"include_usage": True}))
        whole = {c["index"]: (c["text"], c["finish_reason"], c["logprobs"]) for c in answer["choices"]}
        assert joined(chunks, lambda choice: choice["text"]) == whole and chunks[-1]["usage"] == answer["usage"]
    scores = complete(prompt="once", logprobs=2, max_tokens=3).json()["choices"][0]["logprobs"]
    assert [len(scores[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")] == [3] * 4
    assert complete(prompt=[10**6]).status_code == 400


def test_embeddings(tmp_path: Path) -> None:
    pipe = pipeline("embedding", str(folder(tmp_path, "sentence_embedding")), device="cpu")
    web = client({"e": pipe, "s": sentiment()})

    def embed(**fields: Any) -> Any:
        return web.post("/v1/embeddings", json=fields)

    answer = embed(input=["tea cup", "tea"]).json()
    assert [each["embedding"] for each in answer["data"]] == [vector.tolist() for vector in pipe(["tea cup", "tea"])]
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    packed = embed(input="tea cup", encoding_format="base64").json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == [4, 6]
    assert embed(input=[3, 4]).json()["data"][0]["embedding"] == [4, 6]
    foreign = embed(input=[15339, 1917])
    assert foreign.status_code == 400 and "check_embedding_ctx_length=False" in foreign.json()["error"]["message"]
    assert embed(input="tea", dimensions=1).status_code == 400
    assert embed(input="").status_code == embed(input=[]).status_code == embed().status_code == 400
    wrong = embed(input="tea", model="s").json()["error"]
    assert wrong["param"] == "model" and "s (text-classification)" in wrong["message"]


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"messages": None}, "messages"), ({"messages": []}, "messages"), ({"messages": [{"role": "user"}]}, ""),
        ({"temperatur": 1}, "did you mean 'temperature'"), ({"temperature": 3}, "not in 0 to 2"),
        ({"n": 1000}, "n=1000"), ({"stop": ["a"] * 5}, "up to 4"), ({"max_tokens": 10**9}, "max_tokens"),
        ({"top_logprobs": 3}, "needs logprobs"), ({"store": True}, "store is not supported"),
        ({"tools": [{"type": "x"}]}, "each tool"), ({"tool_choice": "required"}, "needs tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
        ({"response_format": "json"}, "response_format"), ({"stream": "yes"}, "true or false"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "takes no image"),
        ({"messages": [{"role": "user", "content": "x", "path": "/etc"}]}, "no 'path'"),
        ({"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}, "variables of the template"),
        ({"model": "gpt-4"}, "no model 'gpt-4'"), ({"stream_options": {"include_usage": True}}, "for streams"),
    ],
)  # fmt: skip
def test_refused_chats(web: Any, fields: dict[str, Any], part: str) -> None:
    answer = ask(web, **fields) if fields.get("messages", 1) is not None else ask(web, messages=None)
    if fields == {"messages": [{"role": "user"}]}:  # a message without content is one of no text
        assert answer.status_code == 200
        return
    assert answer.status_code in (400, 404)
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and part in error["message"]


def test_a_text_that_is_too_long_is_a_clients_fault() -> None:
    answer = ask(client({"w": writer()}, max_tokens=40), messages=[{"role": "user", "content": "x" * 60}])
    assert answer.status_code == 400 and "the most are 40" in answer.json()["error"]["message"]
