from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from marblecli.errors import MarbleError
from marblecli.rewards.lane import ActiveReward
from marblecli.rewards.serve import RewardServer
from marblecli.rewards.spec import ImageLayout, RewardBatch, RewardSpec
from marblecli.rewards.wire import MAX_BYTES, encode_image
from support.faults import without_place

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
Start = Callable[..., RewardServer]


def unused(options: object, device: str) -> Any:
    raise AssertionError("a server builds nothing")


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[RewardServer] = []

    def start_it(scorer: Any, layout: ImageLayout = "uint8", **settings: Any) -> RewardServer:
        spec = RewardSpec("r", "Some.", unused, images=layout, metadata=settings.pop("needs", ()))
        server = RewardServer(ActiveReward(spec, scorer, **settings), "127.0.0.1", 0)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        started.append(server)
        return server

    yield start_it
    for server in started:
        server.shutdown()
        server.server_close()


def ask(
    server: RewardServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection(*server.server_address[:2], timeout=30)) as line:
        line.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = line.getresponse()
        return answer.status, json.loads(answer.read())


def request(**changes: Any) -> dict[str, Any]:
    return {
        "images": [encode_image(image) for image in IMAGES],
        "prompts": ["a", "b", "c"],
        "metadata": [{"text": "A"}, {}, {"text": "C"}],
        **changes,
    }


def test_the_server_describes_its_reward(start: Start) -> None:
    server = start(unused, needs=("text",))
    assert ask(server, "GET", "/v1/reward") == (
        200,
        {"version": 1, "reward": "r", "summary": "Some.", "metadata": ["text"]},
    )


@pytest.mark.parametrize("layout", ["uint8", "float", "pil"])
def test_the_server_scores_the_sent_images_with_their_prompts(
    start: Start, layout: ImageLayout
) -> None:
    seen: list[RewardBatch] = []
    server = start(lambda batch: seen.append(batch) or [0.1, -2.5, 1e-300], layout)
    status, reply = ask(server, "POST", "/v1/score", request(reward="r"))
    assert (status, reply) == (200, {"scores": [0.1, -2.5, 1e-300], "faults": []})
    (batch,) = seen
    assert list(batch.prompts) == ["a", "b", "c"]
    assert [dict(fields) for fields in batch.metadata] == [{"text": "A"}, {}, {"text": "C"}]
    pixels = np.stack([np.asarray(image) for image in batch.images])
    if layout == "float":
        pixels = np.rint(pixels.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(pixels, IMAGES)


def test_images_whose_prompts_lack_metadata_are_null_without_a_fault(start: Start) -> None:
    server = start(lambda batch: [1.0] * len(batch.prompts), needs=("text",))
    status, reply = ask(server, "POST", "/v1/score", request())
    assert (status, reply) == (200, {"scores": [1.0, None, 1.0], "faults": []})


def test_images_that_failed_are_null_with_a_reason(start: Start) -> None:
    status, reply = ask(start(lambda batch: 1 / 0), "POST", "/v1/score", request())
    assert status == 200
    assert reply["scores"] == [None] * 3
    (reason,) = reply["faults"]
    assert without_place(reason) == "ZeroDivisionError: division by zero"
    assert "test_serve.py:" in reason
    status, reply = ask(start(lambda b: [1, np.nan, 2]), "POST", "/v1/score", request())
    assert reply == {"scores": [1.0, None, 2.0], "faults": ["1 of 3 values aren't finite"]}


def test_a_request_is_answered_even_if_the_scorer_never_returns(start: Start) -> None:
    gate = threading.Event()
    server = start(lambda batch: gate.wait(30), timeout=0.1)
    _, reply = ask(server, "POST", "/v1/score", request())
    gate.set()
    assert reply["faults"] == ["no answer within 0.1 s (timeout)"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ([], 400, "object"),
        (request(prompts=["a"]), 400, "of one length"),
        (request(images=["x"] * 3), 400, "image 0 is no PNG file in base64"),
        (request(reward="other"), 404, "'r' is served, not 'other'"),
    ],
)
def test_bad_requests_are_refused_with_a_reason(
    start: Start, body: Any, status: int, reason: str
) -> None:
    found, reply = ask(start(unused), "POST", "/v1/score", body)
    assert found == status
    assert reason in reply["error"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/"), ("POST", "/v2/score")])
def test_unknown_paths_are_refused(start: Start, method: str, path: str) -> None:
    status, reply = ask(start(unused), method, path, request())
    assert (status, reply) == (404, {"error": f"no such path: {path}"})


@pytest.mark.parametrize("length", [str(MAX_BYTES + 1), "-1", "many"])
def test_a_request_that_is_too_large_is_not_read(start: Start, length: str) -> None:
    server = start(unused)
    with closing(http.client.HTTPConnection(*server.server_address[:2], timeout=30)) as line:
        line.putrequest("POST", "/v1/score")
        line.putheader("Content-Length", length)
        line.endheaders()
        answer = line.getresponse()
        assert answer.status == 413
        assert answer.headers["Connection"] == "close"


def test_requests_of_several_clients_are_scored_one_after_the_other(start: Start) -> None:
    running, most = threading.Lock(), []

    def note(batch: RewardBatch) -> Any:
        most.append(running.acquire(blocking=False))
        threading.Event().wait(0.02)
        running.release()
        return [float(prompt) for prompt in batch.prompts]

    server = start(note)
    replies: dict[int, Any] = {}

    def client(number: int) -> None:
        body = request(prompts=[str(number)] * 3)
        replies[number] = ask(server, "POST", "/v1/score", body)[1]["scores"]

    clients = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(30)
    assert replies == {number: [float(number)] * 3 for number in range(6)}
    assert most == [True] * 6


def test_one_connection_serves_many_requests(start: Start) -> None:
    server = start(lambda batch: [1.0] * len(batch.prompts))
    with closing(http.client.HTTPConnection(*server.server_address[:2], timeout=30)) as line:
        for _ in range(3):
            line.request("POST", "/v1/score", json.dumps(request()))
            assert json.loads(line.getresponse().read())["scores"] == [1.0] * 3


def test_a_client_that_closes_the_connection_leaves_no_traceback(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    gate = threading.Event()
    server = start(lambda batch: gate.wait(30) and [1.0] * len(batch.prompts))
    line = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    line.request("POST", "/v1/score", json.dumps(request()))
    line.close()
    gate.set()
    assert ask(server, "POST", "/v1/score", request())[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_the_error_for_a_taken_port_is_one_line(start: Start) -> None:
    server = start(unused)
    reward = ActiveReward(RewardSpec("r", "", unused), unused)
    with pytest.raises(MarbleError, match=r"can't serve at 127\.0\.0\.1:\d+: Address already"):
        RewardServer(reward, "127.0.0.1", server.server_port)


def test_the_server_knows_its_address(start: Start) -> None:
    server = start(unused)
    assert server.url == f"http://127.0.0.1:{server.server_port}"
