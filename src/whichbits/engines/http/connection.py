"""How an engine is reached: address, served name, key, proxy and certificates, the same for scoring and for measuring."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from whichbits.core.errors import UserError
from whichbits.engines.http.access import OPEN, Access

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Connection:
    """Where an OpenAI-compatible server answers and what is asked of it.

    url: its root, with or without /v1. model: the name it serves the model under; None stands for the only one that it lists.
    access: the key and the headers that it asks for. timeout_s: longest silence within one request. Raises UserError where the
    address cannot be used.
    """

    url: str
    model: str | None = None
    access: Access = OPEN
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", root_of(self.url))

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers of every request."""
        named = {name.lower() for name in self.access.headers}
        own = {} if "user-agent" in named else {"User-Agent": "whichbits"}
        return {**own, "Accept": "application/json, text/event-stream, text/plain", **self.access.headers}

    @property
    def proxy(self) -> str | None:
        """Address of the proxy that leads there; None for a direct connection."""
        return proxy_of(self.url)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What certificates are checked against; None for plain HTTP without a proxy that speaks TLS."""
        needed = self.url.startswith("https://") or (self.proxy or "").startswith("https://")
        return tls_context() if needed else None


def root_of(url: str) -> str:
    """The root of a server's address, without /v1 and slashes at its end. Raises UserError."""
    remedy = "write it as http://HOST:PORT or https://HOST/PATH"
    try:
        address = urlsplit(url.strip())
        port = address.port
    except ValueError as error:
        raise UserError(f"url {_without_secrets(url)!r} is no address of a server: {error}", remedy=remedy) from None
    if address.scheme not in ("http", "https") or not address.hostname or port == 0:
        raise UserError(f"url {_without_secrets(url)!r} is no address of a server", remedy=remedy)
    if address.username is not None or address.password is not None:
        raise UserError(
            f"url {_without_secrets(url)} has a user or password in it, which would be kept with the results",
            remedy="leave it out and set OPENAI_API_KEY",
        )
    if address.query or address.fragment:
        raise UserError(f"url {_without_secrets(url)} has a query or fragment", remedy=remedy)
    path = re.sub(r"(/v1)?(/(chat/)?completions|/models)?/*$", "", address.path.rstrip("/")).rstrip("/")
    return f"{address.scheme}://{address.netloc}{path}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine: localhost, 127.0.0.0/8, ::1, and 0.0.0.0 or ::, which lead here."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    found = _ip(name)
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    return found is not None and (found.is_loopback or found.is_unspecified)


def proxy_of(url: str) -> str | None:
    """The environment's proxy for an address; None for loopback, and for what NO_PROXY names.

    The variables are http_proxy, https_proxy and all_proxy in small or capital letters; NO_PROXY holds names, domains,
    addresses, networks (10.0.0.0/8) or `*`. Raises UserError for a proxy that does not speak HTTP.
    """
    address = urlsplit(url)
    host = address.hostname or ""
    stated = urllib.request.getproxies_environment()
    proxy = stated.get(address.scheme) or stated.get("all")
    if not proxy or is_loopback(host) or _excepted(host, address.port, stated.get("no", "")):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise UserError(
            f"proxy {_without_secrets(proxy)} of the environment does not speak HTTP",
            remedy=f"set {address.scheme}_proxy to an HTTP proxy, or add {host} to NO_PROXY",
        )
    return proxy


def tls_context() -> ssl.SSLContext:
    """What certificates are checked against: SSL_CERT_FILE and SSL_CERT_DIR where given, else the system's and certifi's."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        import certifi

        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        return context
    for name, value in (("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folder)):
        if value and not Path(value).exists():
            raise UserError(f"{name}: {value} does not exist", remedy="name the certificates of your authority, or unset it")
    try:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except (ssl.SSLError, OSError) as error:
        raise UserError(f"SSL_CERT_FILE: {file} has no certificates: {error}", remedy="name a PEM file") from None


def _excepted(host: str, port: int | None, exceptions: str) -> bool:
    """Whether NO_PROXY names a host: itself, a domain it is in, a network it is in, or everything."""
    address = _ip(host)
    for entry in filter(None, (part.strip().lower() for part in exceptions.split(","))):
        name = entry.removeprefix("*").lstrip(".").removesuffix(f":{port}")
        if entry == "*" or host == name.strip("[]") or host.endswith(f".{name}"):
            return True
        try:
            if address is not None and address in ipaddress.ip_network(entry.strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as, short forms (127.1) too; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        if re.fullmatch(r"[0-9.]+", host):
            try:
                return ipaddress.ip_address(socket.inet_aton(host))
            except OSError:
                return None
        return None


def _without_secrets(url: str) -> str:
    """An address without the user and password in it."""
    return re.sub(r"//[^/@]*@", "//", url)
