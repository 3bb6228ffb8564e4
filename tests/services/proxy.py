"""An HTTP proxy before an S3 server that counts what passes through it and, if asked to, corrupts some of it."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# Of one connection only, or answered by this proxy itself.
_OWN = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}


@dataclass(frozen=True)
class Faults:
    """Shares of the requests that go wrong. failed: answered 500 or 503 and not passed on. lost: passed on, but the
    connection is reset instead of an answer. cut: the body ends in its middle. slow: the body comes in pieces, over
    `seconds`. seed: of the draws.
    """

    failed: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    slow: float = 0.0
    seconds: float = 0.3
    seed: int = 0


class CountingProxy(ThreadingHTTPServer):
    """counts: requests by method. paths: path of every request that is no GET or HEAD. faulty: faults by kind."""

    daemon_threads = True

    def __init__(self, upstream: str, faults: Faults | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.counts: Counter[str] = Counter()
        self.paths: list[str] = []
        self.faults = faults or Faults()
        self.faulty: Counter[str] = Counter()
        self._draws = random.Random(self.faults.seed)
        self._lock = threading.Lock()

    def fault(self) -> str:
        """What happens to the next request: a field of Faults, or "" for nothing."""
        with self._lock:
            draw = self._draws.random()
            for kind in ("failed", "lost", "cut", "slow"):
                draw -= getattr(self.faults, kind)
                if draw < 0:
                    self.faulty[kind] += 1
                    return kind
        return ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingProxy

    def _forward(self) -> None:
        self.server.counts[self.command] += 1
        if self.command not in ("GET", "HEAD"):
            self.server.paths.append(self.path)
        body = self._body()
        fault = self.server.fault()
        if fault == "failed":
            return self._fail()
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        # The signature covers Host, so it is passed on as the client sent it.
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OWN:
                upstream.putheader(name, value)
        upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body)
        reply = upstream.getresponse()
        answer = reply.read()
        upstream.close()
        if fault == "lost":
            return self._reset()
        self.send_response_only(reply.status, reply.reason)
        for name, value in reply.getheaders():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        length = reply.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(answer)))
        self.end_headers()
        self._send(answer, fault)

    def _send(self, answer: bytes, fault: str) -> None:
        if fault == "cut" and answer:
            self.wfile.write(answer[: len(answer) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif fault == "slow":
            step = len(answer) // 8 + 1
            for start in range(0, len(answer), step):
                time.sleep(self.server.faults.seconds / 8)
                self.wfile.write(answer[start : start + step])
                self.wfile.flush()
        else:
            self.wfile.write(answer)

    def _fail(self) -> None:
        code, name = (503, "SlowDown") if self.server.faulty["failed"] % 2 else (500, "InternalError")
        body = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>no</Message></Error>".encode()
        self.send_response_only(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def _reset(self) -> None:
        # Closing with linger 0 sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 - the names that the base class looks for

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:
        """Counts are kept instead of lines."""


@contextmanager
def counting_proxy(upstream: str, faults: Faults | None = None) -> Iterator[CountingProxy]:
    """A proxy before the server at `upstream` for the length of the block."""
    proxy = CountingProxy(upstream, faults)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
