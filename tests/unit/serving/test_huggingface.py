"""Hugging Face's shapes: the answers are the pipeline's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnxpipe import pipeline
from unit.audio_files import wav
from unit.serving.stubs import b64, client, images, png_bytes, sentiment, writer, zero_shot
from unit.tasks.test_embedding import folder
from unit.tasks.test_speech_recognition import ctc_pipeline, said

GREEDY = {"do_sample": False, "max_new_tokens": 12}


def test_text_classification_nests_as_the_hosted_api_does() -> None:
    pipe = sentiment()
    web = client({"s": pipe})
    texts = ["a fine day", "hello"]
    for path in ("/models/s", "/"):
        assert web.post(path, json={"inputs": texts[0]}).json() == [pipe(texts[0])]
        assert web.post(path, json={"inputs": texts}).json() == [[each] for each in pipe(texts)]
        asked = {"inputs": texts[0], "parameters": {"top_k": 2, "function_to_apply": "sigmoid"}}
        assert web.post(path, json=asked).json() == [pipe(texts[0], top_k=2, function_to_apply="sigmoid")]
    for path in ("/predict", "/pipeline/text-classification", "/pipeline/sentiment-analysis", "/invocations"):
        assert web.post(path, json={"inputs": texts[0]}).json() == pipe(texts[0])
        assert web.post(path, json={"inputs": texts, "parameters": {"top_k": None}}).json() == pipe(texts, top_k=None)
    pair = {"text": "a", "text_pair": "b"}
    assert web.post("/predict", json={"inputs": pair}).json() == pipe(pair)
    assert web.post("/predict", json={"instances": texts}).json() == {"predictions": pipe(texts)}
    assert web.post("/predict", content="hello", headers={"content-type": "text/plain"}).json() == pipe("hello")


def test_zero_shot_gives_a_list_of_pairs() -> None:
    pipe = zero_shot()
    web = client(pipe)
    asked = {"inputs": "a text", "parameters": {"candidate_labels": ["x", "y"], "multi_label": True}}
    own = pipe("a text", candidate_labels=["x", "y"], multi_label=True)
    assert web.post("/pipeline/zero-shot-classification", json=asked).json() == own
    pairs = [{"label": label, "score": score} for label, score in zip(own["labels"], own["scores"])]
    assert web.post("/", json=asked).json() == pairs
    asked["parameters"] = {"candidateLabels": "x, y", "multi_label": True}
    assert web.post("/", json=asked).json() == pairs


def test_images_as_bytes_and_as_base64() -> None:
    pipe, data = images(), png_bytes()
    web = client(pipe)
    own = pipe(data, top_k=2)
    assert web.post("/?top_k=2", content=data, headers={"content-type": "image/png"}).json() == own
    for given in (b64(data), f"data:image/png;base64,{b64(data)}"):
        assert web.post("/", json={"inputs": given, "parameters": {"top_k": 2}}).json() == own
    assert web.post("/", json={"inputs": [b64(data)] * 2}).json() == pipe([data, data])


def test_recordings(tmp_path: Path) -> None:
    pipe, data = ctc_pipeline(tmp_path), wav(said("hello world"))
    web = client(pipe)
    assert web.post("/", content=data, headers={"content-type": "audio/wav"}).json() == {"text": "hello world"}
    asked = {"inputs": b64(data), "parameters": {"return_timestamps": "word"}}
    own = json.loads(json.dumps(pipe(data, return_timestamps="word")))
    assert web.post("/", json=asked).json() == own


def test_similarity_and_embeddings(tmp_path: Path) -> None:
    path = str(folder(tmp_path, "sentence_embedding"))
    similar, embed = (pipeline(task, path, device="cpu") for task in ("sentence-similarity", "embedding"))
    web = client([similar, embed])
    asked = {"source_sentence": "tea", "sentences": ["cup", "tea"]}
    assert web.post("/pipeline/sentence-similarity", json={"inputs": asked}).json() == similar(asked)
    assert web.post("/models/embedding", json={"inputs": "a", "parameters": {"pooling": []}}).status_code == 400
    body = {"inputs": "tea cup", "normalize": True, "truncate": True}
    assert web.post("/models/embedding", json=body).json() == embed("tea cup", normalize=True).tolist()


def test_generation_and_its_stream() -> None:
    pipe = writer()
    web = client(pipe)
    own = pipe("hello", **GREEDY)
    assert web.post("/", json={"inputs": "hello", "parameters": GREEDY}).json() == own
    assert web.post("/", json={"inputs": "hello", "parameters": {"generate_kwargs": GREEDY}}).json() == own
    chat = [{"role": "user", "content": "hi"}]
    assert web.post("/", json={"inputs": chat, "parameters": GREEDY}).json() == pipe(chat, **GREEDY)
    answer = web.post("/", json={"inputs": "hello", "parameters": GREEDY, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    text = own[0]["generated_text"][len("hello") :]
    assert "".join(each["token"]["text"] for each in events) == text == events[-1]["generated_text"]
    assert events[-1]["details"]["finish_reason"] == "length"


def events_of(answer: Any) -> list[Any]:
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def test_why_a_text_ended_in_the_words_of_tgi() -> None:
    pipe = writer()
    web, text = client(pipe), pipe("hello", max_new_tokens=60, do_sample=False)[0]["generated_text"][len("hello") :]
    stop, ended = text[4:6], writer(eos_token_id=pipe.tokenizer.encode(text, add_special_tokens=False)[3])
    for server, more, reason, cut in (
        (web, {"max_new_tokens": 9}, "length", text[:9]),
        (web, {"max_new_tokens": 9, "stop": [stop]}, "stop_sequence", text[: text.index(stop)]),
        (client(ended), {"max_new_tokens": 9}, "eos_token", None),
    ):
        body = {"inputs": "hello", "parameters": {"do_sample": False, "details": True, **more}}
        (whole,) = server.post("/", json=body).json()
        last = events_of(server.post("/", json={**body, "stream": True}))[-1]
        assert whole["details"]["finish_reason"] == last["details"]["finish_reason"] == reason
        assert whole["generated_text"] == last["generated_text"]
        assert cut in (None, whole["generated_text"])
        tokens = whole["details"]["tokens"]
        assert len(tokens) == whole["details"]["generated_tokens"] == last["details"]["generated_tokens"]
        assert all(each["logprob"] <= 0 for each in tokens)


def test_details_are_of_one_text_with_its_prompt_if_wanted() -> None:
    web = client(writer())
    body = {"inputs": "hello", "parameters": {**GREEDY, "details": True, "return_full_text": True}}
    (whole,) = web.post("/", json=body).json()
    assert whole["generated_text"].startswith("hello")
    assert events_of(web.post("/", json={**body, "stream": True}))[-1]["generated_text"] == whole["generated_text"]
    chat = {**body, "inputs": [{"role": "user", "content": "hi"}]}
    for wrong in (chat, {**chat, "stream": True}, {**body, "inputs": ["a", "b"]},
                  {"inputs": "a", "parameters": {"details": 1}}):  # fmt: skip
        assert web.post("/", json=wrong).status_code == 400
    assert client(sentiment()).post("/", json={"inputs": "a", "parameters": {"details": True}}).status_code == 400


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, 'no "inputs"'),
        ({"inputs": "x", "paramters": {}}, "did you mean 'parameters'"),
        ({"inputs": "x", "parameters": {"topk": 1}}, "did you mean 'top_k'"),
        ({"inputs": "x", "parameters": {"top_k": 100_000}}, "more than the 1000"),
        ({"inputs": "x", "parameters": {"top_k": "many"}}, "top_k='many'"),
        ({"inputs": "x", "parameters": {"batch_size": 2}}, "unknown parameter 'batch_size'"),
        ({"inputs": "x", "parameters": []}, "must be an object"),
        ({"inputs": "x", "options": {"wait": True}}, "unknown option"),
        ({"inputs": 5}, ""),
        ({"inputs": {"path": "x"}}, "no part 'path'"),
        ({"inputs": "x", "stream": True}, "cannot be streamed"),
        ([1], "must be an object"),
    ],
)  # fmt: skip
def test_a_clients_fault_is_told_in_full(body: Any, part: str) -> None:
    answer = client(sentiment()).post("/", json=body)
    assert answer.status_code == 400
    assert part in answer.json()["error"]


def test_too_many_inputs_and_wrong_media() -> None:
    web = client([sentiment(), images()])
    many = web.post("/models/text-classification", json={"inputs": ["x"] * 33})
    assert many.status_code == 413 and "33 inputs" in many.json()["error"]
    wrong = web.post("/models/text-classification", content=b"\x00", headers={"content-type": "image/png"})
    assert wrong.status_code == 415
    assert web.post("/", json={"inputs": "x"}).status_code == 400  # two models, none named
    assert web.post("/models/nobody", json={"inputs": "x"}).status_code == 404
    assert web.post("/pipeline/translation", json={"inputs": "x"}).status_code == 404
