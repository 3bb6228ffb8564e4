"""One address at a time, on a real server: what is taken, tried again and rejected, and how much is read."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_prep import fetch as room
from data_prep.fetch import UnfetchedError, fetch, is_public

from .web import Handler, Page, Web, certificate, serving

BODY = bytes(range(256)) * 400
LIMIT = 1 << 20


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server on this machine, where addresses of this machine may be read; and no waiting between tries."""
    monkeypatch.setenv("LSR_FETCH_PRIVATE", "1")
    monkeypatch.setattr(room, "WAITS", (0.0, 0.0))
    room._manager.cache_clear()
    with serving() as server:
        yield server
    room._manager.cache_clear()


def rejected(url: str, limit: int = LIMIT) -> UnfetchedError:
    with pytest.raises(UnfetchedError) as caught:
        fetch(url, limit)
    return caught.value


def in_turn(*pages: Page) -> Page:
    left = list(pages)
    return lambda handler: left.pop(0)(handler)


def test_bytes_arrive_up_to_the_limit_and_no_proxy_is_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    seen: dict[str, str] = {}

    def page(handler: Handler) -> None:
        seen.update(handler.headers)
        handler.reply(BODY)

    web.pages["/p%20%C3%BC.png?w=1&h=2"] = page
    assert fetch(web.url("/p ü.png?w=1&h=2"), len(BODY)) == BODY
    assert (seen["User-Agent"], seen["Accept-Encoding"]) == ("lsr", "identity")


@pytest.mark.parametrize("status", [404, 403, 410, 204, 301])
def test_what_will_not_change_is_asked_once(web: Web, status: int) -> None:
    web.pages["/gone"] = lambda handler: handler.reply(status=status)
    error = rejected(web.url("/gone"))
    assert (str(error), error.passing) == (f"It answers {status}.", False)
    assert web.asked["/gone"] == 1


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_server_is_asked_again(web: Web, status: int) -> None:
    web.pages["/busy"] = in_turn(lambda h: h.reply(status=status), lambda h: h.reply(BODY))
    assert fetch(web.url("/busy"), LIMIT) == BODY
    assert web.asked["/busy"] == 2
    web.pages["/busy"] = lambda handler: handler.reply(status=status)
    error = rejected(web.url("/busy"))
    assert (str(error), error.passing, web.asked["/busy"]) == (f"It answers {status}.", True, 5)


def test_the_waits_between_tries_grow(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(room.time, "sleep", waited.append)
    monkeypatch.setattr(room, "WAITS", (0.5, 2.0))
    assert "NewConnectionError" in str(rejected("http://127.0.0.1:9/nobody"))
    assert waited == [0.5, 2.0]


def test_a_file_too_large_is_rejected_before_it_is_read(web: Web) -> None:
    web.pages["/large"] = lambda handler: handler.cut(b"", len(BODY) + 1)
    error = rejected(web.url("/large"), len(BODY))
    assert (str(error), error.passing) == (f"It has more bytes than max_file_bytes = {len(BODY)}.", False)


def test_of_an_endless_file_hardly_more_than_the_limit_is_read(web: Web) -> None:
    web.pages["/endless"] = lambda handler: handler.endless(BODY, 0.01)
    assert "more bytes than max_file_bytes = 200000" in str(rejected(web.url("/endless"), 200_000))
    assert web.asked["/endless"] == 1
    assert web.sent < 8 << 20, "what the sockets buffer, not what the server has"


def test_a_file_that_drips_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BODY_SECONDS", 0.2)
    web.pages["/slow"] = lambda handler: handler.endless(b"x", 0.05)
    error = rejected(web.url("/slow"))
    assert (str(error), error.passing) == ("It does not come within 0.2 seconds.", True)


def test_a_server_that_falls_silent_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "READ_SECONDS", 0.2)
    web.pages["/silent"] = lambda handler: handler.endless(b"x", 30)
    error = rejected(web.url("/silent"))
    assert (str(error), error.passing) == ("It cannot be fetched: ReadTimeoutError.", True)


