"""Downloads from servers of every kind and every timing, with and without a proxy, in raw bytes on local sockets."""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from onnxpipe.processing import fetch as module
from onnxpipe.processing.fetch import FetchError, fetch

BODY = bytes(range(256)) * 2
LONG = bytes(range(256)) * 1055  # 270 kB, more than a socket takes at once

Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(module.ALLOW_PRIVATE, "1")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer each connection with given pieces of bytes, and a pause before each but the first; then close."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(pieces: Sequence[bytes], pause: float = 0.0, seen: list[bytes] | None = None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        thread = threading.Thread(target=answer, args=(listener, pieces, pause, seen), daemon=True)
        thread.start()
        threads.append(thread)
        return f"127.0.0.1:{listener.getsockname()[1]}"

    def answer(listener: socket.socket, pieces: Sequence[bytes], pause: float, seen: list[bytes] | None) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number, piece in enumerate(pieces):
                if piece == WAIT or number == 0:
                    request = _request(connection)
                    if seen is not None:
                        seen.append(request)
                if piece == WAIT:
                    continue
                time.sleep(pause if number else 0)
                try:
                    connection.sendall(piece)
                except OSError:
                    return

    yield start
    for listener in listeners:
        listener.close()
    for thread in threads:
        thread.join(5)


#: A piece that stands for: wait for another request.
WAIT = b"(wait)"


def _request(connection: socket.socket) -> bytes:
    request = b""
    while not request.endswith(b"\r\n\r\n") and (block := connection.recv(4096)):
        request += block
    return request


def _chunks(body: bytes, size: int) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%X;x=y\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: x\r\n\r\n"


#: Ways in which a server frames a body: the head of the answer, and what turns the body into what is sent.
FRAMINGS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "length, close": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", lambda body: body),
    "length, keep alive": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", lambda body: body),
    "until close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", lambda body: body),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\n", lambda body: body),
    "HTTP/1.0, length": (b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n", lambda body: body),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n", lambda body: body),
    "lines end in LF": (b"HTTP/1.1 200 OK\nContent-Length: %d\n\n", lambda body: body),
    "early hints": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"
        b"Content-Length: %d\r\n\r\n",
        lambda body: body,
    ),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", lambda body: _chunks(body, 100)),
    "chunked, close": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n",
        lambda body: _chunks(body, 7),
    ),
}


def _answer(framing: str, body: bytes) -> tuple[bytes, bytes]:
    head, sent = FRAMINGS[framing]
    return (head % len(body) if b"%d" in head else head), sent(body)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("timing", ["at once", "after the head", "slow", "in pieces", "byte by byte"])
def test_every_framing_in_every_timing(framing: str, timing: str, serve: Serve) -> None:
    head, sent = _answer(framing, LONG if timing in ("at once", "in pieces") else BODY)
    whole = head + sent
    third = len(sent) // 3
    pieces, pause = {
        "at once": ([whole], 0.0),
        "after the head": ([head, sent], 0.2),
        "slow": ([head[:9], head[9:], sent[:third], sent[third:-1], sent[-1:]], 0.05),
        "in pieces": ([whole[i : i + 9973] for i in range(0, len(whole), 9973)], 0.001),
        "byte by byte": ([whole[i : i + 1] for i in range(len(whole))], 0.0),
    }[timing]
    expected = LONG if timing in ("at once", "in pieces") else BODY
    assert fetch(f"http://{serve(pieces, pause)}/x.png", 20, max_bytes=2**20) == expected


