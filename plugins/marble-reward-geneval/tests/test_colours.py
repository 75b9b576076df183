from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from marble_reward_geneval.colours import ColourClassifier, cut_out
from marble_reward_geneval.instances import Instance
from marble_reward_geneval.vocabulary import COLOURS
from marblecli.errors import MarbleError


@pytest.fixture(scope="module")
def classifier(clip_folder: Path) -> ColourClassifier:
    return ColourClassifier(clip_folder, torch.float32)


def cuttings(count: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(20, 30), (64, 9), (1, 5), (32, 32), (40, 41), (7, 60)]
    return [rng.integers(0, 256, (*shapes[n % 6], 3), dtype=np.uint8) for n in range(count)]


def test_an_object_is_cut_out_on_gray() -> None:
    image = np.full((6, 8, 3), 250, dtype=np.uint8)
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 3:6] = True
    mask[2, 3] = False
    kept = image.copy()
    cutting = cut_out(image, Instance(0, 0.9, (3.0, 2.0, 6.0, 4.0), mask))
    assert cutting.shape == (2, 3, 3)
    assert (cutting[0, 0] == 0x99).all()
    assert (np.delete(cutting.reshape(6, 3), 0, axis=0) == 250).all()
    assert np.array_equal(image, kept)


def test_it_is_what_pillow_composes_and_crops() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    mask = rng.random((24, 32)) > 0.5
    box = (4.0, 2.0, 30.0, 20.0)
    whole = Image.composite(
        Image.fromarray(image), Image.new("RGB", (32, 24), "#999"), Image.fromarray(mask)
    )
    expected = np.asarray(whole.crop(tuple(int(side) for side in box)))
    assert np.array_equal(cut_out(image, Instance(0, 0.9, box, mask)), expected)


def test_colours_are_those_of_the_nearest_mean_of_templates(
    classifier: ColourClassifier, clip_folder: Path
) -> None:
    """The definition, written out for one object and one colour at a time."""
    model = CLIPModel.from_pretrained(clip_folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(clip_folder)
    processor = CLIPImageProcessorPil.from_pretrained(clip_folder)

    def embed_text(text: str) -> torch.Tensor:
        return model.get_text_features(**tokenizer(text, return_tensors="pt")).pooler_output[0]

    def similarity(image: torch.Tensor, colour: str, name: str) -> float:
        texts = [f"a photo of a {colour} {name}", f"a photo of a {colour}-colored {name}"]
        texts.append(f"a photo of a {colour} object")
        mean = torch.stack([F.normalize(embed_text(t), dim=-1) for t in texts]).mean(0)
        return float(F.normalize(mean, dim=-1) @ F.normalize(image, dim=-1))

    expected = []
    names = ["dog", "tv remote", "dog", "cup", "cat", "wine glass"]
    with torch.no_grad():
        for cutting, name in zip(cuttings(), names, strict=True):
            pixels = processor([Image.fromarray(cutting)], return_tensors="pt")
            image = model.get_image_features(**pixels).pooler_output[0]
            expected.append(max(COLOURS, key=lambda c: similarity(image, c, name)))
    assert classifier.classify(cuttings(), names) == expected
    assert len(set(expected)) > 1


def test_nothing_to_classify(classifier: ColourClassifier) -> None:
    assert classifier.classify([], []) == []


def test_alone_in_any_order_and_on_every_call(classifier: ColourClassifier) -> None:
    names = ["dog", "cat", "dog", "cup", "tv", "car"]
    colours = classifier.classify(cuttings(), names)
    assert classifier.classify(cuttings(), names) == colours
    assert classifier.classify(cuttings()[::-1], names[::-1])[::-1] == colours
    alone = [classifier.classify([c], [n])[0] for c, n in zip(cuttings(), names, strict=True)]
    assert alone == colours


def test_one_call_of_the_image_encoder_for_all(
    classifier: ColourClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, encode = [], classifier._model.get_image_features

    def spy(pixel_values: torch.Tensor) -> object:
        seen.append(tuple(pixel_values.shape))
        return encode(pixel_values=pixel_values)

    monkeypatch.setattr(classifier._model, "get_image_features", spy)
    classifier.classify(cuttings(), ["dog"] * 6)
    assert seen == [(6, 3, 32, 32)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_runs(clip_folder: Path, dtype: torch.dtype) -> None:
    colours = ColourClassifier(clip_folder, dtype).classify(cuttings(), ["dog"] * 6)
    assert set(colours) <= set(COLOURS)


def test_a_folder_without_tokenizer_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((clip_folder / name).read_bytes())
    with pytest.raises(MarbleError, match=r"has no file tokenizer.json or vocab.json"):
        ColourClassifier(tmp_path, torch.float32)
