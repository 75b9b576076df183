from __future__ import annotations

import pytest
import torch

from marblecli.rewards.kit.samples import PLAIN_PROMPTS, Samples, make_samples
from marblecli.rewards.score import convert
from marblecli.types import Prompt


def test_images_have_the_given_size_and_eight_bits() -> None:
    images = make_samples(count=11, height=24, width=40).images
    assert images.shape == (11, 3, 24, 40)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    back = torch.from_numpy(convert(images, "uint8")).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(back, images, rtol=0, atol=0)


def test_there_are_flat_graded_and_random_images_which_all_differ() -> None:
    images = make_samples(count=8).images
    spread = images.flatten(1).std(1)
    assert spread.max() > 0.25
    assert (images.flatten(2).std(2).sum(1) == 0).sum() >= 3
    assert images.amax((1, 2, 3)).min() == 0
    assert images.amin((1, 2, 3)).max() == 1
    flattened = [image.numpy().tobytes() for image in images]
    assert len(set(flattened)) == 8


def test_a_graded_image_goes_from_corner_to_corner() -> None:
    image = make_samples(count=3, height=16, width=16).images[2]
    steps = image.diff(dim=1), image.diff(dim=2)
    for channel in range(3):
        assert any((step[channel] * sign >= 0).all() for step in steps for sign in (1, -1))
    assert not torch.equal(image[:, 0, 0], image[:, -1, -1])


def test_samples_depend_on_the_seed_alone_and_not_on_the_global_generator() -> None:
    state = torch.get_rng_state()
    one, same, other = make_samples(), make_samples(), make_samples(seed=1)
    torch.testing.assert_close(one.images, same.images, rtol=0, atol=0)
    assert not torch.equal(one.images, other.images)
    assert torch.equal(torch.get_rng_state(), state)


def test_prompts_are_used_in_turn() -> None:
    prompts = (Prompt("a", "s"), Prompt("b", "s"), Prompt("c", "s"))
    assert [p.text for p in make_samples(prompts, 7).prompts] == list("abcabca")


def test_plain_prompts_have_quoted_text_and_more_than_ascii() -> None:
    assert any('"' in prompt.text for prompt in PLAIN_PROMPTS)
    assert not all(prompt.text.isascii() for prompt in PLAIN_PROMPTS)


def test_every_image_needs_a_prompt() -> None:
    with pytest.raises(ValueError, match="2 images but 1 prompts"):
        Samples(torch.zeros(2, 3, 8, 8), (Prompt("a", "s"),))


def test_there_may_be_no_samples() -> None:
    assert make_samples(count=0).images.shape == (0, 3, 64, 64)
