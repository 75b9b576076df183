from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor
from transformers import CLIPImageProcessorPil

from marble_reward_preference.preprocessing import (
    PublishedProcessor,
    crop_bilinear,
    crop_pil_bicubic,
    pad_bicubic,
)

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


def noise(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height))


def by_pil(images: Tensor, sides: tuple[int, int], how: Resampling) -> Tensor:
    """Resized channel by channel in float, by a library that isn't torch."""
    flat = images.reshape(-1, *images.shape[-2:]).numpy()
    resized = [np.asarray(Image.fromarray(channel).resize(sides[::-1], how)) for channel in flat]
    return torch.from_numpy(np.stack(resized)).reshape(*images.shape[:2], *sides)


def pictures(images: Tensor) -> list[Image.Image]:
    array = images.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(image) for image in array]


@pytest.mark.parametrize("side", [64, 50, 20])
def test_clipscore_resizes_by_antialiased_bilinear(side: int) -> None:
    images = noise(side, side)
    ours = crop_bilinear(images, 32)
    expected = (by_pil(images, (32, 32), Resampling.BILINEAR) - MEAN) / DEVIATION
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    wrong = (by_pil(images, (32, 32), Resampling.BICUBIC) - MEAN) / DEVIATION
    assert (ours - wrong).abs().max() > 0.05


@pytest.mark.parametrize("side", [64, 50, 20])
def test_hps_resizes_by_antialiased_bicubic(side: int) -> None:
    images = noise(side, side)
    expected = (by_pil(images, (32, 32), Resampling.BICUBIC) - MEAN) / DEVIATION
    torch.testing.assert_close(pad_bicubic(images, 32), expected, atol=1e-5, rtol=0)


def test_an_image_of_the_right_size_is_only_normalised() -> None:
    images = noise(32, 32)
    for resize in (crop_bilinear, pad_bicubic):
        torch.testing.assert_close(resize(images, 32), (images - MEAN) / DEVIATION)


@pytest.mark.parametrize(
    ("sides", "top", "left"),
    [((32, 64), 8, 0), ((64, 32), 0, 8), ((64, 58), 0, 1), ((58, 64), 1, 0), ((64, 64), 0, 0)],
)
def test_hps_pads_the_short_side_with_black_around_the_centre(
    sides: tuple[int, int], top: int, left: int
) -> None:
    images = torch.ones(1, 3, *sides)
    padded = pad_bicubic(images, 32) * DEVIATION + MEAN
    expected = torch.zeros(1, 3, 32, 32)
    # 58 of 64 becomes 29 of 32: one line above, two below.
    bottom, right = (32 - round(side * 32 / max(sides)) for side in sides)
    expected[..., top : 32 - (bottom - top), left : 32 - (right - left)] = 1.0
    torch.testing.assert_close(padded, expected, atol=1e-5, rtol=0)


def test_clipscore_takes_the_centre() -> None:
    images = torch.zeros(1, 3, 32, 96)
    images[..., 32:64] = 1.0
    torch.testing.assert_close(
        crop_bilinear(images, 32) * DEVIATION + MEAN, torch.ones(1, 3, 32, 32)
    )


@pytest.mark.parametrize("side", [64, 50, 20])
def test_imagereward_sees_squares_as_clips_processor_does(side: int) -> None:
    images = pictures(noise(side, side))
    size = {"height": 32, "width": 32}
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size)
    expected = processor(images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(crop_pil_bicubic(images, 32), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("width", "left"), [(33, 0), (35, 2), (36, 2), (37, 2), (39, 4)])
def test_imagereward_crops_where_torchvision_does(width: int, left: int) -> None:
    # (width - 32) / 2 is 0.5, 1.5, 2, 2.5, 3.5: halves go to the even side.
    column = torch.arange(width) / 255
    image = column.expand(1, 3, 32, width)
    pixels = crop_pil_bicubic(pictures(image), 32) * DEVIATION + MEAN
    assert (pixels[0, 0, 0] * 255).round().tolist() == list(range(left, left + 32))


def test_a_long_side_rounds_down() -> None:
    # 33 x 50 to short side 32: the long one is 48.48, so 48, and the crop starts at column 8.
    image = noise(33, 50)
    picture = pictures(image)[0].resize((48, 32), Resampling.BICUBIC).crop((8, 0, 40, 32))
    expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    pixels = crop_pil_bicubic(pictures(image), 32)[0] * DEVIATION + MEAN
    torch.testing.assert_close(pixels, expected, atol=1e-6, rtol=0)


def test_the_published_processor_is_pils_whatever_else_is_installed(clip_folder: Path) -> None:
    images = pictures(noise(64, 64))
    pixels = PublishedProcessor(clip_folder)(images)
    assert pixels.shape == (2, 3, 32, 32)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, crop_pil_bicubic(images, 32), atol=1e-6, rtol=0)


def test_an_old_processor_file_is_read(tmp_path: Path) -> None:
    # As the published ones were written: size and crop_size are numbers.
    (tmp_path / "preprocessor_config.json").write_text(
        '{"crop_size": 32, "do_center_crop": true, "do_normalize": true, "do_resize": true,'
        ' "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": 32,'
        ' "image_mean": [0.48145466, 0.4578275, 0.40821073],'
        ' "image_std": [0.26862954, 0.26130258, 0.27577711]}'
    )
    images = pictures(noise(40, 80))
    pixels = PublishedProcessor(tmp_path)(images)
    torch.testing.assert_close(pixels, crop_pil_bicubic(images, 32), atol=1e-6, rtol=0)
