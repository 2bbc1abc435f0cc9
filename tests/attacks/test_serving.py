"""Hostile requests: the right status, a body of the dialect, no trace, no path; the server goes on."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unit.serving.stubs import client, images, ranker, sentiment, writer, zero_shot

PIPES = {"s": sentiment, "z": zero_shot, "w": writer, "i": images, "r": ranker}


@pytest.fixture(scope="module")
def web() -> Any:
    return client({name: make() for name, make in PIPES.items()})


def deep(levels: int) -> bytes:
    return b'{"inputs":' + b"[" * levels + b"]" * levels + b"}"


BODIES: list[bytes] = [
    b"", b"{", b"\xff\xfe", b"null", b"[]", b"0", b'"x"', b'{"inputs": NaN}', b'{"inputs": Infinity}',
    b'{"inputs": "a", "inputs": "b"}', deep(33), deep(100_000), b'{"inputs": "\\ud800"}', b'{"inputs": "a\\u0000b"}',
    b'{"inputs": ' + b"9" * 5000 + b"}", b'{"inputs": 1e999}', b'{"inputs": true}', b'{"inputs": {}}',
    b'{"inputs": []}', b'{"inputs": [[]]}', b'{"inputs": [null]}', b'{"inputs": "x", "parameters": {"top_k": -1}}',
    b'{"inputs": "x", "parameters": {"top_k": 1e30}}', b'{"inputs": "x", "parameters": {"__class__": 1}}',
    b'{"inputs": "x", "parameters": {"candidate_labels": 5}}', b'{"inputs": "x", "parameters": {"num_beams": 1000}}',
    b'{"inputs": "x", "parameters": {"num_return_sequences": 5000}}',
    b'{"inputs": "x", "parameters": {"max_new_tokens": 1000000000}}',
    b'{"inputs": "x", "parameters": {"max_new_tokens": -5}}', b'{"inputs": "x", "parameters": {"temperature": "hot"}}',
    b'{"inputs": "x", "parameters": {"stopping_criteria": []}}', b'{"inputs": "x", "parameters": {"timeout": 1}}',
    b'{"inputs": "x", "parameters": {"generate_kwargs": {"custom_generate": "x"}}}',
    b'{"inputs": [{"role": "user", "content": [{"type": "image", "path": "/etc/passwd"}]}]}',
    b'{"inputs": [{"role": "user", "content": {"a": 1}}]}', b'{"inputs": [{"role": 1, "content": "x"}]}',
    b'{"inputs": {"image": "/etc/passwd"}}', b'{"inputs": {"table": "/etc/passwd", "query": "x"}}',
]  # fmt: skip


@pytest.mark.parametrize("name", PIPES)
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bodies(web: Any, name: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = web.post(f"/models/{name}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code < 500
    json.loads(answer.content)
    assert not caplog.records and "Traceback" not in answer.text and "/srv/secret" not in answer.text


PATHS = [
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/audio/speech", "/v1/audio/transcriptions",
    "/v1/images/generations", "/v1/rerank", "/v2/rerank", "/embed", "/embed_all", "/embed_sparse", "/rerank",
    "/similarity", "/tokenize", "/decode", "/predict", "/invocations", "/v2/models/s/infer", "/v2/models/i-graph/infer",
    "/pipeline/text-generation", "/",
]  # fmt: skip
#: For each path every field that it could have, with values that it cannot.
ODD: list[Any] = [None, True, -1, "x", "\u0000", [None], {"a": {"b": []}}, ["x"] * 300, 10**30]
FIELDS = [
    "messages", "prompt", "input", "inputs", "query", "texts", "documents", "ids", "model", "max_tokens", "stop", "n",
    "temperature", "tools", "response_format", "logit_bias", "stream_options", "dimensions", "encoding_format", "voice",
    "speed", "size", "parameters", "outputs", "id", "top_n", "seed", "instances", "options", "stream",
]  # fmt: skip
GOOD: dict[str, Any] = {
    "messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x", "inputs": "x", "query": "x",
    "texts": ["x"], "documents": ["x"], "ids": [3], "max_tokens": 2,
}  # fmt: skip
KNOWN = {
    "/v1/chat/completions": ["messages", "max_tokens"], "/v1/completions": ["prompt", "max_tokens"],
    "/v1/rerank": ["query", "documents"], "/rerank": ["query", "texts"], "/decode": ["ids"],
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_path(web: Any, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        for body in BODIES:
            assert web.post(path, content=body, headers={"content-type": "application/json"}).status_code < 500
        base = {name: GOOD[name] for name in KNOWN.get(path, ["inputs"])}
        for name in FIELDS:
            for value in ODD:
                model = (
                    {} if name == "model" or path not in ("/v1/chat/completions", "/v1/completions") else {"model": "w"}
                )
                answer = web.post(path, json={**base, **model, name: value})
                assert answer.status_code < 500 and "Traceback" not in answer.text
    assert not caplog.records


@pytest.mark.parametrize(
    "source",
    [
        "{existing}",
        "{missing}",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/x.png",
        "//host/share",
        "~",
        "",
    ],
)
def test_a_string_is_never_a_path(web: Any, source: str, tmp_path: Path) -> None:
    existing = tmp_path / "image.png"
    existing.write_bytes(b"x")
    answer = web.post("/models/i", json={"inputs": source.format(existing=existing, missing=tmp_path / "none")})
    assert answer.status_code == 400 and str(tmp_path) not in answer.text and "no such" not in answer.text


def test_broken_images(web: Any) -> None:
    for data in (b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, b"\x00" * 1000):
        answer = web.post("/models/i", json={"inputs": base64.b64encode(data).decode()})
        assert answer.status_code == 400 and "image" in answer.json()["error"]


def test_large_bodies_are_refused_while_they_come() -> None:
    web = client({"s": sentiment()}, max_json=1000)
    told = web.post("/", content=b'{"inputs": "' + b"x" * 1000 + b'"}')
    assert told.status_code == 413 and "1,000 bytes" in told.json()["error"]
    sent = []

    def parts() -> Any:
        for _ in range(100):
            sent.append(1)
            yield b"x" * 100

    assert web.post("/", content=parts()).status_code == 413  # without a length


def test_too_many_labels(web: Any) -> None:
    answer = web.post("/models/z", json={"inputs": "x", "parameters": {"candidate_labels": ["a"] * 100_000}})
    assert answer.status_code == 400 and "100,000 entries" in answer.json()["error"]


def test_odd_headers_and_paths(web: Any) -> None:
    body = {"inputs": "x"}
    for headers in (
        {"x-request-id": "a" * 10_000}, {"authorization": "Bearer"}, {"content-type": "multipart/form-data"},
        {"content-length": "9" * 30}, {"accept": "*/*;q=x"}, {"host": ""}, {"host": "[::1"},
    ):  # fmt: skip
        assert web.post("/models/s", json=body, headers=headers).status_code < 500
    for path in ("/models/..%2f..%2fetc", "/models/%00", "/pipeline/%2e%2e", "/v1/models/" + "x" * 5000, "//", "/%ff"):
        assert web.post(path, json=body).status_code in (400, 404, 405)
    assert web.post("/models/s", json=body).status_code == 200


def form_of(parts: list[bytes], boundary: bytes = b"b") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        form_of([b'Content-Disposition: form-data; name="f%d"\r\n\r\nx' % number for number in range(5000)]),
        form_of([b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nx'] * 50),
        form_of([b"X-Long: " + b"x" * 100_000 + b"\r\n\r\nx"]), form_of([b"\r\n" * 1000]), b"--b\r\n" * 10_000,
        b"--b", b"\x00" * 1000, form_of([b'Content-Disposition: form-data; name="model"\r\n\r\n' + b"x" * 100_000]),
    ],
    ids=["fields", "files", "headers", "empty", "boundaries", "cut", "zeros", "field"],
)  # fmt: skip
def test_multipart_bombs(web: Any, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    with caplog.at_level(logging.ERROR):
        for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
            answer = web.post(path, content=body, headers=headers)
            assert 400 <= answer.status_code < 500 and json.loads(answer.content)["error"]["message"]
    assert not caplog.records


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server that takes bytes as they come."""
    uvicorn = pytest.importorskip("uvicorn")
    from onnxpipe.serving import app

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app({"s": sentiment()}, max_json=1000), log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()