class _Pieces:
    """The part of a connected socket that is used; the bytes come in given pieces, then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def sendall(self, data: bytes) -> None: ...

    def recv(self, count: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def __enter__(self) -> _Pieces:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_split_of_an_answer(framing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = BODY[:230]
    whole = b"".join(_answer(framing, body))
    for place in range(len(whole)):
        pieces = [whole[:place], whole[place : place + 1], whole[place + 1 :]]
        monkeypatch.setattr(module, "_connect", lambda *_, pieces=pieces: _Pieces(pieces))
        assert fetch("http://a.example/", 20, max_bytes=2**20) == body, place


@pytest.mark.parametrize("framing", [name for name in FRAMINGS if "length" in name or "chunked" in name])
def test_every_cut_of_an_answer_is_an_error(framing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = b"".join(_answer(framing, BODY[:100]))
    for end in range(len(whole) - (1 if framing.startswith("chunked") else 0)):
        monkeypatch.setattr(module, "_connect", lambda *_, end=end: _Pieces([whole[:end]]))
        with pytest.raises(FetchError, match="ended before the answer was complete"):
            fetch("http://a.example/", 20, max_bytes=2**20)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 512\r\nContent-Length: 5\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: +512\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 513\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999999\r\n\r\n" + BODY,
        *(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n"
            for size in (b"-5", b"-1", b"+200", b"0x200", b"2_00", b"", b"words", b"1FF", b"201", b"F" * 30)
        ),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + _chunks(BODY, 100),
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 OK\r\n\r\n" + BODY,
        b"HTTP/2 200 OK\r\n\r\n" + BODY,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        BODY,
        b"",
    ],
    ids=lambda _: "answer",
)
@pytest.mark.parametrize("size", [1, 100, 2**16])
def test_answers_that_are_not_http_are_one_error(answer: bytes, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [answer[i : i + size] for i in range(0, len(answer), size)]
    monkeypatch.setattr(module, "_connect", lambda *_: _Pieces(pieces))
    with pytest.raises(FetchError, match=r"^(the answer of )?http://a\.example/x\?… |^http://a\.example/x\?… is"):
        fetch("http://a.example/x?secret", 20, max_bytes=2**20)


def test_bodies_without_an_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(_Pieces):
        def recv(self, count: int) -> bytes:
            return super().recv(count) or bytes(count)

    for head in (b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n"):
        monkeypatch.setattr(module, "_connect", lambda *_, head=head: Endless([head]))
        with pytest.raises(FetchError, match="is larger than 1 MB"):
            fetch("http://a.example/", 20, max_bytes=2**20)


def test_a_proxy_is_asked_for_names_that_only_it_can_resolve(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.ALLOW_PRIVATE)  # the proxy itself may be anywhere
    seen: list[bytes] = []
    head, sent = _answer("length, close", BODY)
    monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@{serve([head, sent], 0.05, seen)}")
    assert fetch("http://only.the.proxy.invalid/a b?c", 20, max_bytes=2**20) == BODY
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET http://only.the.proxy.invalid/a%20b?c HTTP/1.1"
    assert "Host: only.the.proxy.invalid" in lines
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:p@ss').decode()}" in lines


def test_a_proxy_opens_a_tunnel_for_https(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.ALLOW_PRIVATE)
    seen: list[bytes] = []
    head, sent = _answer("length, close", BODY)
    established = b"HTTP/1.1 200 Connection established\r\n\r\n"
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:pass@{serve([established, WAIT, head + sent], 0.0, seen)}")
    asked: list[str] = []

    class Plain:
        def wrap_socket(self, sock: socket.socket, server_hostname: str) -> socket.socket:
            asked.append(server_hostname)
            return sock

    monkeypatch.setattr(module, "_tls", Plain)
    assert fetch("https://me:own@only.the.proxy.invalid/a?c", 20, max_bytes=2**20) == BODY
    assert asked == ["only.the.proxy.invalid"]
    tunnel, request = (one.decode() for one in seen)
    assert tunnel.startswith("CONNECT only.the.proxy.invalid:443 HTTP/1.1\r\nHost: only.the.proxy.invalid:443\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:pass').decode()}" in tunnel
    assert "\r\nAuthorization" not in tunnel
    assert request.startswith("GET /a?c HTTP/1.1\r\nHost: only.the.proxy.invalid\r\n")
    assert "Proxy-Authorization" not in request
    assert f"Authorization: Basic {base64.b64encode(b'me:own').decode()}" in request


def test_a_proxy_that_refuses_or_is_away_is_named_without_its_password(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve([b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"])
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{proxy}")
    with pytest.raises(FetchError, match=f"the proxy http://…@{proxy} answers 407 Proxy Authentication") as refused:
        fetch("https://a.example/x?secret", 20, max_bytes=2**20)
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:1")
    with pytest.raises(FetchError, match=r"http://a\.example/x\?… .*the proxy http://…@127\.0\.0\.1:1 cannot") as away:
        fetch("http://a.example/x?secret", 20, max_bytes=2**20)
    assert "secret" not in str(refused.value) + str(away.value)


def test_no_proxy_connects_directly(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    assert fetch(f"http://{serve([b''.join(_answer('HTTP/1.0', BODY))])}/x", 20, max_bytes=2**20) == BODY


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LOCALHOST.", "a.localhost", "127.1", "2130706433", "0x7f.1", "10.1.2.3", "[::1]",
     "169.254.169.254", "[::ffff:10.0.0.1]", "１２７。0.0.1"],
)  # fmt: skip
def test_a_proxy_is_not_asked_for_private_addresses(host: str, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.ALLOW_PRIVATE)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(FetchError, match="private network"):
        fetch(f"http://{host}/latest", 20, max_bytes=2**20)


def test_a_redirect_behind_a_proxy_is_checked_too(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.ALLOW_PRIVATE)
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
    monkeypatch.setenv("HTTP_PROXY", f"http://{serve([answer])}")
    with pytest.raises(FetchError, match=r"169\.254\.169\.254.*private network"):
        fetch("http://a.example/", 20, max_bytes=2**20)


def test_no_error_of_a_download_holds_a_query_or_a_password(serve: Serve) -> None:
    answers = [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://me:secret@x/?secret\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://me:sec/ret@x/?secret\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"",
    ]
    for answer in answers:
        with pytest.raises(FetchError) as error:
            fetch(f"http://me:se%2Fcret@{serve([answer])}/x?token=secret#secret", 20, max_bytes=2**20)
        assert "cret" not in str(error.value), answer
        assert "ret@" not in str(error.value), answer
