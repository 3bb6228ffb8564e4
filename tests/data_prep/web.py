"""A real web server on this machine, whose pages behave as badly as a test wants."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Page = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by the server's pages. sent: bytes of bodies that went out, over all requests."""

    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.asked[self.path] += 1
        with suppress(BrokenPipeError, ConnectionResetError):
            self.server.pages[self.path](self)

    def reply(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        """A whole answer; headers by name with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **named}.items():
            self.send_header(name, value)
        self.end_headers()
        self.send(body)

    def send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.server.sent += len(data)

    def endless(self, piece: bytes, pause: float) -> None:
        """A body that never ends and says nothing of its length."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        until = time.monotonic() + 20
        while time.monotonic() < until:
            self.send(piece)
            time.sleep(pause)

    def cut(self, body: bytes, announced: int, **headers: str) -> None:
        """Fewer bytes than announced."""
        self.close_connection = True
        self.reply(body, Content_Length=str(announced), Connection="close", **headers)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Web(ThreadingHTTPServer):
    """pages: by path. asked: how often each path was requested."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("0.0.0.0", 0), Handler)
        self.pages: dict[str, Page] = {}
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what is tested."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"


def certificate(folder: Path) -> Path:
    """A key and a certificate of its own for 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(host, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    plain = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(*plain) + made.public_bytes(Encoding.PEM))
    return path


@contextmanager
def serving(pem: Path | None = None) -> Iterator[Web]:
    """A server in a thread, with no page yet; by https with the certificate `pem`."""
    with Web() as server:
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
