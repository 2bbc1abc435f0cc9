"""Download from a URL that somebody else may have chosen.

A server that loads URLs for its users must not become a way into its own network. So an address is checked, and the
connection is made to that very address (a name can resolve differently a moment later). Every redirect is checked
again, and size and time have limits. Where the environment names a proxy, the proxy resolves names and connects: then
it is the boundary, and only addresses that stand in the URL itself are checked here.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urljoin

import h11

from onnxpipe._version import __version__
from onnxpipe.processing.proxies import proxy_for
from onnxpipe.processing.urls import FetchError, Url, is_url, without_secrets

__all__ = ["ALLOW_PRIVATE", "DEFAULT_SECONDS", "FetchError", "fetch", "is_public", "is_url", "without_secrets"]

#: Seconds that a download may take if no timeout is passed.
DEFAULT_SECONDS = 60.0
#: Name of the environment variable that allows addresses of this machine and of private networks if it is 1.
ALLOW_PRIVATE = "ONNXPIPE_ALLOW_PRIVATE_URLS"

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_BLOCK = 2**16
#: Bytes of the headers of an answer, and of the line before a chunk.
_MAX_HEADERS = 2**16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch(url: str, timeout: float | None, *, max_bytes: int) -> bytes:
    """Download the body of a URL.

    Args:
        url: http:// or https://.
        timeout: seconds for all of it: connections, redirects, headers and body; None for `DEFAULT_SECONDS`. The time
            to resolve a name counts, but only the system's own limit can end it.
        max_bytes: largest body that is allowed.

    Raises:
        FetchError: there is no such host, an address is not public, the status is not 200, there are too many
            redirects, the body is too large or ends too early, the answer is not HTTP, the time is over, the TLS
            certificate is not valid, or the proxy refuses.
    """
    seconds = DEFAULT_SECONDS if timeout is None else float(timeout)
    deadline = _Deadline(time.monotonic() + seconds, seconds)
    here = url.strip()
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            target, body = _get(Url.parse(here), deadline, max_bytes)
            if target is None:
                return body
            here = _redirected(here, target)
    except TimeoutError as error:
        raise FetchError(f"{without_secrets(url)} took longer than {seconds:g} s; pass a longer timeout=") from error
    except ssl.SSLCertVerificationError as error:
        failure = f"TLS certificate verification failed for {without_secrets(here)}: {error.verify_message}"
        raise FetchError(failure) from error
    except h11.ProtocolError as error:
        raise FetchError(f"the answer of {without_secrets(here)} is not valid HTTP: {str(error)[:200]}") from error
    except (OSError, UnicodeError) as error:
        raise FetchError(f"{without_secrets(here)} could not be downloaded: {error or type(error).__name__}") from error
    raise FetchError(f"{without_secrets(url)} redirects more than {_MAX_REDIRECTS} times")


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


class _Exchange:
    """Send one request on a connected socket and read its answer; every wait ends at the deadline."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEADERS)
        self._ended = False

    def ask(self, method: str, target: str, headers: dict[str, str]) -> h11.Response:
        """Send a request without a body; return the head of its answer."""
        request = h11.Request(method=method, target=target, headers=list(headers.items()))
        for event in (request, h11.EndOfMessage()):
            self._sock.settimeout(self._deadline.left())
            self._sock.sendall(self._http.send(event) or b"")
        while not isinstance(answer := self._next(), h11.Response):
            pass  # 1xx: the answer is still to come
        return answer

    def body(self) -> Iterator[bytes]:
        """Yield the parts of the body as they come."""
        while isinstance(event := self._next(), h11.Data):
            yield bytes(event.data)

    def _next(self) -> Any:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._sock.settimeout(self._deadline.left())
                block = self._sock.recv(_BLOCK)
                self._ended = not block
                self._http.receive_data(block)
        except h11.RemoteProtocolError as error:
            if self._ended:
                raise ConnectionError("the connection ended before the answer was complete") from error
            raise
        return event


def _redirected(here: str, target: str) -> str:
    try:
        following = urljoin(here, target.strip())
    except ValueError:  # its message may hold a part of the URL
        raise FetchError(f"{without_secrets(here)} redirects to what is not a valid URL") from None
    if here[:6].lower() == "https:" and following[:6].lower() != "https:":
        shown = without_secrets(following)
        raise FetchError(f"{without_secrets(here)} redirects from https to {shown}, which is not secure")
    return following


