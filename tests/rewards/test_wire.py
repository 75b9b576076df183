from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from marblecli.rewards.wire import (
    Description,
    ScoreReply,
    ScoreRequest,
    decode_images,
    encode_image,
)


def test_images_are_transferred_without_loss() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 17, 40, 3), dtype=np.uint8)
    back = decode_images([encode_image(image) for image in images])
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, images)


def test_scores_are_transferred_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**64, 20_000, dtype=np.uint64).view(np.float64)
    values = tuple(bits[np.isfinite(bits)].tolist())
    reply = ScoreReply.model_validate_json(ScoreReply(scores=values).model_dump_json())
    assert np.array(reply.scores).tobytes() == np.array(values).tobytes()


def test_an_image_without_a_score_is_null() -> None:
    text = ScoreReply(scores=(0.5, None)).model_dump_json()
    assert text == '{"scores":[0.5,null],"faults":[]}'
    assert ScoreReply.model_validate_json(text).scores == (0.5, None)


def test_the_required_fields_of_a_request_and_a_reply() -> None:
    request = ScoreRequest.model_validate_json(
        '{"images": ["x"], "prompts": ["a cat"], "metadata": [{"count": [1, {"a": null}]}]}'
    )
    assert request.reward is None
    assert request.metadata == ({"count": [1, {"a": None}]},)
    assert ScoreReply.model_validate_json('{"scores": [1]}').faults == ()
    assert Description.model_validate_json('{"version": 1, "reward": "r"}').metadata == ()


def test_fields_of_a_later_version_are_ignored() -> None:
    assert ScoreReply.model_validate_json('{"scores": [1], "seconds": 3}').scores == (1.0,)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "nothing",
        '{"images": [], "prompts": [], "metadata": []}',
        '{"images": ["x"], "prompts": [], "metadata": [{}]}',
        '{"images": ["x"], "prompts": ["a"], "metadata": []}',
        '{"images": ["x"], "prompts": [1], "metadata": [{}]}',
        '{"images": ["x"], "prompts": ["a"], "metadata": [[]]}',
    ],
)
def test_invalid_requests_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ScoreRequest.model_validate_json(text)


@pytest.mark.parametrize("text", ['{"scores": ["good"]}', '{"scores": 1}', "{}"])
def test_invalid_replies_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ScoreReply.model_validate_json(text)


def encoded(kind: str, mode: str = "RGB") -> str:
    buffer = BytesIO()
    Image.new(mode, (4, 4)).save(buffer, format=kind)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("text", ["", "!", "aGVsbG8=", encoded("jpeg"), encoded("png")[:40]])
def test_an_image_that_is_no_png_is_named_by_its_place(text: str) -> None:
    with pytest.raises(ValueError, match="image 1 is no PNG file in base64"):
        decode_images([encoded("png"), text])


def test_other_png_files_become_rgb() -> None:
    assert decode_images([encoded("png", "L"), encoded("png", "RGBA")]).shape == (2, 4, 4, 3)


def test_images_of_different_sizes_are_refused() -> None:
    small = encode_image(np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="of one size"):
        decode_images([encoded("png"), small])


def test_the_documented_messages_are_these() -> None:
    text = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text()
    description, request, reply = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    for model, message in (
        (Description, description),
        (ScoreRequest, request),
        (ScoreReply, reply),
    ):
        found = model.model_validate_json(message)
        assert found.model_fields_set == model.model_fields.keys()
