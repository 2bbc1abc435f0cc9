"""Proxies of the environment: which URL goes through which."""

from __future__ import annotations

import os

import pytest

from onnxpipe.processing.proxies import proxy_for
from onnxpipe.processing.urls import FetchError, Url


def _authority(monkeypatch: pytest.MonkeyPatch, url: str, **environment: str) -> str | None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(Url.parse(url))
    return None if proxy is None else proxy.authority


def test_each_scheme_has_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _authority(monkeypatch, "http://a.example/") is None
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        url = "https://a.example/" if "https" in name.lower() else "http://a.example/"
        for proxy in ("http://proxy.example:3128", "proxy.example:3128"):
            assert _authority(monkeypatch, url, **{name: proxy}) == "proxy.example:3128"
    assert _authority(monkeypatch, "https://a.example/", HTTP_PROXY="http://proxy.example") is None
    assert _authority(monkeypatch, "http://a.example/", HTTP_PROXY="") is None
    both = {"HTTP_PROXY": "http://first.example", "http_proxy": "http://second.example"}
    assert _authority(monkeypatch, "http://a.example/", **both) == "second.example:80"


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("http://a.example/", "a.example", True),
        ("http://A.Example./", "a.example", True),
        ("http://b.a.example/", "a.example", True),
        ("http://b.a.example/", ".a.example", True),
        ("http://b.a.example/", "*.a.example", True),
        ("http://ba.example/", "a.example", False),
        ("http://a.example.org/", "a.example", False),
        ("http://a.example:81/", "a.example:81", True),
        ("http://a.example/", "a.example:81", False),
        ("http://a.example/", "x.example, a.example", True),
        ("http://a.example/", "x.example a.example", True),
        ("http://a.example/", "*", True),
        ("http://a.example/", " , ,", False),
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://127.0.0.1:5000/", "127.0.0.1", True),
        ("http://127.0.0.1:5000/", "127.0.0.1:5000", True),
        ("http://[::1]/", "::1", True),
        ("http://[::1]:80/", "[::1]:80", True),
        ("http://[2001:db8::5]/", "2001:db8::/32", True),
        ("http://a.example/", "10.0.0.0/8", False),
    ],
)
def test_no_proxy(url: str, no_proxy: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _authority(monkeypatch, url, HTTP_PROXY="http://proxy.example", NO_PROXY=no_proxy)
    assert found == (None if direct else "proxy.example:80")


@pytest.mark.parametrize("proxy", ["socks5://me:secret@proxy:1080", "https://me:secret@proxy", "http://me:secret@"])
def test_other_proxies_are_refused_without_their_password(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchError, match="only http:// proxies are supported; set HTTP_PROXY") as error:
        _authority(monkeypatch, "http://a.example/", HTTP_PROXY=proxy)
    assert "secret" not in str(error.value)
