"""What every server does: health, keys, hosts, limits, ids, metrics, the log, faults of its own."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")
from onnxpipe.errors import RowTooLongError
from onnxpipe.serving.parameters import schemas
from onnxpipe.serving.sse import events
from onnxpipe.tasks.registry import all_tasks
from unit.serving.stubs import client, images, sentiment, testing, writer

TEXT = {"inputs": "hello"}


def test_models_health_and_description() -> None:
    web = client({"a/b": sentiment(), "c": writer()})
    assert web.get("/health").json() == web.get("/ping").json() == {"status": "ok"}
    listed = web.get("/v1/models").json()
    assert [each["id"] for each in listed["data"]] == ["a/b", "c"] and listed["object"] == "list"
    assert web.get("/v1/models/a%2Fb").json() == listed["data"][0]
    assert web.get("/v1/models/x").json()["error"]["code"] == "model_not_found"
    assert web.post("/models/a%2Fb", json=TEXT).status_code == 200
    assert [each["task"] for each in web.get("/info").json()["models"]] == ["text-classification", "text-generation"]
    paths = web.get("/openapi.json").json()["paths"]
    body = paths["/models/a/b"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["parameters"]["properties"]["top_k"]["description"].endswith("At most 1000.")
    assert web.get("/nothing").status_code == 404
    assert web.get("/predict").status_code == 405 and web.get("/predict").headers["allow"] == "POST"
    assert web.delete("/").headers["allow"] == "GET, HEAD, POST"
    assert web.delete("/v2/models/c/infer").headers["allow"] == "POST"


def test_fields_that_are_described_are_known_and_others_are_refused() -> None:
    web = client({"s": sentiment(), "w": writer()})
    described = 0
    for path, methods in web.get("/openapi.json").json()["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if schema.get("additionalProperties") is not False or path == "/embed_sparse":  # which refuses all
            continue
        described += 1
        place = path.replace("{name}", "s").replace("{version}", "1")
        for name in schema["properties"]:
            answer = web.post(place, json={name: None})
            assert answer.status_code < 500 and "unknown field" not in answer.text, (place, name)
        answer = web.post(place, json=dict.fromkeys([*schema["required"], "no_such_field"]))
        assert answer.status_code in (400, 422) and "no_such_field" in answer.text, place
    assert described > 12


@pytest.mark.parametrize(
    ("name", "value"),
    [("padding", 1), ("top_k", True), ("top_k", 1.5), ("top_k", "2"), ("function_to_apply", 0), ("max_length", [3])],
)
def test_parameters_of_another_kind(name: str, value: Any) -> None:
    web = client(sentiment())
    assert web.post("/", json={"inputs": "x", "parameters": {name: None}}).status_code == 200
    answer = web.post("/", json={"inputs": "x", "parameters": {name: value}})
    assert answer.status_code == 400 and name in answer.json()["error"]


def test_a_server_that_loads_says_so() -> None:
    from onnxpipe.serving.application import application
    from onnxpipe.serving.server import ServerState
    from onnxpipe.serving.settings import ServeSettings

    state = ServerState(ServeSettings())
    web = testing.TestClient(application(state))
    answer = web.get("/health")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    state.table.add("s", sentiment())
    state.ready = True
    assert web.get("/health").status_code == 200
    state.draining = True
    assert web.get("/health").status_code == 503
    assert web.post("/", json=TEXT).status_code == 503
    state.close()


def test_keys() -> None:
    web = client(sentiment(), keys=("first", "second"))
    assert web.get("/health").status_code == 200
    refused = web.post("/", json=TEXT)
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert web.get("/metrics").status_code == 401
    for headers in ({"authorization": "Bearer second"}, {"x-api-key": "first"}):
        assert web.post("/", json=TEXT, headers=headers).status_code == 200
    for headers in ({"authorization": "Bearer firs"}, {"authorization": "first"}, {"x-api-key": "é".encode()}):
        assert web.post("/", json=TEXT, headers=headers).status_code == 401
    assert web.get("/v1/models").json()["error"]["type"] == "authentication_error"


def test_a_page_of_another_site_cannot_reach_a_local_server() -> None:
    web = client(sentiment(), hosts=("localhost",))
    assert web.post("/", json=TEXT).status_code == 200
    assert web.post("/", json=TEXT, headers={"host": "evil.example:8000"}).status_code == 403
    assert "access-control-allow-origin" not in web.post("/", json=TEXT, headers={"origin": "http://a.example"}).headers
    allowed = client(sentiment(), cors=("http://a.example",)).post(
        "/", json=TEXT, headers={"origin": "http://a.example"}
    )
    assert allowed.headers["access-control-allow-origin"] == "http://a.example"


def test_ids_and_times() -> None:
    web = client(sentiment())
    answer = web.post("/", json=TEXT, headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert {"x-total-time", "x-queue-time", "x-inference-time", "x-tokenization-time"} <= set(answer.headers)
    assert answer.headers["x-compute-tokens"] == "5"
    for bad in ("", "x" * 129, "a\tb"):
        assert len(web.post("/", json=TEXT, headers={"x-request-id": bad}).headers["x-request-id"]) == 32


def test_a_servers_fault_is_told_by_its_id(caplog: pytest.LogCaptureFixture) -> None:
    pipe = sentiment()
    pipe.model.broken = True
    with caplog.at_level(logging.ERROR, "onnxpipe.serving"):
        answer = client(pipe).post("/", json=TEXT, headers={"x-request-id": "abc"})
    assert answer.status_code == 500
    assert "abc" in answer.json()["error"] and "secret" not in answer.text
    assert "the graph broke" in caplog.text


def test_numbers_that_a_graph_gets_wrong_are_the_servers_fault() -> None:
    pipe = sentiment()
    pipe.model.run = lambda feeds: {"logits": np.full((len(feeds["input_ids"]), 2), np.nan, np.float32)}
    answer = client(pipe).post("/", json=TEXT)
    assert answer.status_code == 500 and "NaN" not in answer.text


def test_a_text_that_only_the_model_finds_too_long_is_a_clients_fault() -> None:
    pipe = sentiment()

    def run(feeds: Any) -> Any:
        raise RowTooLongError("the input has 600 tokens and the model takes at most 512")

    pipe.model.run = run
    answer = client(pipe).post("/", json=TEXT)
    assert answer.status_code == 400 and "at most 512" in answer.json()["error"]


def test_a_text_whose_length_nobody_chose_is_bounded_too() -> None:
    web = client({"w": writer()}, max_new_tokens=3)
    for parameters in (None, {}, {"return_full_text": True}):
        answer = web.post("/", json={"inputs": "hello", "parameters": parameters}).json()
        assert len(answer[0]["generated_text"]) == len("hello") + 3
    chat = {"messages": [{"role": "user", "content": "x"}]}
    assert web.post("/v1/chat/completions", json=chat).json()["usage"]["completion_tokens"] == 3
    assert web.post("/", json={"inputs": "hello", "parameters": {"max_length": 9}}).status_code == 400


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"bad_words_ids": [[999_999]]}, "[999999]"), ({"prompt_lookup_num_tokens": 0}, "num_output_tokens"),
        ({"seed": -1}, "seed=-1"), ({"bos_token_id": 999_999}, "bos_token_id=999999"),
        ({"bos_token_id": "a"}, "bos_token_id"), ({"warned": ["a"]}, "warned"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_a_parameter_that_only_the_run_finds_wrong_is_a_clients_fault(
    parameters: dict[str, Any], part: str, stream: bool
) -> None:
    body = {"inputs": "a", "parameters": {"max_new_tokens": 4, **parameters}, "stream": stream}
    answer = client({"w": writer()}).post("/", json=body)
    assert answer.status_code == 400 and part in answer.json()["error"]


def test_the_models_folder_is_never_told() -> None:
    pipe = sentiment()

    def parse(*_: Any) -> Any:
        raise ValueError(f"{pipe.model.name_or_path} takes no such thing")

    pipe.parse = parse
    answer = client({"s": pipe}).post("/", json={**TEXT, "parameters": {"top_k": 1}})
    assert (answer.status_code, answer.json()["error"]) == (400, "s takes no such thing")


def test_one_line_of_json_for_a_request_and_nothing_of_its_content(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "onnxpipe.access"):
        client({"s": sentiment()}).post("/", json={"inputs": "my secret"}, headers={"x-request-id": "i"})
    (line,) = [json.loads(record.message) for record in caplog.records if record.name == "onnxpipe.access"]
    assert line["id"] == "i" and line["code"] == 200 and line["model"] == "s" and line["tokens"] == 9
    assert "secret" not in caplog.text


def test_metrics() -> None:
    web = client({"s": sentiment()})
    web.post("/", json=TEXT)
    web.post("/", json={})
    text = web.get("/metrics").text
    assert 'onnxpipe_requests_total{code="200",dialect="huggingface",model="s",task="text-classification"} 1.0' in text
    assert 'onnxpipe_requests_total{code="400"' in text
    assert 'onnxpipe_batch_rows_count{model="s"} 1.0' in text
    assert 'onnxpipe_queue_rows{model="s"} 0.0' in text
    assert 'onnxpipe_info{dtype="float32",model="s"' in text


@pytest.mark.parametrize("body", [b'{"prompt": "once", "max_tokens": 90, "stream": true}', b'{"prompt": "onc'])
def test_a_client_that_leaves_is_counted_as_one(body: bytes) -> None:
    """A stream whose client is gone after the first piece, and a body that does not come to its end."""
    from onnxpipe.serving import app

    application, cut = app({"w": writer()}), not body.endswith(b"}")
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
             "path": "/v1/completions", "raw_path": b"/v1/completions", "root_path": "", "scheme": "http",
             "query_string": b"", "headers": [], "client": ("::1", 1), "server": ("::1", 2)}  # fmt: skip
    left = [{"type": "http.request", "body": body, "more_body": cut}]

    async def visit() -> None:
        gone = asyncio.Event()

        async def receive() -> Any:
            if left:
                return left.pop()
            if not cut:
                await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body" and not cut:
                gone.set()
                await asyncio.Event().wait()  # nobody reads

        await application(scope, receive, send)

    asyncio.run(visit())
    text = application.state.server.metrics.text().decode()
    codes = re.findall(r'onnxpipe_requests_total\{code="(\d+)".* 1\.0', text)
    assert codes == ["499"]


def test_a_stream_that_is_left_as_it_ends_leaves_no_error_behind() -> None:
    unseen: list[Any] = []

    async def visit() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))

        async def source() -> AsyncIterator[bytes]:
            yield b"first"
            reading.cancel()

        stream = await events(source(), str)
        assert await anext(stream) == b"first"
        reading = asyncio.ensure_future(anext(stream))
        with pytest.raises(asyncio.CancelledError):
            await reading
        gc.collect()

    asyncio.run(visit())
    gc.collect()
    assert not unseen


def test_a_full_server_refuses_and_says_when_to_come_back() -> None:
    pipe = sentiment()
    entered, gate = threading.Event(), threading.Event()
    run = pipe.model.run

    def slow(feeds: Any) -> Any:
        entered.set()
        gate.wait(60)
        return run(feeds)

    pipe.model.run = slow
    with client(pipe, max_calls=1) as web:
        answers: list[Any] = []
        first = threading.Thread(target=lambda: answers.append(web.post("/", json=TEXT)))
        first.start()
        entered.wait(60)
        refused = web.post("/", json=TEXT)
        gate.set()
        first.join(60)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert answers[0].status_code == 200


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    answer = client(sentiment(), timeout_s=0.0).post("/", json=TEXT)
    assert answer.status_code == 504


def test_reload_needs_a_key_and_a_loader() -> None:
    assert client(sentiment()).post("/admin/reload").status_code == 403
    web = client(sentiment(), keys=("k",))
    assert web.post("/admin/reload", headers={"x-api-key": "k"}).status_code == 501
    state = web.app.state.server
    state.reload = lambda: state.table.add("text-classification", sentiment())
    before = state.table.models["text-classification"]
    assert web.post("/admin/reload", headers={"x-api-key": "k"}).status_code == 200
    assert state.table.models["text-classification"] is not before
    assert web.post("/", json=TEXT, headers={"x-api-key": "k"}).status_code == 200


@pytest.mark.parametrize("spec", all_tasks(), ids=lambda spec: spec.name)
def test_no_parameter_names_a_file_a_model_or_a_function(spec: Any) -> None:
    known = schemas(spec.pipeline)
    forbidden = {
        "assistant_model", "assistant_tokenizer", "decoder", "custom_generate", "logits_processor", "tokenizer", "ocr",
        "stopping_criteria", "generation_config", "batch_size", "num_workers", "progress", "timeout", "streamer",
        "prefix_allowed_tokens_fn", "tesseract_config", "image_processor_kwargs", "decoder_kwargs",
    }  # fmt: skip
    assert not forbidden & set(known)
    assert all(isinstance(schema, dict) for schema in known.values())


def test_pipelines_by_their_tasks() -> None:
    assert client([sentiment(), images()]).post("/models/text-classification", json=TEXT).status_code == 200
    with pytest.raises(ValueError, match="two pipelines"):
        client([sentiment(), sentiment()])
    with pytest.raises(ValueError, match="a name without"):
        client({"a?b": sentiment()})
