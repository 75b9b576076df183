from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from marble_reward_remote.http import RemoteError, connect
from marble_reward_remote.options import HttpOptions
from marblecli.errors import MarbleError
from marblecli.rewards import Prompt, RewardBatch
from marblecli.rewards.host import discover
from marblecli.rewards.lane import ActiveReward
from marblecli.rewards.score import RewardSuite
from marblecli.rewards.serve import RewardServer
from marblecli.rewards.testing import check_reward
from marblecli.rewards.wire import decode_images

StartStub = Callable[..., Any]

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
METADATA: list[dict[str, Any]] = [{"text": "A"}, {}, {"n": [1, None]}]
BATCH = RewardBatch(IMAGES, ["a", "b", "c"], METADATA)


def reward_server(*answers: tuple[int, Any]) -> Callable[[str, Any], tuple[int, Any]]:
    """Answers scoring in turn, the last one for ever."""
    left = list(answers)

    def answer(path: str, _body: Any) -> tuple[int, Any]:
        if path == "/v1/reward":
            return 200, {"version": 1, "reward": "stub"}
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def scorer(url: str, **options: Any) -> Any:
    return connect(HttpOptions(url=url, **{"request_timeout": 5, **options}))


def test_images_prompts_and_metadata_go_there_and_numbers_come_back(start_stub: StartStub) -> None:
    stub = start_stub(reward_server((200, {"scores": [0.25, -1, 1e-9]})))
    scores = scorer(stub.url + "/")(BATCH)
    assert np.asarray(scores).tolist() == [0.25, -1.0, 1e-9]
    (body,) = stub.bodies("/v1/score")
    np.testing.assert_array_equal(decode_images(body.pop("images")), IMAGES)
    assert body == {"prompts": ["a", "b", "c"], "metadata": METADATA, "reward": "stub"}


def test_what_wasnt_scored_is_masked_and_no_fault(start_stub: StartStub) -> None:
    stub = start_stub(reward_server((200, {"scores": [0.5, None, 1.0]})))
    scores = scorer(stub.url)(BATCH)
    assert np.ma.getmaskarray(scores).tolist() == [False, True, False]


def test_with_a_fault_over_there_it_is_one_here(start_stub: StartStub) -> None:
    some = {"scores": [0.5, None, 1.0], "faults": ["1 of 3 values aren't finite"]}
    none = {"scores": [None] * 3, "faults": ["RuntimeError: no driver"]}
    stub = start_stub(reward_server((200, some), (200, none)))
    score = scorer(stub.url)
    values = score(BATCH)
    assert not np.ma.getmaskarray(values).any()
    assert np.isnan(values.data).tolist() == [False, True, False]
    with pytest.raises(RemoteError, match="the server's reward failed: RuntimeError: no driver"):
        score(BATCH)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(start_stub: StartStub, status: int) -> None:
    good = (200, {"scores": [1, 2, 3]})
    stub = start_stub(reward_server((status, "busy"), (status, {"error": "busy"}), good))
    assert np.asarray(scorer(stub.url)(BATCH)).tolist() == [1, 2, 3]
    assert len(stub.bodies("/v1/score")) == 3


def test_a_server_that_stays_busy_is_an_error_after_the_retries(start_stub: StartStub) -> None:
    stub = start_stub(reward_server((503, {"error": "loading"})))
    with pytest.raises(RemoteError, match=r"/v1/score: status 503: loading"):
        scorer(stub.url, retries=2)(BATCH)
    assert len(stub.bodies("/v1/score")) == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((400, {"error": "the images must be of one size"}), "status 400: the images must be"),
        ((500, "<html>"), "status 500"),
        ((200, "<html>"), "no ScoreReply"),
        ((200, {"values": [1]}), "no ScoreReply: scores Field required"),
        ((200, {"scores": ["a", 1, 2]}), "no ScoreReply: scores.0"),
        ((200, {"scores": [1, 2]}), "2 scores for 3 images"),
    ],
)
def test_a_reply_that_makes_no_sense_is_an_error_at_once(
    start_stub: StartStub, answer: tuple[int, Any], message: str
) -> None:
    stub = start_stub(reward_server(answer))
    with pytest.raises(RemoteError, match=message):
        scorer(stub.url)(BATCH)
    assert len(stub.bodies("/v1/score")) == 1


