"""`lsr` called in this process, and servers that answer whatever a test says."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lsr.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one error on standard error, which must be its last line and free of tracebacks."""
        assert "Traceback" not in self.err, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0]), self.err
        return lines[0].removeprefix("error: ")

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


def call(*words: str) -> Ended:
    """Run `lsr` with these words in this process."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["lsr", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = argv
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(name="lsr")
def _lsr() -> Callable[..., Ended]:
    return call


def recorded(store: Path) -> list[str]:
    """What a later command would take for finished: action records, manifests, promotions."""
    wanted = ("actions", "datasets", "models", "evaluations", "promotions")
    return sorted(str(p.relative_to(store)) for name in wanted for p in (store / name).rglob("*") if p.is_file())


Answer = Callable[[str, str], tuple[int, str, str]]


@pytest.fixture
def server() -> Iterator[Callable[[Answer], str]]:
    """Starts an HTTP server on the loopback; `answer(method, path)` gives status, content type and body."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _reply(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, kind, body = answer(self.command, self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body.encode())

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _reply  # noqa: N815 - http.server's names

            def log_message(self, *words: Any) -> None: ...

        httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(httpd)
        return f"http://127.0.0.1:{httpd.server_port}"

    yield start
    for httpd in servers:
        httpd.shutdown()
        httpd.server_close()
