from __future__ import annotations

import numpy as np
import pytest

from marble_reward_basic.guards import colourfulness, contrast, sharpness, within

STATISTICS = (sharpness, contrast, colourfulness)
each_statistic = pytest.mark.parametrize("statistic", STATISTICS)


def flat(*colour: int) -> np.ndarray:
    return np.broadcast_to(np.array(colour, dtype=np.uint8), (1, 16, 16, 3))


def gray(luma: np.ndarray) -> np.ndarray:
    """[H, W] -> a gray image, uint8 [1, H, W, 3]."""
    levels = np.clip(luma, 0, 255).round().astype(np.uint8)
    return np.repeat(levels[None, :, :, None], 3, axis=-1)


def spectrum(slope: float, side: int = 256) -> np.ndarray:
    """[side, side] of mean 128 and deviation 40 whose amplitudes fall as f to the -slope."""
    rng = np.random.default_rng(0)
    lines = np.fft.fftfreq(side)
    frequency = np.hypot(lines[:, None], lines)
    frequency[0, 0] = 1.0
    noise = np.fft.fft2(rng.standard_normal((side, side))) / frequency**slope
    noise[0, 0] = 0.0
    field = np.fft.ifft2(noise).real
    return 128 + 40 * field / field.std()


@pytest.mark.parametrize(
    ("value", "score"), [(0, 0.0), (1, 0.5), (2, 1.0), (5, 1.0), (8, 1.0), (16, 0.5), (80, 0.1)]
)
def test_outside_the_bounds_the_score_is_the_ratio(value: float, score: float) -> None:
    assert within(np.array([float(value)]), 2.0, 8.0) == [pytest.approx(score)]


def test_a_lower_bound_of_zero_asks_for_nothing() -> None:
    np.testing.assert_array_equal(within(np.array([0.0, 4.0, 16.0]), 0.0, 8.0), [1.0, 1.0, 0.5])


def test_scores_fall_steadily_from_the_bounds() -> None:
    scores = within(np.linspace(0, 100, 1001), 20.0, 60.0)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores[:201]) > 0).all()
    assert (scores[200:601] == 1).all()
    assert (np.diff(scores[600:]) < 0).all()


@each_statistic
def test_a_flat_gray_image_has_none(statistic: object) -> None:
    assert callable(statistic)
    for shade in (0, 77, 128, 255):
        assert statistic(flat(shade, shade, shade))[0] == pytest.approx(0.0, abs=1e-9)


@each_statistic
def test_statistics_go_with_their_images(statistic: object) -> None:
    assert callable(statistic)
    images = np.random.default_rng(0).integers(0, 256, (5, 20, 30, 3), dtype=np.uint8)
    values = statistic(images)
    assert values.shape == (5,)
    np.testing.assert_array_equal(statistic(images[::-1]), values[::-1])
    np.testing.assert_allclose(values, [statistic(images[[i]])[0] for i in range(5)], rtol=1e-12)


def test_sharpness_by_hand() -> None:
    # A chess board of 0 and 255: the Laplacian is 8 times the difference from the mean.
    board = 255.0 * (np.indices((16, 16)).sum(axis=0) % 2)
    assert sharpness(gray(board))[0] == pytest.approx(8.0)
    # A slope has no curvature.
    assert sharpness(gray(np.arange(0, 160, 10.0)[None].repeat(16, 0)))[0] == pytest.approx(0.0)


def test_sharpness_of_white_noise_is_the_root_of_twenty() -> None:
    noise = np.random.default_rng(0).normal(128, 25, (256, 256))
    assert sharpness(gray(noise))[0] == pytest.approx(np.sqrt(20), rel=0.01)


def test_sharpness_is_no_contrast() -> None:
    natural = spectrum(1.2)
    faint = 128 + (natural - 128) / 2
    assert sharpness(gray(faint))[0] == pytest.approx(sharpness(gray(natural))[0], rel=0.05)


@pytest.mark.parametrize("slope", [0.8, 1.0, 1.2, 1.5])
@pytest.mark.parametrize("side", [128, 256, 512])
def test_natural_spectra_are_within_the_bounds(slope: float, side: int) -> None:
    # Tolhurst, Tadmor and Tang Chao (1992): natural images have slopes of 0.8 to 1.5.
    assert 0.1 < sharpness(gray(spectrum(slope, side)))[0] < 3.0


def test_blur_and_noise_are_outside_the_bounds() -> None:
    natural = spectrum(1.2)
    noisy = natural + np.random.default_rng(1).normal(0, 60, natural.shape)
    assert sharpness(gray(noisy))[0] > 3.0
    assert sharpness(gray(spectrum(2.0)))[0] < 0.1


def test_contrast_by_hand() -> None:
    halves = np.zeros((16, 16))
    halves[:, 8:] = 255.0
    assert contrast(gray(halves))[0] == pytest.approx(127.5)
    ramp = np.arange(256.0).reshape(16, 16)
    assert contrast(gray(ramp))[0] == pytest.approx(np.sqrt((256**2 - 1) / 12))


def test_contrast_weighs_the_channels_as_luma() -> None:
    image = np.zeros((3, 4, 4, 3), dtype=np.uint8)
    for channel in range(3):
        image[channel, :, 2:, channel] = 200
    np.testing.assert_allclose(contrast(image), 100 * np.array([0.299, 0.587, 0.114]))


def test_colourfulness_by_hand() -> None:
    # Flat red: R - G is 255, (R + G) / 2 - B is 127.5, and nothing varies.
    assert colourfulness(flat(255, 0, 0))[0] == pytest.approx(0.3 * np.hypot(255, 127.5))
    # Red and blue halves: deviations 127.5 and 191.25, means 127.5 and -63.75.
    halves = np.concatenate([flat(255, 0, 0), flat(0, 0, 255)], axis=2)
    expected = np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, 63.75)
    assert colourfulness(halves)[0] == pytest.approx(expected)


def test_more_saturated_is_more_colourful() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(float)
    grey = images.mean(axis=-1, keepdims=True)
    levels = [
        colourfulness((grey + part * (images - grey)).astype(np.uint8))[0]
        for part in (0.0, 0.3, 0.6, 1.0)
    ]
    assert levels == sorted(levels)
    assert levels[0] == pytest.approx(0.0, abs=0.5)
