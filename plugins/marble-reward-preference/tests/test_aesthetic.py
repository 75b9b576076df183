from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marble_reward_preference.aesthetic import load_head
from marble_reward_preference.linear_stack import linear_stack
from marble_reward_preference.preprocessing import PublishedProcessor


def save_head(path: Path, width: int, sizes: dict[str, float]) -> None:
    """A head whose weights are all zero but those given."""
    weights = {name: torch.zeros_like(w) for name, w in linear_stack(width).state_dict().items()}
    for name, size in sizes.items():
        weights[name].view(-1)[0] = size
    torch.save({f"layers.{name}": tensor for name, tensor in weights.items()}, path)


FIRST = {f"{layer}.weight": 1.0 for layer in (2, 4, 6, 7)}
"""The first unit of each layer is handed on."""


def test_the_head_by_hand(tmp_path: Path) -> None:
    save_head(tmp_path / "head.pth", 3, FIRST | {"0.weight": 4.0, "6.bias": 0.5, "7.bias": 5.0})
    head = load_head(tmp_path / "head.pth", 3)
    marks = head(torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.6, 0.8]]))
    torch.testing.assert_close(marks[:, 0], torch.tensor([4 * 0.6 + 0.5 + 5.0, 5.5]))


def test_dropouts_are_off(tmp_path: Path) -> None:
    save_head(tmp_path / "head.pth", 3, FIRST | {"0.weight": 1.0})
    head = load_head(tmp_path / "head.pth", 3)
    assert {head(torch.ones(1, 3)).item() for _ in range(50)} == {1.0}


def test_it_marks_the_unit_embedding_and_keeps_the_scale(
    broken: Callable[[str], Path],
    catalog: Any,
    score: Callable[..., np.ndarray],
    images: Tensor,
    prompts: list[str],
) -> None:
    from PIL import Image
    from transformers import CLIPModel

    folder = broken("aesthetic")
    save_head(folder / "aesthetic-model.pth", 24, FIRST | {"0.weight": 10.0, "7.bias": 5.0})
    scorer = catalog.build("aesthetic", {"model": str(folder)}, "cpu")
    array = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pixels = PublishedProcessor(folder)([Image.fromarray(image) for image in array])
    with torch.no_grad():
        features = CLIPModel.from_pretrained(folder).eval().get_image_features(pixels)
    embedding = features.pooler_output / features.pooler_output.norm(dim=-1, keepdim=True)
    expected = 10 * embedding[:, 0] + 5
    np.testing.assert_allclose(score("aesthetic", scorer, images, prompts), expected, rtol=1e-5)