def test_a_slow_server_is_given_up(start_stub: StartStub) -> None:
    def slow_to_score(path: str, _body: Any) -> tuple[int, Any]:
        if path == "/v1/score":
            time.sleep(5.0)
        return 200, {"version": 1, "reward": "stub", "scores": [1, 2, 3]}

    stub = start_stub(slow_to_score)
    score = scorer(stub.url, request_timeout=0.2, retries=1)
    began = time.monotonic()
    with pytest.raises(RemoteError, match=r"/v1/score: .*timed out"):
        score(BATCH)
    assert time.monotonic() - began < 3
    assert len(stub.bodies("/v1/score")) == 2


def test_a_dead_server_is_one_line_when_the_reward_is_built(dead_url: str) -> None:
    with pytest.raises(MarbleError) as caught:
        scorer(dead_url, retries=1)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"no reward server: {dead_url}/v1/reward: ")
    assert "refused" in str(caught.value)
    assert str(caught.value).endswith("start one with `marble rewards serve NAME`")


def test_a_server_that_dies_later_is_a_fault_of_the_reward_only() -> None:
    reward = ActiveReward(discover().get("shapes-aesthetic").spec, lambda batch: [0.5] * 3)
    with serving(reward) as server:
        score = scorer(server.url, retries=0)
        assert np.asarray(score(BATCH)).tolist() == [0.5] * 3
    spec = discover().get("http").spec
    with RewardSuite([ActiveReward(spec, score)]) as suite:
        table = suite.score(torch.rand(2, 3, 8, 8), [Prompt("a", "s")] * 2)
    (fault,) = table.faults
    assert (fault.reward, fault.images) == ("http", 2)
    assert "/v1/score: " in fault.message
    assert not table.valid.any()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"version": 2, "reward": "stub"}, "speaks version 2, not 1"),
        ({"version": 1, "reward": "geneval"}, "serves 'geneval', not 'ocr'"),
        ({"hello": "world"}, "no Description"),
        ("<html>", "no Description"),
    ],
)
def test_another_server_is_refused_before_the_run(
    start_stub: StartStub, answer: Any, message: str
) -> None:
    stub = start_stub(lambda _path, _body: (200, answer))
    with pytest.raises(MarbleError, match=message):
        scorer(stub.url, reward="ocr")


def test_the_key_goes_along(start_stub: StartStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARBLE_TEST_KEY", "secret")
    stub = start_stub(reward_server((200, {"scores": [1, 2, 3]})))
    scorer(stub.url, api_key_env="MARBLE_TEST_KEY")(BATCH)
    assert [headers["Authorization"] for headers in stub.headers] == ["Bearer secret"] * 2


@contextmanager
def serving(reward: ActiveReward) -> Iterator[RewardServer]:
    with RewardServer(reward, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def prompts() -> Sequence[Prompt]:
    fields = {"text": "EH", "background": "black", "colours": ["red"]}
    return [Prompt(f"number {n}", "s", fields if n % 3 else {}) for n in range(10)]


@pytest.mark.parametrize("name", ["shapes-aesthetic", "shapes-compressibility", "shapes-letters"])
def test_served_scores_are_those_of_the_same_process_to_the_bit(name: str) -> None:
    catalog = discover()
    local = ActiveReward(catalog.get(name).spec, catalog.build(name, {}, "cpu"))
    images = torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with serving(local) as server:
        there = catalog.build("http", {"url": server.url, "reward": name}, "cpu")
        remote = ActiveReward(catalog.get("http").spec, there, batch_size=4)
        with RewardSuite([local, remote]) as suite:
            table = suite.score(images, prompts())
    assert table.faults == ()
    assert table.values[:, 0].tobytes() == table.values[:, 1].tobytes()
    np.testing.assert_array_equal(table.valid[:, 0], table.valid[:, 1])
    assert table.valid[:, 0].sum() == (6 if name == "shapes-letters" else 10)


def test_it_keeps_the_contract() -> None:
    catalog = discover()
    spec = catalog.get("shapes-aesthetic").spec
    reward = ActiveReward(spec, catalog.build("shapes-aesthetic", {}, "cpu"))
    with serving(reward) as server:
        check_reward("http", options={"url": server.url}).raise_if_failed()
