"""Downloads: what is requested, what is refused, and that the address that was checked is the one connected to."""

from __future__ import annotations

import base64
import gzip
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxpipe.errors import ImageError
from onnxpipe.processing import fetch as module
from onnxpipe.processing.fetch import is_public
from onnxpipe.processing.images.io.fetch import fetch

BODY = bytes(range(256)) * 300


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[Any]

    def do_GET(self) -> None:
        type(self).seen.append((self.path, dict(self.headers)))
        parts = self.path.strip("/").split("/")
        getattr(self, f"_{parts[0].partition('?')[0].partition('.')[0]}", self._missing)(*parts[1:])

    def _answer(self, body: bytes = BODY, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _ok(self, *_: str) -> None:
        self._answer()

    def _missing(self, *_: str) -> None:
        self._answer(b"", 404)

    def _hop(self, count: str) -> None:
        left = int(count)
        self._answer(b"", 302, Location=f"/hop/{left - 1}" if left else "/ok")

    def _away(self, target: str) -> None:
        self._answer(b"", 301, Location=base64.urlsafe_b64decode(target).decode())

    def _nowhere(self) -> None:
        self._answer(b"", 302)

    def _chunked(self) -> None:
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(BODY), BODY) for _ in range(3))
        self._answer(chunks + b"0\r\n\r\n", Transfer_Encoding="chunked")

    def _short(self) -> None:
        self._answer(BODY, Content_Length=str(len(BODY) + 5))
        self.close_connection = True

    def _packed(self) -> None:
        self._answer(gzip.compress(BODY), Content_Encoding="gzip")

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self._drop(b"x")

    def _dripping_headers(self) -> None:
        self._drop(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000)

    def _drop(self, data: bytes) -> None:
        try:
            for i in range(60):
                self.wfile.write(data[i % len(data) :][:1])
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only the proxies that a test names."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of this machine, which is allowed."""
    monkeypatch.setenv(module.ALLOW_PRIVATE, "1")
    yield from _served()


def _served(context: ssl.SSLContext | None = None) -> Iterator[str]:
    _Handler.seen = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_bodies(server: str) -> None:
    assert fetch(f"{server}/ok") == BODY
    assert fetch(f"{server}/chunked") == BODY * 3
    assert fetch(server.upper().replace("HTTP", "http") + "/ok?a=b c&d=é#part") == BODY
    assert _Handler.seen[-1][0] == "/ok?a=b%20c&d=%C3%A9"
    headers = _Handler.seen[-1][1]
    assert headers["User-Agent"].startswith("onnxpipe/")
    assert headers["Host"] == server.removeprefix("http://")
    assert "Authorization" not in headers


def test_redirects(server: str) -> None:
    assert fetch(f"{server}/hop/4") == BODY
    with pytest.raises(ImageError, match="redirects more than 5 times"):
        fetch(f"{server}/hop/5")
    with pytest.raises(ImageError, match="answers 302"):
        fetch(f"{server}/nowhere")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://example.com/x", "gopher://127.0.0.1/", "data:image/png;base64,x"]
)
def test_redirects_lead_to_the_web_only(server: str, target: str) -> None:
    with pytest.raises(ImageError, match="not an http:// or https:// URL"):
        fetch(f"{server}/away/{base64.urlsafe_b64encode(target.encode()).decode()}")


def test_passwords_go_to_their_host_and_into_no_message(server: str) -> None:
    with_password = server.replace("http://", "http://me:s%40cret@")
    target = base64.urlsafe_b64encode(f"{server}/ok".encode()).decode()
    assert fetch(f"{with_password}/away/{target}") == BODY
    first, second = (headers for _, headers in _Handler.seen)
    assert base64.b64decode(first["Authorization"].removeprefix("Basic ")) == b"me:s@cret"
    assert "Authorization" not in second
    with pytest.raises(ImageError) as error:
        fetch(f"{with_password}/missing")
    assert "cret" not in str(error.value)


def test_sizes(server: str) -> None:
    assert fetch(f"{server}/ok", max_bytes=len(BODY)) == BODY
    for path in ("ok", "chunked"):
        with pytest.raises(ImageError, match="larger than"):
            fetch(f"{server}/{path}", max_bytes=len(BODY) - 1)
    with pytest.raises(ImageError, match="ended before the answer was complete"):
        fetch(f"{server}/short")


