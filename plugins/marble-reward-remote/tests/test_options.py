from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from marble_reward_remote.options import HttpOptions, JudgeOptions
from marblecli.errors import BadInputError
from marblecli.settings import OWN_REWARD_KEYS


def test_a_key_comes_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HttpOptions(url="http://a").api_key() is None
    options = HttpOptions(url="http://a", api_key_env="MARBLE_TEST_KEY")
    monkeypatch.setenv("MARBLE_TEST_KEY", "secret")
    assert options.api_key() == "secret"
    assert "secret" not in repr(options)


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_key_is_one_line(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("MARBLE_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MARBLE_TEST_KEY", value)
    with pytest.raises(BadInputError, match=r"MARBLE_TEST_KEY \(api_key_env\) isn't set"):
        HttpOptions(url="http://a", api_key_env="MARBLE_TEST_KEY").api_key()


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"url": "gpu-box:8400"},
        {"url": "ftp://gpu-box"},
        {"url": "http://"},
        {"url": "http://gpu box"},
        {"url": "http://a", "retries": -1},
        {"url": "http://a", "request_timeout": 0},
        {"url": "http://a", "api_key": "secret"},
    ],
)
def test_what_an_http_reward_refuses(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HttpOptions.model_validate(table)


@pytest.mark.parametrize(
    "url", ["http://a", "https://a.b:8400", "http://[::1]:80/path", "http://a/"]
)
def test_addresses(url: str) -> None:
    assert HttpOptions(url=url).url == url


def test_a_question_has_a_place_for_the_prompt() -> None:
    with pytest.raises(ValidationError, match=r"must hold \{prompt\}"):
        JudgeOptions(question="How good?")
    assert "{prompt}" in JudgeOptions().question
    assert "Final Score:" in JudgeOptions().question


def test_the_published_judge_is_the_default() -> None:
    options = JudgeOptions()
    assert options.model == "CodeGoat24/UnifiedReward-7b-v1.5"
    assert (options.base_url, options.image_size) == ("http://localhost:17140/v1", 512)


def test_no_option_is_marbles_own() -> None:
    for options in (HttpOptions, JudgeOptions):
        assert not OWN_REWARD_KEYS & options.model_fields.keys()
