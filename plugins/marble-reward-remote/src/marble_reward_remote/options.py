"""The options of the two rewards, and how they find their key."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from marblecli.errors import BadInputError
from marblecli.rewards import NoOptions

QUESTION = """\
You see an image that was generated from a caption. Mark it by two criteria.
1. Alignment: are the objects, their number, attributes and relations those of the caption?
2. Quality: is the image clear, detailed, free of artefacts and pleasing?
Say in a few sentences what you find. Then end with a line "Final Score: X", where X is one number
from 1 (worst) to 5 (best) for both criteria together.
Caption: {prompt}"""
"""Asks by UnifiedReward's two criteria for its one mark, in our words, not the published ones."""

_Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")]


class RemoteOptions(NoOptions):
    """What both have."""

    api_key_env: str | None = None
    """The environment variable that holds the key; the key itself never stands in a recipe."""
    request_timeout: PositiveFloat = 60.0
    """Seconds of one try of one request."""
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    """Tries after the first, with growing pauses, where no answer comes or the server is busy."""

    def api_key(self) -> str | None:
        """Raises BadInputError if the variable that should hold it is empty."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "")
        if not key:
            raise BadInputError(
                f"the environment variable {self.api_key_env} (api_key_env) isn't set: export it"
            )
        return key


class HttpOptions(RemoteOptions):
    """A server that speaks the protocol of :mod:`marblecli.rewards.wire`."""

    url: _Url
    """The server's address, without the protocol's own path: ``http://gpu-box:8400``."""
    reward: str | None = None
    """The reward that the server should score; any other is refused."""


class JudgeOptions(RemoteOptions):
    """A vision-language model behind an OpenAI-compatible endpoint."""

    base_url: _Url = "http://localhost:17140/v1"
    """The endpoint, up to and with its version."""
    model: str = "CodeGoat24/UnifiedReward-7b-v1.5"
    """The model's name at the endpoint."""
    question: str = QUESTION
    """What the model is asked. It must hold ``{prompt}``, and ask for a line ``Final Score: X``
    with X from 1 to 5."""
    image_size: Annotated[int, Field(ge=32, le=4096)] = 512
    """Height and width in pixels of the image that the model sees."""
    concurrency: PositiveInt = 16
    """Requests that are sent at the same time."""
    max_tokens: PositiveInt = 1024
    """The most tokens of one answer."""

    @field_validator("question", mode="after")
    @classmethod
    def _has_a_place_for_the_prompt(cls, question: str) -> str:
        if "{prompt}" not in question:
            raise ValueError("must hold {prompt}")
        return question