def _get(url: Url, deadline: _Deadline, max_bytes: int) -> tuple[str | None, bytes]:
    """Send one request; return the URL that it redirects to, or the body."""
    proxy = proxy_for(url)
    with _connect(url, proxy, deadline) as sock:
        headers = {"Host": url.host_header, "User-Agent": f"onnxpipe/{__version__}", "Accept": "*/*",
                   "Accept-Encoding": "identity", "Connection": "close"}  # fmt: skip
        if url.login is not None:
            headers["Authorization"] = _basic(url.login)
        target = url.target
        if proxy is not None and url.scheme == "http":
            target = f"http://{url.host_header}{target}"
            headers.update(_proxy_login(proxy))
        exchange = _Exchange(sock, deadline)
        answer = exchange.ask("GET", target, headers)
        answered = {name.decode("ascii"): value.decode("utf-8", "replace") for name, value in answer.headers}
        if answer.status_code in _REDIRECTS and answered.get("location"):
            return answered["location"], b""
        if answer.status_code != 200:
            raise FetchError(f"{url.shown} answers {_status(answer)}")
        return None, _body(exchange, answered, url.shown, max_bytes)


def _body(exchange: _Exchange, headers: dict[str, str], shown: str, max_bytes: int) -> bytes:
    too_large = FetchError(f"{shown} is larger than {max_bytes / 2**20:g} MB")
    if (encoding := headers.get("content-encoding", "identity").lower()) != "identity":
        raise FetchError(f"{shown} answers with Content-Encoding {encoding}, which was not requested")
    if "transfer-encoding" not in headers and int(headers.get("content-length", 0)) > max_bytes:
        raise too_large
    body = bytearray()
    for part in exchange.body():
        body += part
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def _proxy_login(proxy: Url) -> dict[str, str]:
    return {} if proxy.login is None else {"Proxy-Authorization": _basic(proxy.login)}


def _status(answer: h11.Response) -> str:
    return f"{answer.status_code} {bytes(answer.reason).decode('utf-8', 'replace')}".rstrip()


def _connect(url: Url, proxy: Url | None, deadline: _Deadline) -> socket.socket:
    """Connect to the host of a URL, directly after its addresses are checked or through a proxy."""
    if proxy is None:
        addresses = _resolve(url)
        _check_addresses(url, [str(address[0]) for _, address in addresses])
        sock = _connect_to_one(addresses, deadline)
    else:
        _check_addresses(url, _addresses_in(url.host))
        try:
            sock = _connect_to_one(_resolve(proxy), deadline)
        except TimeoutError:
            raise
        except OSError as error:
            raise OSError(f"the proxy {proxy.shown} cannot be reached: {error}") from error
    if url.scheme == "http":
        return sock
    try:
        if proxy is not None:
            _open_tunnel(sock, url, proxy, deadline)
        sock.settimeout(deadline.left())
        return _tls().wrap_socket(sock, server_hostname=url.host)
    except BaseException:
        sock.close()
        raise


def _connect_to_one(addresses: list[tuple[int, Any]], deadline: _Deadline) -> socket.socket:
    """Connect to the first of the addresses that answers."""
    failure = OSError("the host has no address")
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.left())
            sock.connect(address)
            return sock
        except TimeoutError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def _open_tunnel(sock: socket.socket, url: Url, proxy: Url, deadline: _Deadline) -> None:
    """Ask a proxy to connect to the host of a URL."""
    headers = {"Host": url.authority, "User-Agent": f"onnxpipe/{__version__}", **_proxy_login(proxy)}
    answer = _Exchange(sock, deadline).ask("CONNECT", url.authority, headers)
    if not 200 <= answer.status_code < 300:
        raise FetchError(f"the proxy {proxy.shown} answers {_status(answer)} when asked for {url.shown}")


def _resolve(url: Url) -> list[tuple[int, Any]]:
    """Resolve the host of a URL; return address families and socket addresses."""
    resolved = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in resolved]


def _check_addresses(url: Url, addresses: list[str]) -> None:
    """Raise where one of the addresses of a URL is not public, and private ones are not allowed."""
    if os.environ.get(ALLOW_PRIVATE) == "1":
        return
    for address in addresses:
        if not is_public(address):
            raise FetchError(
                f"{url.shown} resolves to {address}, an address of this machine or of a private network; set "
                f"{ALLOW_PRIVATE}=1 to allow it"
            )


def _addresses_in(host: str) -> list[str]:
    """Return the address that a host is by itself, in any of its forms (127.1, 0x7f.1), as a list; names have none."""
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return ["127.0.0.1"]
    if ":" in host:
        return [host]
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        return []


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
