from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from marble_reward_geneval import detector as module
from marble_reward_geneval.detector import Detector, resized
from marble_reward_geneval.instances import Instance
from marble_reward_geneval.vocabulary import CLASSES
from marblecli.errors import MarbleError

Found = list[dict[str, list[Instance]]]


@pytest.fixture(scope="module")
def detector(detector_folder: Path) -> Detector:
    return Detector(detector_folder, torch.float32, short_side=64)


def detect(detector: Detector, images: np.ndarray, threshold: float = 0.1) -> Found:
    return detector.detect(images, [threshold] * len(images), [CLASSES] * len(images))


def summary(found: Found) -> list[dict[str, list[float]]]:
    return [{name: [i.score for i in many] for name, many in one.items()} for one in found]


def test_it_finds_instances_by_class_best_first(detector: Detector, images: np.ndarray) -> None:
    found = detect(detector, images)
    assert len(found) == 4
    for image in found:
        assert image
        assert set(image) <= set(CLASSES)
        for many in image.values():
            scores = [instance.score for instance in many]
            assert scores == sorted(scores, reverse=True)
            assert all(0.1 < score <= 1 for score in scores)
            assert all(instance.mask.shape == (48, 64) for instance in many)


def test_the_same_on_every_call_without_gradients(detector: Detector, images: np.ndarray) -> None:
    with torch.enable_grad():
        assert summary(detect(detector, images)) == summary(detect(detector, images))
    assert not any(p.requires_grad for p in detector._model.parameters())


def test_alone_or_in_any_order_to_the_bit(detector: Detector, images: np.ndarray) -> None:
    """On a flat image, attention hangs on rounding: it must not go with the batch."""
    images = np.concatenate([images, np.full((1, *images.shape[1:]), 37, dtype=np.uint8)])
    found = summary(detect(detector, images))
    assert summary(detect(detector, images[::-1].copy()))[::-1] == found
    assert [summary(detect(detector, image[None]))[0] for image in images] == found


def test_thresholds_and_classes_are_those_of_each_image(
    detector: Detector, images: np.ndarray
) -> None:
    everything = detect(detector, images[:1])[0]
    name = next(iter(everything))
    same = np.repeat(images[:1], 3, axis=0)
    found = detector.detect(same, [0.1, 0.99, 0.1], [{name}, CLASSES, ()])
    assert [set(image) for image in found] == [{name}, set(), set()]
    assert len(found[0][name]) == len(everything[name])


def test_channels_are_red_green_blue(detector: Detector) -> None:
    """Normalised with ImageNet's mean and deviation of that channel."""
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[..., 0] = 255
    pixels, _ = detector._prepare(image)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert pixels[0, :, 5, 5].tolist() == pytest.approx(expected, rel=1e-5)


def test_what_is_made_smaller_is_averaged(detector: Detector) -> None:
    """Of every four columns one is white: a quarter of the light, wherever pixels are taken."""
    image = np.zeros((256, 256, 3), dtype=np.uint8)
    image[:, ::4] = 255
    pixels, _ = detector._prepare(image)
    light = pixels[0, 0, 8:-8, 8:-8] * 0.229 + 0.485
    assert light.shape == (48, 48)
    assert light.min() == pytest.approx(0.25, abs=0.01)
    assert light.max() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((512, 512), 800, (800, 800)),
        ((512, 768), 800, (800, 1200)),
        ((768, 512), 800, (1200, 800)),
        ((512, 1024), 800, (666, 1333)),
        ((1600, 1600), 800, (800, 800)),
        ((32, 32), 64, (64, 64)),
        ((1, 400), 64, (1, 107)),
    ],
)
def test_sizes_by_hand(size: tuple[int, int], short_side: int, expected: tuple[int, int]) -> None:
    assert resized(size, short_side) == expected


def test_padding_is_right_and_below_to_a_multiple_of_32(detector: Detector) -> None:
    pixels, geometry = detector._prepare(np.full((40, 50, 3), 200, dtype=np.uint8))
    assert (geometry.image, geometry.content, geometry.canvas) == ((40, 50), (64, 80), (64, 96))
    assert pixels.shape == (1, 3, 64, 96)
    assert (pixels[..., 80:] == 0).all()
    assert (pixels[..., :80] != 0).all()


@pytest.mark.parametrize("shape", [(40, 50), (33, 97), (20, 200)])
def test_any_shape_of_image(detector: Detector, shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, *shape, 3), dtype=np.uint8)
    (found,) = detect(detector, images)
    assert {instance.mask.shape for many in found.values() for instance in many} == {shape}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_runs(
    detector: Detector, detector_folder: Path, images: np.ndarray, dtype: torch.dtype
) -> None:
    found = detect(Detector(detector_folder, dtype, 64), images[:1])[0]
    best = max(many[0].score for many in detect(detector, images[:1])[0].values())
    assert max(many[0].score for many in found.values()) == pytest.approx(best, rel=0.1)


def test_weights_of_the_pinned_commit_are_no_safetensors(
    detector: Detector, detector_folder: Path, images: np.ndarray, tmp_path: Path
) -> None:
    torch.save(load_file(detector_folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    _copy_config(detector_folder, tmp_path)
    old = Detector(tmp_path, torch.float32, 64)
    assert summary(detect(old, images)) == summary(detect(detector, images))


def test_other_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MarbleError, match=r"has 3 classes; GenEval needs COCO's 80"):
        module._check_labels(tmp_path, dict(enumerate(["person", "bicycle", "car"])))
    shifted = dict(enumerate([*CLASSES[1:], "person"]))
    with pytest.raises(MarbleError, match=r"has the class 'bicycle' at 0; COCO has it at 1"):
        module._check_labels(tmp_path, shifted)


def test_names_that_cannot_be_told_are_let_pass(tmp_path: Path) -> None:
    module._check_labels(tmp_path, {index: f"LABEL_{index}" for index in range(80)})


def _copy_config(source: Path, target: Path) -> None:
    (target / "config.json").write_text((source / "config.json").read_text("utf-8"), "utf-8")