def test_headers_that_drip_are_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "HEAD_SECONDS", 0.3)

    def page(handler: Handler) -> None:
        handler.close_connection = True
        handler.send(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(200):
            handler.send(b"x")
            time.sleep(0.05)

    web.pages["/drip"] = page
    start = time.monotonic()
    assert rejected(web.url("/drip")).passing
    assert (time.monotonic() - start) < 6, "the server takes 10 seconds a try"
    assert web.asked["/drip"] == 3


def test_an_empty_reply_is_no_file_and_is_asked_for_again(web: Web) -> None:
    web.pages["/empty"] = in_turn(lambda h: h.reply(b""), lambda h: h.reply(BODY))
    assert fetch(web.url("/empty"), LIMIT) == BODY
    web.pages["/empty"] = lambda handler: handler.reply(b"")
    error = rejected(web.url("/empty"))
    assert (str(error), error.passing) == ("It is empty.", True)


def test_a_file_cut_off_is_no_file_and_is_asked_for_again(web: Web) -> None:
    web.pages["/cut"] = in_turn(lambda h: h.cut(BODY[:5000], 9000), lambda h: h.reply(BODY))
    assert fetch(web.url("/cut"), LIMIT) == BODY
    web.pages["/cut"] = lambda handler: handler.cut(BODY[:5000], 9000)
    error = rejected(web.url("/cut"))
    assert (str(error), error.passing) == ("It cannot be fetched: ProtocolError.", True)
    web.pages["/cut"] = lambda handler: handler.cut(b"%x\r\n" % 5000 + BODY[:2000], 0, Transfer_Encoding="chunked")
    assert str(rejected(web.url("/cut"))) == "It cannot be fetched: ProtocolError."


def test_redirects_are_followed_relative_ones_too_but_not_for_ever(web: Web) -> None:
    web.pages["/a/b"] = lambda handler: handler.reply(status=302, Location="../c")
    web.pages["/c"] = lambda handler: handler.reply(status=308, Location=web.url("/d"))
    web.pages["/d"] = lambda handler: handler.reply(BODY)
    assert fetch(web.url("/a/b"), LIMIT) == BODY
    web.pages["/loop"] = lambda handler: handler.reply(status=301, Location="/loop")
    assert str(rejected(web.url("/loop"))) == "It is redirected more than 5 times."
    assert web.asked["/loop"] == 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/a"])
def test_no_redirect_leaves_the_web(web: Web, target: str) -> None:
    web.pages["/away"] = lambda handler: handler.reply(status=302, Location=target)
    error = rejected(web.url("/away"))
    assert (str(error), error.passing) == (f"It leads to {target!r}, and only http and https are followed.", False)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_not_asked_whatever_its_name(web: Web, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """The name resolves to a public address for whoever asks first, and to this machine for whoever connects."""
    answers, real = [], socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        if host != "images.example":
            return real(host, port, *args, **named)
        answers.append(host)
        return real("127.0.0.1", port, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    web.pages["/p"] = lambda handler: handler.reply(BODY)
    url = web.url("/p", "images.example").replace("http", scheme, 1)
    monkeypatch.delenv("LSR_FETCH_PRIVATE")
    assert "It leads to 127.0.0.1, which is not public" in str(rejected(url))
    assert answers
    assert not web.asked
    monkeypatch.setenv("LSR_FETCH_PRIVATE", "1")
    if scheme == "http":
        assert fetch(url, LIMIT) == BODY


def test_https_is_read_where_the_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Web
) -> None:
    pem = certificate(tmp_path)
    with serving(pem) as safe:
        safe.pages["/p"] = lambda handler: handler.reply(BODY)
        url = safe.url("/p").replace("http", "https", 1)
        assert str(rejected(url)) == "It cannot be fetched: SSLError."
        assert not safe.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        room._manager.cache_clear()
        assert fetch(url, LIMIT) == BODY
        web.pages["/to"] = lambda handler: handler.reply(status=302, Location=url)
        assert fetch(web.url("/to"), LIMIT) == BODY
        assert safe.asked["/p"] == 2


def test_a_redirect_into_a_private_network_is_not_followed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSR_FETCH_PRIVATE")
    monkeypatch.setattr(room, "is_public", lambda address: address == "127.0.0.1" or is_public(address))
    web.pages["/out"] = lambda handler: handler.reply(status=302, Location=web.url("/in", "127.0.0.2"))
    web.pages["/in"] = lambda handler: handler.reply(BODY)
    assert "It leads to 127.0.0.2, which is not public" in str(rejected(web.url("/out")))
    assert web.asked["/out"] == 3
    assert "/in" not in web.asked


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("said", ["noai", "NoAI, noindex", "otherbot: noimageai"])
def test_images_that_ask_not_to_be_used_are_left_alone(web: Web, said: str) -> None:
    web.pages["/mine"] = lambda handler: handler.reply(BODY, X_Robots_Tag=said)
    assert "asks not to use it for AI" in str(rejected(web.url("/mine")))
    web.pages["/mine"] = lambda handler: handler.reply(BODY, X_Robots_Tag="noindex")
    assert fetch(web.url("/mine"), LIMIT) == BODY


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a..b/", "http://h:99999/", "http://\udcff/"])
def test_what_is_no_address_is_rejected_in_words(web: Web, url: str) -> None:
    error = rejected(url)
    assert str(error).startswith("It ")
