"""One image from a web address, within limits that a stranger's server cannot stretch.

The environment's proxies are not used: what is checked is the address that the socket is connected to.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.response import HTTPResponse

from lsr.core.settings import load_settings

SCHEMES = ("http", "https")
HOPS = 5
CONNECT_SECONDS, READ_SECONDS, HEAD_SECONDS, BODY_SECONDS = 10.0, 20.0, 30.0, 120.0
WAITS = (0.5, 2.0)
"""Seconds before the second and the third try."""

HOSTS, AT_ONCE = 64, 8
PIECE = 1 << 16
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
OPT_OUT = frozenset({"noai", "noimageai"})
HEADERS = {"User-Agent": "lsr", "Accept": "image/*, */*;q=0.1", "Accept-Encoding": "identity"}


class UnfetchedError(Exception):
    """Why an address gave no file, as a sentence about it. passing: whether another time may do better."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


def fetch(address: str, limit: int) -> bytes:
    """The bytes at an http or https address, at most `limit`; tried again where another time may do better.

    Follows at most HOPS redirects, each to http or https. Unless the settings allow it, no request is sent to an
    address outside the public internet (loopback, private, link-local and other reserved ranges), whatever its name
    resolves to; a connection may have been opened by then. Silence takes at most READ_SECONDS, headers HEAD_SECONDS, a
    body BODY_SECONDS. Images whose server says `noai` or `noimageai` in X-Robots-Tag are left alone.
    Raises UnfetchedError.
    """
    for wait in WAITS:
        try:
            return _follow(address, limit)
        except UnfetchedError as error:
            if not error.passing:
                raise
        time.sleep(wait)
    return _follow(address, limit)


def _follow(address: str, limit: int) -> bytes:
    for _ in range(HOPS + 1):
        try:
            if urlsplit(address).scheme.lower() not in SCHEMES:
                raise UnfetchedError(f"It leads to {address!r}, and only http and https are followed.")
            reply = _manager().urlopen(
                "GET", address, redirect=False, retries=False, preload_content=False, decode_content=False
            )
            try:
                found = reply.get_redirect_location()
                if not found:
                    return _body(reply, limit)
                address = urljoin(address, found)
            finally:
                # Of a reply that was read whole the connection is free already, and stays open.
                reply.close()
        except (LocationValueError, ValueError) as error:
            raise UnfetchedError(f"It leads to {address!r}, which is no address: {str(error).rstrip('.')}.") from error
        except HTTPError as error:
            raise UnfetchedError(f"It cannot be fetched: {_named(error)}.", passing=True) from error
    raise UnfetchedError(f"It is redirected more than {HOPS} times.")


def _body(reply: BaseHTTPResponse, limit: int) -> bytes:
    if reply.status != 200:
        raise UnfetchedError(f"It answers {reply.status}.", passing=reply.status in PASSING)
    if OPT_OUT & {word.strip().lower() for word in reply.headers.get("X-Robots-Tag", "").replace(":", ",").split(",")}:
        raise UnfetchedError("Its server asks not to use it for AI (X-Robots-Tag).")
    announced = reply.headers.get("Content-Length", "")
    too_large = UnfetchedError(f"It has more bytes than max_file_bytes = {limit}.")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    data, end = bytearray(), time.monotonic() + BODY_SECONDS
    # read1 returns what has come; read would wait for a whole piece, however slowly it drips. Of a body that ends
    # before its announced length both raise.
    while piece := reply.read1(PIECE):
        data += piece
        if len(data) > limit:
            raise too_large
        if time.monotonic() > end:
            raise UnfetchedError(f"It does not come within {BODY_SECONDS:g} seconds.", passing=True)
    if not data:
        # Also what is left of a reply that ended inside its headers.
        raise UnfetchedError("It is empty.", passing=True)
    return bytes(data)


def _named(error: HTTPError) -> str:
    """The error's kind: its text has addresses in memory and ports that differ from run to run."""
    return type(error).__name__


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet's."""
    found = ipaddress.ip_address(address)
    inside = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    plain = inside or found
    return plain.is_global and not plain.is_multicast


def _public(connected: socket.socket) -> socket.socket:
    """The socket, nothing sent through it yet. Asking the name again would leave a server the time to change it."""
    address = connected.getpeername()[0]
    if is_public(address) or load_settings().fetch_private:
        return connected
    connected.close()
    raise UnfetchedError(
        f"It leads to {address}, which is not public; set LSR_FETCH_PRIVATE=1 where such addresses may be read.",
        passing=True,
    )


@contextmanager
def _hanging_up(connected: socket.socket | None) -> Iterator[None]:
    """Ends a connection whose headers take longer than HEAD_SECONDS: its own timeout begins anew with every byte."""

    def hang_up() -> None:
        if connected is not None:
            with suppress(OSError):
                # An SSL socket's own method would take the other thread's session away under its hands.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = threading.Timer(HEAD_SECONDS, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Http(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _public(super()._new_conn())

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3
        with _hanging_up(self.sock):
            return super().getresponse()


class _Https(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _public(super()._new_conn())

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3
        with _hanging_up(self.sock):
            return super().getresponse()


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


@lru_cache(maxsize=1)
def _manager() -> PoolManager:
    timeout = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    manager = PoolManager(num_pools=HOSTS, maxsize=AT_ONCE, headers=HEADERS, timeout=timeout)
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager
