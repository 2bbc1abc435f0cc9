"""URLs: what is one, its parts, and what of it may stand in a message."""

from __future__ import annotations

import pytest

from onnxpipe.processing.urls import FetchError, Url, is_url, without_secrets


@pytest.mark.parametrize("text", ["http://a/b", "https://a/b", "HTTP://a/b", "Https://A", " http://a/b\n"])
def test_schemes_may_be_in_capitals(text: str) -> None:
    assert is_url(text)
    assert Url.parse(text).scheme in ("http", "https")


@pytest.mark.parametrize("text", ["", "http", "http:/a", "ftp://a", "httpx://a", "photos/http://a", "data:,http://a"])
def test_what_is_no_url(text: str) -> None:
    assert not is_url(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host/a/b.png", "http://host/a/b.png"),
        ("https://host:8080/a.png?token=secret", "https://host:8080/a.png?…"),
        ("https://host/a.png#secret", "https://host/a.png?…"),
        ("https://host?secret", "https://host?…"),
        ("http://me:secret@host/a.png", "http://…@host/a.png"),
        ("http://secret@host/a.png", "http://…@host/a.png"),
        ("http://me:se/cret@host/a.png", "http://…@host/a.png"),
        ("http://me:se@cret@host/a.png?secret", "http://…@host/a.png?…"),
        ("http://me:se/c@r/et@host/a.png", "http://…@host/a.png"),
        ("http://me:se?cret@host/a.png", "http://…"),
        ("http://me:se#cret@host/a.png", "http://…"),
        ("http://host/a.png?mail=me@secret", "http://…"),
        ("HTTP://me:secret@host/", "HTTP://…@host/"),
        ("http://host/" + "a" * 300, "http://host/" + "a" * 188 + "…"),
        ("http://" + "s" * 300 + "@host/", "http://…@host/"),
    ],
)
def test_messages_hold_no_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "url",
    ["http://me:secret/x@host/", "http://me:secret?@host/", "http://me:secret@[host", "http://me:secret@[host]/",
     "ftp://me:secret@host/", "http://me:secret@/x", "http://me:secret@ho st/x", "http://me:secret@host:0/x",
     "http://me:secret@127%2e0.0.1/", "http://host:99999/?secret"],
)  # fmt: skip
def test_errors_of_urls_hold_no_secrets(url: str) -> None:
    with pytest.raises(FetchError) as error:
        Url.parse(url)
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_parts() -> None:
    url = Url.parse("HTTPS://me:p%40ss@Exämple.com/a b?c=d é&e=%20#f")
    assert (url.scheme, url.host, url.port) == ("https", "xn--exmple-cua.com", 443)
    assert url.target == "/a%20b?c=d%20%C3%A9&e=%20"
    assert url.login == "me:p@ss"
    assert url.authority == "xn--exmple-cua.com:443"
    assert url.host_header == "xn--exmple-cua.com"
    other = Url.parse("http://[2001:db8:0::1]:8080")
    assert (other.host, other.authority, other.target) == ("2001:db8::1", "[2001:db8::1]:8080", "/")
    assert other.host_header == "[2001:db8::1]:8080"
