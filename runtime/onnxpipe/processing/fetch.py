"""Download from a URL that somebody else may have chosen.

A server that loads URLs for its users must not become a way into its own network. So an address is checked, and the
connection is made to that very address (a name can resolve differently a moment later). Every redirect is checked
again, and size and time have limits. Proxies of the environment are not used, because a proxy would resolve the name
itself, after the check.
"""

from __future__ import annotations

import base64
import http.client
import io
import ipaddress
import os
import socket
import ssl
import time
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from onnxpipe._version import __version__

#: Seconds that a download may take if no timeout is passed.
DEFAULT_SECONDS = 60.0
#: Name of the environment variable that allows addresses of this machine and of private networks if it is 1.
ALLOW_PRIVATE = "ONNXPIPE_ALLOW_PRIVATE_URLS"

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_BLOCK = 2**16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class FetchError(ValueError):
    """A download that failed. Loaders raise their own error with its message."""


def fetch(url: str, timeout: float | None, *, max_bytes: int) -> bytes:
    """Download the body of a URL.

    Args:
        url: http:// or https://.
        timeout: seconds for all of it: connections, redirects, headers and body; None for `DEFAULT_SECONDS`. The time
            to resolve a name counts, but only the system's own limit can end it.
        max_bytes: largest body that is allowed.

    Raises:
        FetchError: there is no such host, an address is not public, the status is not 200, there are too many
            redirects, the body is too large, the time is over, or the TLS certificate is not valid.
    """
    seconds = DEFAULT_SECONDS if timeout is None else float(timeout)
    deadline = _Deadline(time.monotonic() + seconds, seconds)
    here = url
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            target, body = _get(_split(here), deadline, max_bytes)
            if target is None:
                return body
            here = _redirected(here, target)
    except TimeoutError as error:
        raise FetchError(f"{_for_message(url)} took longer than {seconds:g} s; pass a longer timeout=") from error
    except ssl.SSLCertVerificationError as error:
        failure = f"TLS certificate verification failed for {_for_message(here)}: {error.verify_message}"
        raise FetchError(failure) from error
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise FetchError(f"{_for_message(here)} could not be downloaded: {error or type(error).__name__}") from error
    raise FetchError(f"{_for_message(url)} redirects more than {_MAX_REDIRECTS} times")


@dataclass(frozen=True, slots=True)
class _Deadline:
    at: float
    seconds: float

    def left(self) -> float:
        """Return the seconds that remain.

        Raises:
            TimeoutError: no time is left.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Timed(io.RawIOBase):
    """Wrap a connected socket for `http.client` so that every wait ends at the deadline."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._deadline.left())
        return self._sock.recv_into(buffer)

    def sendall(self, data: Any) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, _BLOCK)


def _split(url: str) -> SplitResult:
    """Split a URL into its parts, and check that it is http:// or https://."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"{_for_message(url)} is not a valid URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise FetchError(f"{_for_message(url)} is not an http:// or https:// URL")
    return parts


def _redirected(here: str, target: str) -> str:
    following = urljoin(here, target)
    if urlsplit(here).scheme == "https" and urlsplit(following).scheme != "https":
        raise FetchError(f"{_for_message(here)} redirects from https to {_for_message(following)}, which is not secure")
    return following


def _get(parts: SplitResult, deadline: _Deadline, max_bytes: int) -> tuple[str | None, bytes]:
    """Send one request; return the URL that it redirects to, or the body."""
    host = parts.hostname or ""
    with _connect(parts, host, deadline) as sock:
        connection = http.client.HTTPConnection(host, parts.port or _PORTS[parts.scheme])
        if parts.scheme == "https":
            connection.default_port = 443  # so that the Host header names no port
        connection.sock = _Timed(sock, deadline)  # it has every method of a socket that http.client calls
        path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]")
        query = "?" + quote(parts.query, safe="/%:=&?~+!$,;'@()*[]") if parts.query else ""
        connection.request("GET", path + query, headers=_headers(parts))
        response = connection.getresponse()
        if response.status in _REDIRECTS and (target := response.getheader("Location")):
            return target, b""
        if response.status != 200:
            raise FetchError(f"{_for_message(parts.geturl())} answers {response.status} {response.reason}".rstrip())
        return None, _body(response, parts.geturl(), max_bytes)


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"User-Agent": f"onnxpipe/{__version__}", "Accept-Encoding": "identity", "Connection": "close"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    return headers


def _body(response: http.client.HTTPResponse, url: str, max_bytes: int) -> bytes:
    too_large = FetchError(f"{_for_message(url)} is larger than {max_bytes / 2**20:g} MB")
    if (response.length or 0) > max_bytes:
        raise too_large
    if (encoding := response.getheader("Content-Encoding", "identity")) != "identity":
        raise FetchError(f"{_for_message(url)} answers with Content-Encoding {encoding}, which was not requested")
    body = bytearray()
    while block := response.read(_BLOCK):
        body += block
        if len(body) > max_bytes:
            raise too_large
    if response.length:  # http.client ends quietly where a body is shorter than its Content-Length
        raise FetchError(f"{_for_message(url)} ended too early: {response.length} bytes are missing")
    return bytes(body)


def _connect(parts: SplitResult, host: str, deadline: _Deadline) -> socket.socket:
    """Connect to one of the addresses of a host, which are all checked first."""
    failure: OSError | None = None
    for family, address in _addresses(parts, host):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.left())
            sock.connect(address)
            if parts.scheme == "http":
                return sock
            sock.settimeout(deadline.left())
            return _tls().wrap_socket(sock, server_hostname=host)
        except (TimeoutError, ssl.SSLError):
            sock.close()
            raise
        except OSError as error:
            sock.close()
            failure = error
    raise failure or OSError("the host has no address")


def _addresses(parts: SplitResult, host: str) -> list[tuple[int, Any]]:
    """Resolve a host; return its address families and socket addresses.

    Raises:
        FetchError: one of them is not public, and private ones are not allowed.
    """
    resolved = socket.getaddrinfo(host, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM)
    if os.environ.get(ALLOW_PRIVATE) != "1":
        for *_, address in resolved:
            if not is_public(str(address[0])):
                raise FetchError(
                    f"{_for_message(parts.geturl())} resolves to {address[0]}, an address of this machine or of a "
                    f"private network; set {ALLOW_PRIVATE}=1 to allow it"
                )
    return [(family, address) for family, _, _, _, address in resolved]


def is_public(address: str) -> bool:
    """Return whether an IP address is public: not of this machine, a private network, a group, or a reserved block."""
    ip = _unwrapped(ipaddress.ip_address(address))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or getattr(ip, "is_site_local", False))


def _unwrapped(ip: Address) -> Address:
    """Return the IPv4 address inside an IPv6 address that only carries it (mapped, 6to4, NAT64), or the address."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


@cache
def _tls() -> ssl.SSLContext:
    """Build the TLS context: certificates of the system and of certifi, because slim containers have none."""
    context = ssl.create_default_context()
    if "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
        return context
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def _for_message(url: str) -> str:
    """Shorten a URL for a message, and hide its user name and password."""
    head, at, tail = url.partition("@")
    text = f"{head.partition('://')[0]}://…@{tail}" if at and "/" not in head.partition("://")[2] else url
    return text if len(text) <= 200 else text[:200] + "…"
