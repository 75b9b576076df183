from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import openai
import pytest
import torch
from PIL import Image

from marble_reward_remote.judge import Judge, data_url, parse_mark
from marble_reward_remote.options import JudgeOptions
from marblecli.errors import BadInputError
from marblecli.rewards import Prompt, RewardBatch
from marblecli.rewards.host import discover
from marblecli.rewards.lane import ActiveReward
from marblecli.rewards.score import RewardSuite
from marblecli.rewards.testing import check_reward

StartStub = Callable[..., Any]

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), dtype=np.uint8)


def batch(*prompts: str) -> RewardBatch:
    return RewardBatch(IMAGES[: len(prompts)], prompts, [{}] * len(prompts))


def completion(text: str | None) -> dict[str, Any]:
    """What an OpenAI-compatible server answers."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }


def asked(body: Any) -> str:
    """The text of a request."""
    return str(body["messages"][0]["content"][1]["text"])


def says_the_prompt(_path: str, body: Any) -> tuple[int, Any]:
    """The prompt is the answer."""
    return 200, completion(asked(body).rpartition("Caption: ")[2])


def judge(url: str, **options: Any) -> Judge:
    return Judge(JudgeOptions(base_url=url + "/v1", **{"request_timeout": 10, **options}))


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        ("Final Score: 4", 4.0),
        ("Good.\nFinal Score: 3.5\n", 3.5),
        ("**Final Score:** 4", 4.0),
        ("**Final Score: 2**", 2.0),
        ("Final score: 3", 3.0),
        ("FINAL SCORE = 5", 5.0),
        ("Final Score: [4]", 4.0),
        ("Final Score: (4.25)", 4.25),
        ("Final Score: 4/5", 4.0),
        ("Final Score: 4 out of 5", 4.0),
        ("The final score is 3.", 3.0),
        ("Final Score:\n\n1", 1.0),
        ("Final Score: 2 at first. On reflection, Final Score: 4", 4.0),
        ("Final Score: 10", None),
        ("Final Score: 0", None),
        ("Final Score: 5.5", None),
        ("Final Score: -3", None),
        ("Final Score: four", None),
        ("Final Score:", None),
        ("[4]", None),
        ("The alignment is 4, the quality 3.", None),
        ("Grandfinal Scores: many", None),
        ("", None),
    ],
)
def test_marks_are_found_in_any_dress_and_never_guessed(answer: str, mark: float | None) -> None:
    assert parse_mark(answer) == mark


def test_marks_come_back_in_the_order_of_the_images(start_stub: StartStub) -> None:
    stub = start_stub(says_the_prompt)
    scores = judge(stub.url)(batch("Final Score: 1", "Final Score: 5", "Final Score: 2.5"))
    np.testing.assert_allclose(np.asarray(scores), [0.2, 1.0, 0.5])


def test_a_request_is_the_published_set_up(start_stub: StartStub) -> None:
    stub = start_stub(says_the_prompt)
    judge(stub.url, question="How good is {prompt}? {x} Caption: Final Score: 3")(batch("a {cat}"))
    ((path, body),) = stub.requests
    assert path == "/v1/chat/completions"
    assert body["model"] == "CodeGoat24/UnifiedReward-7b-v1.5"
    assert body["temperature"] == 0
    assert asked(body) == "How good is a {cat}? {x} Caption: Final Score: 3"
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    with Image.open(BytesIO(data)) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (512, 512), "RGB")


def test_an_image_of_the_right_size_is_sent_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = base64.b64decode(data_url(image, 64).partition(",")[2])
    with Image.open(BytesIO(data)) as back:
        np.testing.assert_array_equal(np.asarray(back), image)


def test_requests_go_side_by_side_but_no_more_than_asked_for(start_stub: StartStub) -> None:
    def slow(path: str, body: Any) -> tuple[int, Any]:
        time.sleep(0.2)
        return says_the_prompt(path, body)

    stub = start_stub(slow)
    score = judge(stub.url, concurrency=2)
    score(batch(*["Final Score: 3"] * 4))
    assert stub.most == 2


def test_a_busy_server_is_asked_again(start_stub: StartStub) -> None:
    answers = [(503, "{}"), (200, completion("Final Score: 4"))]
    stub = start_stub(lambda _path, _body: answers.pop(0))
    assert np.asarray(judge(stub.url)(batch("a"))).tolist() == [0.8]


def test_few_answers_without_a_mark_are_masked(start_stub: StartStub) -> None:
    stub = start_stub(says_the_prompt)
    scores = judge(stub.url)(batch("Final Score: 1", "sorry", "Final Score: 9", "Final Score: 2"))
    assert np.ma.getmaskarray(scores).tolist() == [False, True, True, False]
    assert scores.compressed().tolist() == [0.2, 0.4]


@pytest.mark.parametrize("prompts", [("no",), ("no", "Final Score: 3", "no")])
def test_many_without_a_mark_are_a_fault_of_the_model(
    start_stub: StartStub, prompts: tuple[str, ...]
) -> None:
    stub = start_stub(says_the_prompt)
    misses = prompts.count("no")
    with pytest.raises(ValueError, match=f"{misses} of {len(prompts)} answers hold no 'Final Sco"):
        judge(stub.url)(batch(*prompts))


def test_an_empty_answer_holds_no_mark(start_stub: StartStub) -> None:
    stub = start_stub(lambda _path, _body: (200, completion(None)))
    with pytest.raises(ValueError, match="the first: ''"):
        judge(stub.url)(batch("a"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((401, {"error": {"message": "wrong key"}}), openai.AuthenticationError),
        ((404, {"error": {"message": "no such model"}}), openai.NotFoundError),
        ((500, "{}"), openai.InternalServerError),
    ],
)
def test_what_fails_for_good_is_an_error(
    start_stub: StartStub, answer: tuple[int, Any], error: type[Exception]
) -> None:
    stub = start_stub(lambda _path, _body: answer)
    with pytest.raises(error):
        judge(stub.url, retries=0)(batch("a", "b"))


def test_a_malformed_reply_is_a_fault_that_is_named(start_stub: StartStub) -> None:
    stub = start_stub(lambda _path, _body: (200, "<html>"))
    spec = discover().get("vlm-judge").spec
    with RewardSuite([ActiveReward(spec, judge(stub.url, retries=0))]) as suite:
        table = suite.score(torch.rand(2, 3, 8, 8), [Prompt("a", "s")] * 2)
    (fault,) = table.faults
    assert (fault.reward, fault.images) == ("vlm-judge", 2)
    assert not table.valid.any()


def test_a_slow_server_is_given_up(start_stub: StartStub) -> None:
    def slow(path: str, body: Any) -> tuple[int, Any]:
        time.sleep(5.0)
        return says_the_prompt(path, body)

    stub = start_stub(slow)
    began = time.monotonic()
    with pytest.raises(openai.APITimeoutError):
        judge(stub.url, request_timeout=0.2, retries=0)(batch("a", "b"))
    assert time.monotonic() - began < 3


def test_a_dead_server_is_a_fault_of_the_reward_only(dead_url: str) -> None:
    spec = discover().get("vlm-judge").spec
    with RewardSuite([ActiveReward(spec, judge(dead_url, retries=0))]) as suite:
        table = suite.score(torch.rand(2, 3, 8, 8), [Prompt("a", "s")] * 2)
    (fault,) = table.faults
    assert re.fullmatch(r"APIConnectionError: .*", fault.message)


def test_a_key_that_is_missing_is_named_when_the_reward_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MARBLE_TEST_KEY", raising=False)
    with pytest.raises(BadInputError, match="MARBLE_TEST_KEY"):
        discover().build("vlm-judge", {"api_key_env": "MARBLE_TEST_KEY"}, "cpu")


def test_the_key_goes_along_and_none_is_needed_at_home(
    start_stub: StartStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARBLE_TEST_KEY", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    stub = start_stub(says_the_prompt)
    judge(stub.url, api_key_env="MARBLE_TEST_KEY")(batch("Final Score: 3"))
    judge(stub.url)(batch("Final Score: 3"))
    keys = [headers["authorization"] for headers in map(_lower, stub.headers)]
    assert keys == ["Bearer secret", "Bearer none"]


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}


def test_it_keeps_the_contract(start_stub: StartStub) -> None:
    def by_image(_path: str, body: Any) -> tuple[int, Any]:
        """A mark that depends on the image alone."""
        url = body["messages"][0]["content"][0]["image_url"]["url"]
        return 200, completion(f"Final Score: {1 + len(url) % 5}")

    stub = start_stub(by_image)
    options = {"base_url": stub.url + "/v1", "image_size": 64}
    check_reward("vlm-judge", options=options).raise_if_failed()
