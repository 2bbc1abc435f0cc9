"""Parse http and https URLs, and show them in messages without what may be secret in them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote, urlsplit

_PORTS = {"http": 80, "https": 443}
_SAFE = "/%:=&~+!$,;'@()*[]"
#: What a host may consist of.
_NAME = re.compile(r"[A-Za-z0-9._~-]*")
#: Characters of a URL in a message.
_SHOWN = 200


class FetchError(ValueError):
    """A download that failed. Loaders raise their own error with its message."""


def is_url(text: str) -> bool:
    """Return whether a string is an http:// or https:// URL; the scheme may be in capitals."""
    return text[:32].lstrip()[:8].lower().startswith(("http://", "https://"))


def without_secrets(url: str) -> str:
    """Shorten a URL for a message, without user name, password, query and fragment.

    A password may hold any character, so all before the last "@" may belong to it; where that has a "?" or a "#",
    nothing tells whether a query has begun there, and no part of the URL is shown.
    """
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if "?" in login or "#" in login:
        return f"{scheme}://…"
    visible = re.match(r"[^?#]*", place)[0]  # type: ignore[index]  # it matches every string
    text = f"{scheme}{separator}{'…@' if at else ''}{visible}{'?…' if visible != place else ''}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https URL by its parts.

    Attributes:
        scheme: "http" or "https".
        host: a name in ASCII, or an address without brackets.
        target: path and query, quoted; it begins with "/".
        login: "user:password", unquoted.
        shown: for messages.
    """

    scheme: str
    host: str
    port: int
    target: str
    login: str | None
    shown: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL.

        Raises:
            FetchError: it is not an http:// or https:// URL.
        """
        url = url.strip()
        shown = without_secrets(url)
        try:
            parts = urlsplit(url)
            port = parts.port
            host = _ascii(parts.hostname or "")
        except ValueError:  # its message may hold a part of a password; a UnicodeError is one too
            raise FetchError(f"{shown} is not a valid URL: check its host and port") from None
        if parts.scheme not in _PORTS or not host or port == 0:
            raise FetchError(f"{shown} is not an http:// or https:// URL")
        query = "?" + quote(parts.query, safe="?" + _SAFE) if parts.query else ""
        login = None if parts.username is None else f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        target = quote(parts.path or "/", safe=_SAFE) + query
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], target, login, shown)

    @property
    def authority(self) -> str:
        """The host, with brackets where it is an IPv6 address, and the port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The authority, without the port where it is the scheme's own."""
        return self.authority.removesuffix(f":{_PORTS[self.scheme]}")


def _ascii(host: str) -> str:
    """Convert a host to ASCII (IDNA).

    Raises:
        ValueError: it is neither a name nor an address.
    """
    if ":" in host:
        return str(ipaddress.ip_address(host))
    name = host if host.isascii() else host.encode("idna").decode()
    if not _NAME.fullmatch(name):
        raise ValueError("not a host")
    return name
