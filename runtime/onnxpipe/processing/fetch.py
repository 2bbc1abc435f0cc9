"""Bytes from a URL that somebody else may have chosen.

A server that loads what its users name must not become a door to its own network, so an address is checked and then
that very address is connected to (a name can resolve differently a moment later). Every redirect is checked again,
and size and time have limits. Proxies of the environment are not used: a proxy resolves the name itself, after the
check.
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

#: Seconds that a download may take where no timeout is given.
DEFAULT_SECONDS = 60.0
#: Set to 1, it allows addresses of this machine and of private networks.
ALLOW_PRIVATE = "ONNXPIPE_ALLOW_PRIVATE_URLS"

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_BLOCK = 2**16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class FetchError(ValueError):
    """A URL that gives nothing. Loaders raise their own error with its message."""


def fetch(url: str, timeout: float | None, *, max_bytes: int) -> bytes:
    """The body that a URL gives.

    Args:
        url: http:// or https://.
        timeout: seconds for all of it: connections, redirects, headers and body; None for `DEFAULT_SECONDS`. Resolving
            a name counts, but only the system's own limit ends it.
        max_bytes: largest body.

    Raises:
        FetchError: no such host, an address that is not public, a status that is not 200, too many redirects, too
            large, too slow, or a certificate that does not hold.
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
        raise FetchError(f"{_shown(url)} took longer than {seconds:g} s; give a longer timeout=") from error
    except ssl.SSLCertVerificationError as error:
        raise FetchError(f"the certificate of {_shown(here)} does not hold: {error.verify_message}") from error
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise FetchError(f"{_shown(here)} could not be downloaded: {error or type(error).__name__}") from error
    raise FetchError(f"{_shown(url)} redirects more than {_MAX_REDIRECTS} times")


@dataclass(frozen=True, slots=True)
class _Deadline:
    at: float
    seconds: float

    def left(self) -> float:
        """Seconds that remain.

        Raises:
            TimeoutError: none.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Timed(io.RawIOBase):
    """A connected socket, as `http.client` uses it, on which every wait ends at the deadline."""

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
    """The parts of a URL that may be asked."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"{_shown(url)} is no valid URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise FetchError(f"{_shown(url)} is no http:// or https:// URL")
    return parts


def _redirected(here: str, target: str) -> str:
    following = urljoin(here, target)
    if urlsplit(here).scheme == "https" and urlsplit(following).scheme != "https":
        raise FetchError(f"{_shown(here)} redirects from https to {_shown(following)}, which is not secure")
    return following


def _get(parts: SplitResult, deadline: _Deadline, max_bytes: int) -> tuple[str | None, bytes]:
    """One request: the place it redirects to, or its body."""
    host = parts.hostname or ""
    with _connect(parts, host, deadline) as sock:
        connection = http.client.HTTPConnection(host, parts.port or _PORTS[parts.scheme])
        if parts.scheme == "https":
            connection.default_port = 443  # so that the Host header names no port
        connection.sock = _Timed(sock, deadline)  # has all that http.client uses of a socket
        path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]")
        query = "?" + quote(parts.query, safe="/%:=&?~+!$,;'@()*[]") if parts.query else ""
        connection.request("GET", path + query, headers=_headers(parts))
        response = connection.getresponse()
        if response.status in _REDIRECTS and (target := response.getheader("Location")):
            return target, b""
        if response.status != 200:
            raise FetchError(f"{_shown(parts.geturl())} answers {response.status} {response.reason}".rstrip())
        return None, _body(response, parts.geturl(), max_bytes)


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"User-Agent": f"onnxpipe/{__version__}", "Accept-Encoding": "identity", "Connection": "close"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    return headers


def _body(response: http.client.HTTPResponse, url: str, max_bytes: int) -> bytes:
    too_large = FetchError(f"{_shown(url)} is larger than {max_bytes / 2**20:g} MB")
    if (response.length or 0) > max_bytes:
        raise too_large
    if (encoding := response.getheader("Content-Encoding", "identity")) != "identity":
        raise FetchError(f"{_shown(url)} answers with Content-Encoding {encoding}, which was not asked for")
    body = bytearray()
    while block := response.read(_BLOCK):
        body += block
        if len(body) > max_bytes:
            raise too_large
    if response.length:  # http.client ends quietly where a body is shorter than its Content-Length
        raise FetchError(f"{_shown(url)} broke off: {response.length} bytes are missing")
    return bytes(body)


def _connect(parts: SplitResult, host: str, deadline: _Deadline) -> socket.socket:
    """A socket to one of the host's addresses, all of which were checked."""
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
    """Address families and socket addresses of a host.

    Raises:
        FetchError: one of them is not public and private ones are not allowed.
    """
    found = socket.getaddrinfo(host, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM)
    if os.environ.get(ALLOW_PRIVATE) != "1":
        for *_, address in found:
            if not is_public(str(address[0])):
                raise FetchError(
                    f"{_shown(parts.geturl())} leads to {address[0]}, an address of this machine or of a private "
                    f"network; set {ALLOW_PRIVATE}=1 if that is meant"
                )
    return [(family, address) for family, _, _, _, address in found]


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet: not to this machine, its network, a group, or a reserved block."""
    ip = _unwrapped(ipaddress.ip_address(address))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or getattr(ip, "is_site_local", False))


def _unwrapped(ip: Address) -> Address:
    """The IPv4 address inside an IPv6 address that only carries it (mapped, 6to4, NAT64), or the address itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


@cache
def _tls() -> ssl.SSLContext:
    """Certificates of the system; of certifi too, because slim containers have none of their own."""
    context = ssl.create_default_context()
    if "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
        return context
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def _shown(url: str) -> str:
    """A URL for a message: without a password, and short."""
    head, at, tail = url.partition("@")
    shown = f"{head.partition('://')[0]}://…@{tail}" if at and "/" not in head.partition("://")[2] else url
    return shown if len(shown) <= 200 else shown[:200] + "…"
