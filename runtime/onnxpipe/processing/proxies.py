"""Find the proxy that the environment names for a URL: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

from onnxpipe.processing.urls import FetchError, Url, without_secrets


def proxy_for(url: Url) -> Url | None:
    """Return the proxy for a URL, or None where the connection is direct.

    The variables mean what they mean to Python and curl: small letters go before capitals; NO_PROXY lists hosts, with
    or without a port, domains with all below them, and networks (10.0.0.0/8); "*" is every host.

    Raises:
        FetchError: the variable names something that is not an http:// proxy.
    """
    from urllib.request import getproxies_environment

    named = getproxies_environment()
    text = named.get(url.scheme) or named.get("all")
    if not text or _is_exempt(url, named.get("no", "")):
        return None
    text = text if "://" in text else f"http://{text}"
    try:
        proxy = Url.parse(text)
    except FetchError:
        proxy = None
    if proxy is None or proxy.scheme != "http":
        raise FetchError(
            f"the environment names the proxy {without_secrets(text)} for {url.scheme} URLs: only http:// proxies are "
            f"supported; set {url.scheme.upper()}_PROXY to one, or NO_PROXY={url.host} to connect directly"
        )
    return proxy


def _is_exempt(url: Url, no_proxy: str) -> bool:
    """Return whether NO_PROXY names the host of a URL."""
    return any(_names(entry.lower(), url) for entry in re.split(r"[,\s]+", no_proxy))


def _names(entry: str, url: Url) -> bool:
    host = url.host.lower().rstrip(".")
    if entry == "*":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    name, _, port = entry.rpartition(":") if entry.rpartition(":")[2].isdecimal() else (entry, "", "")
    name = name.strip("[]").lstrip("*").strip(".")
    return bool(name) and port in ("", str(url.port)) and (host == name or host.endswith(f".{name}"))
