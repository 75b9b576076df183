"""Serve a reward over HTTP, by the protocol of :mod:`marblecli.rewards.wire`."""

from __future__ import annotations

import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from marblecli.errors import MarbleError
from marblecli.rewards.lane import ActiveReward
from marblecli.rewards.score import RewardSuite
from marblecli.rewards.wire import (
    MAX_BYTES,
    REWARD_PATH,
    SCORE_PATH,
    VERSION,
    Description,
    ErrorReply,
    ScoreReply,
    ScoreRequest,
    decode_images,
)
from marblecli.types import Prompt

_IDLE = 60.0
"""Seconds after which a silent connection is closed."""


class RewardServer(ThreadingHTTPServer):
    """Serves one reward. It reads requests in parallel and scores them one after the other.

    Raises MarbleError if it can't listen at ``host`` and ``port``.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, reward: ActiveReward, host: str, port: int) -> None:
        self.reward = reward
        self.suite = RewardSuite([reward])
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise MarbleError(f"can't serve at {host}:{port}: {error.strerror}") from error

    @property
    def url(self) -> str:
        """The address of the server, for clients on this machine."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def server_close(self) -> None:
        """Stop listening, and cancel the requests that wait."""
        super().server_close()
        self.suite.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback, unless the client has closed the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def score(self, request: ScoreRequest) -> ScoreReply:
        """Score the images of a request. Raises ValueError if they aren't readable images."""
        pixels = torch.from_numpy(decode_images(request.images)).permute(0, 3, 1, 2)
        prompts = [
            Prompt(text, "remote", fields)
            for text, fields in zip(request.prompts, request.metadata, strict=True)
        ]
        table = self.suite.score(pixels.float().div(255), prompts)
        pairs = zip(table.values[:, 0].tolist(), table.valid[:, 0].tolist(), strict=True)
        return ScoreReply(
            scores=tuple(value if valid else None for value, valid in pairs),
            faults=tuple(fault.message for fault in table.faults),
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE
    server: RewardServer

    def do_GET(self) -> None:
        spec = self.server.reward.spec
        if self.path != REWARD_PATH:
            self._refuse(HTTPStatus.NOT_FOUND, f"no such path: {self.path}")
            return
        description = Description(
            version=VERSION, reward=spec.name, summary=spec.summary, metadata=spec.metadata
        )
        self._answer(HTTPStatus.OK, description)

    def do_POST(self) -> None:
        if self.path != SCORE_PATH:
            self._refuse(HTTPStatus.NOT_FOUND, f"no such path: {self.path}")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BYTES:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            self._refuse(status, f"the Content-Length must be given, and at most {MAX_BYTES} bytes")
            return
        body = self.rfile.read(int(length))
        name = self.server.reward.name
        try:
            request = ScoreRequest.model_validate_json(body)
            if request.reward not in (None, name):
                self._refuse(HTTPStatus.NOT_FOUND, f"{name!r} is served, not {request.reward!r}")
                return
            reply = self.server.score(request)
        except ValidationError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, error.errors(include_url=False)[0]["msg"])
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._answer(HTTPStatus.OK, reply)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        # If the body hasn't been read, the connection can't be used for another request.
        self.close_connection = True
        self._answer(status, ErrorReply(error=reason))

    def _answer(self, status: HTTPStatus, message: BaseModel) -> None:
        body = message.model_dump_json().encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class names it
        sys.stderr.write(f"{self.address_string()} {format % args}\n")