def exchange(port: int, *parts: bytes, read: bool = True) -> bytes:
    """Send bytes part by part; read what comes back, or hang up."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            while read and (more := connection.recv(65_536)):
                found += more
        except ConnectionError:  # the server has hung up already
            pass
    return found


HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([HEAD + b'content-length: 15\r\n\r\n{"inputs": "x"}'], b"200"),
        ([HEAD + b"content-length: 15\r\n\r\n", *(bytes([byte]) for byte in b'{"inputs": "x"}')], b"200"),  # slowly
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n", b'f\r\n{"inputs": "x"}\r\n0\r\n\r\n'], b"200"),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n", b"zz\r\n"], b"400"),
        ([HEAD + b"content-length: 100\r\n\r\n{}"], b""), ([HEAD + b"content-length: -1\r\n\r\n{}"], b"400"),
        ([HEAD + b"content-length: 3\r\ncontent-length: 4\r\n\r\n{}"], b"400"),
        ([HEAD + b"x: " + b"y" * 200_000 + b"\r\n\r\n"], b"400"),
        ([HEAD, *(b"x-%d: y\r\n" % number for number in range(20_000)), b"\r\n"], b"400"),
        ([b"\x16\x03\x01" * 100 + b"\r\n\r\n"], b"400"), ([b"GET " + b"/" * 100_000], b"400"),
        ([HEAD + b"content-length: 2000\r\n\r\n" + b"x" * 2000], b"413"),
    ],
    ids=[
        "whole", "bytes", "chunks", "no-chunk", "cut", "negative", "lengths", "header", "headers", "tls", "line",
        "large",
    ],
)  # fmt: skip
def test_bytes_that_are_no_request(port: int, parts: list[bytes], status: bytes) -> None:
    answer = exchange(port, *parts, read=bool(status))
    if answer:  # a server that hangs up on a flood may reset the connection before its answer is read
        assert answer.startswith(
            (b"HTTP/1.1 " + status, b"HTTP/1.1 431" if status == b"400" else b"HTTP/1.1 " + status)
        )
    assert b"Traceback" not in answer
    good = exchange(port, HEAD + b'content-length: 15\r\n\r\n{"inputs": "x"}')
    assert good.startswith(b"HTTP/1.1 200")  # it goes on
