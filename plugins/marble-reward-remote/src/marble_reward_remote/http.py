"""The generic remote reward: PNG images, prompts and metadata there, numbers back."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import urllib3
from pydantic import BaseModel, ValidationError

from marble_reward_remote.options import HttpOptions
from marblecli.errors import MarbleError
from marblecli.rewards import RewardBatch, wire

Message = TypeVar("Message", bound=BaseModel)

_BUSY = (429, 502, 503, 504)
"""Statuses that a server may recover from."""


class RemoteError(Exception):
    """The server gave no answer, or one that makes no sense."""


class Client:
    """Talks to one server; keeps its connection, tries again where that may help."""

    def __init__(self, options: HttpOptions) -> None:
        self._url = options.url.rstrip("/")
        key = options.api_key()
        self._pool = urllib3.PoolManager(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=urllib3.Timeout(total=options.request_timeout),
            # Scoring changes nothing over there: a POST may be repeated like a GET.
            retries=urllib3.Retry(
                total=options.retries,
                backoff_factor=0.2,
                backoff_jitter=0.2,
                status_forcelist=_BUSY,
                allowed_methods=None,
                raise_on_status=False,
            ),
        )

    def get(self, path: str, message: type[Message]) -> Message:
        """Raises RemoteError if no such message comes."""
        return self._ask("GET", path, message, None)

    def post(self, path: str, body: BaseModel, message: type[Message]) -> Message:
        """Raises RemoteError if no such message comes."""
        return self._ask("POST", path, message, body.model_dump_json().encode())

    def _ask(self, method: str, path: str, message: type[Message], body: bytes | None) -> Message:
        url = self._url + path
        headers = {**self._pool.headers, "Content-Type": "application/json"}
        try:
            answer = self._pool.request(method, url, body=body, headers=headers)
        except urllib3.exceptions.MaxRetryError as error:
            raise RemoteError(f"{url}: {_shorten(error.reason)}") from error
        except urllib3.exceptions.HTTPError as error:
            raise RemoteError(f"{url}: {_shorten(error)}") from error
        if answer.status != 200:
            raise RemoteError(f"{url}: status {answer.status}{_reason(answer.data)}")
        try:
            return message.model_validate_json(answer.data)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(map(str, fault["loc"]))
            raise RemoteError(f"{url}: no {message.__name__}: {place} {fault['msg']}") from error


def connect(options: HttpOptions) -> HttpScorer:
    """Ask the server what it scores. Raises MarbleError if it can't be used."""
    client = Client(options)
    try:
        found = client.get(wire.REWARD_PATH, wire.Description)
    except RemoteError as error:
        raise MarbleError(
            f"no reward server: {error}; start one with `marble rewards serve NAME`"
        ) from error
    if found.version != wire.VERSION:
        raise MarbleError(f"{options.url} speaks version {found.version}, not {wire.VERSION}")
    if options.reward not in (None, found.reward):
        raise MarbleError(f"{options.url} serves {found.reward!r}, not {options.reward!r}")
    return HttpScorer(client, found.reward)


class HttpScorer:
    """Scores on the server; what it left unscored without a fault is masked."""

    def __init__(self, client: Client, reward: str) -> None:
        self._client = client
        self._reward = reward

    def __call__(self, batch: RewardBatch) -> np.ma.MaskedArray[Any, Any]:
        """[B]. Raises RemoteError if there is no answer or fewer values than images."""
        request = wire.ScoreRequest(
            images=tuple(wire.encode_image(image) for image in batch.images),
            prompts=tuple(batch.prompts),
            metadata=tuple(dict(fields) for fields in batch.metadata),
            reward=self._reward,
        )
        reply = self._client.post(wire.SCORE_PATH, request, wire.ScoreReply)
        if len(reply.scores) != len(batch.prompts):
            raise RemoteError(f"{len(reply.scores)} scores for {len(batch.prompts)} images")
        values = np.array(reply.scores, dtype=np.float64)
        if not reply.faults:
            return np.ma.array(values, mask=[score is None for score in reply.scores])
        if np.isnan(values).all():
            raise RemoteError(f"the server's reward failed: {reply.faults[0]}")
        return np.ma.array(values, mask=False)


def _shorten(error: BaseException | None) -> str:
    """urllib3's messages without the objects that they start with."""
    text = str(error)
    return text.rpartition(">: ")[2] if ">: " in text else text.rpartition("): ")[2]


def _reason(body: bytes) -> str:
    try:
        return ": " + wire.ErrorReply.model_validate_json(body).error
    except ValidationError:
        return ""