@pytest.mark.parametrize("path", ["drip", "dripping_headers"])
def test_time_is_bounded_for_all_of_it(server: str, path: str) -> None:
    start = time.monotonic()
    with pytest.raises(ImageError, match=r"longer than 0\.5 s"):
        fetch(f"{server}/{path}", timeout=0.5)
    assert time.monotonic() - start < 3


def test_other_answers(server: str) -> None:
    with pytest.raises(ImageError, match="answers 404"):
        fetch(f"{server}/missing.png")
    with pytest.raises(ImageError, match="Content-Encoding gzip"):
        fetch(f"{server}/packed")
    with pytest.raises(ImageError, match="could not be downloaded"):
        fetch("http://127.0.0.1:1/x")


@pytest.mark.parametrize(
    "url", ["http://", "https:///x", "http://[::1", "http://a:99999/", "http://a:0/", "http://" + "a" * 300]
)
def test_urls_that_are_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.ALLOW_PRIVATE, "1")
    with pytest.raises(ImageError):
        fetch(url, timeout=5)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",
     "169.254.169.254", "100.64.0.1", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]",
     "[::ffff:169.254.169.254]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255"],
)  # fmt: skip
def test_private_addresses_are_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.ALLOW_PRIVATE, raising=False)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connected"))
    with pytest.raises(ImageError, match=r"private network|could not be downloaded"):
        fetch(f"http://{host}/x")


def test_addresses() -> None:
    for address in ("93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        assert is_public(address)
    for address in ("127.0.0.1", "::1", "2001:db8::1", "fec0::1", "ff02::1", "198.18.0.1", "240.0.0.1", "fe80::1%eth0"):
        assert not is_public(address)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Names that lead where a test says, and connections that are noted and led to a server of this machine."""
    monkeypatch.delenv(module.ALLOW_PRIVATE, raising=False)
    serving = _served()
    here = next(serving)
    port = int(here.rpartition(":")[2])
    world: dict[str, Any] = {"names": {}, "resolved": [], "connected": []}
    connect = socket.socket.connect

    def resolve(host: str, service: int, *_: Any, **__: Any) -> list[Any]:
        world["resolved"].append(host)
        answers = world["names"][host]
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, service)) for one in address.split()]

    def connected(sock: socket.socket, address: Any) -> None:
        world["connected"].append(address)
        connect(sock, ("127.0.0.1", port))

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connected)
    yield world
    monkeypatch.undo()
    serving.close()


def test_a_name_is_asked_once_and_its_address_used(internet: dict[str, Any]) -> None:
    internet["names"]["turncoat.example"] = ["93.184.216.34", "127.0.0.1"]  # another answer the second time
    assert fetch("http://turncoat.example/ok") == BODY
    assert internet["resolved"] == ["turncoat.example"]
    assert internet["connected"] == [("93.184.216.34", 80)]
    assert _Handler.seen[0][1]["Host"] == "turncoat.example"


def test_a_name_with_a_private_address_among_others_is_refused(internet: dict[str, Any]) -> None:
    internet["names"]["mixed.example"] = ["93.184.216.34 10.0.0.1"]
    with pytest.raises(ImageError, match=r"10\.0\.0\.1"):
        fetch("http://mixed.example/ok")
    assert not internet["connected"]


def test_redirects_are_checked_as_the_first_place_is(internet: dict[str, Any]) -> None:
    internet["names"] = {"outside.example": ["93.184.216.34"], "metadata.internal": ["169.254.169.254"]}
    target = base64.urlsafe_b64encode(b"http://metadata.internal/latest").decode()
    with pytest.raises(ImageError, match=r"169\.254\.169\.254"):
        fetch(f"http://outside.example/away/{target}")
    assert internet["connected"] == [("93.184.216.34", 80)]


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A server of this machine with a certificate for "localhost" that nobody signed, and the certificate."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv(module.ALLOW_PRIVATE, "1")
    module._tls.cache_clear()
    for url in _served(context):
        yield url, certificate
    module._tls.cache_clear()


def test_certificates_are_verified(secure: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, certificate = secure
    named = url.replace("127.0.0.1", "localhost")
    with pytest.raises(ImageError, match="certificate"):
        fetch(f"{named}/ok")
    module._tls.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch(f"{named}/ok") == BODY
    with pytest.raises(ImageError, match="certificate"):
        fetch(f"{url}/ok")  # signed for another name
    target = base64.urlsafe_b64encode(b"http://localhost/x").decode()
    with pytest.raises(ImageError, match="from https"):
        fetch(f"{named}/away/{target}")
