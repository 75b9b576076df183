"""A server on this machine that answers as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answer = tuple[int, Any]
"""Status, and what to send: text as it is, anything else as JSON."""


@dataclass
class Stub:
    """A server; ``answer`` is asked for every request, whose bodies and headers are kept."""

    url: str
    answer: Callable[[str, Any], Answer]
    """(path, body) -> what to answer."""
    requests: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most: int = 0
    """Requests that were answered side by side."""
    running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bodies(self, path: str) -> list[Any]:
        """Of the requests to that path."""
        return [body for asked, body in self.requests if asked == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: Stub

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        stub = self.stub
        with stub.lock:
            stub.requests.append((self.path, body))
            stub.headers.append(dict(self.headers))
            stub.running += 1
            stub.most = max(stub.most, stub.running)
        status, content = stub.answer(self.path, body)
        with stub.lock:
            stub.running -= 1
        text = content if isinstance(content, str) else json.dumps(content)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST  # noqa: N815 - as the base class looks for it

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that give up are what is tested here."""


StartStub = Callable[[Callable[[str, Any], Answer]], Stub]


@pytest.fixture
def start_stub() -> Iterator[StartStub]:
    servers: list[_Server] = []

    def start(answer: Callable[[str, Any], Answer]) -> Stub:
        handler = type("Handler", (_Handler,), {})
        server = _Server(("127.0.0.1", 0), handler)
        handler.stub = stub = Stub(f"http://127.0.0.1:{server.server_port}", answer)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return stub

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def dead_url() -> str:
    """Where nobody listens."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        return f"http://127.0.0.1:{server.server_port}"
