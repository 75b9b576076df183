from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer


def test_it_is_the_published_computation(
    clip_folder: Path,
    build: Callable[..., Any],
    score: Callable[..., np.ndarray],
    images: Tensor,
    prompts: list[str],
) -> None:
    """All images with all prompts, of which the diagonal is kept."""
    model = CLIPModel.from_pretrained(clip_folder).eval()
    tokens = CLIPTokenizer.from_pretrained(clip_folder)(
        prompts, padding=True, truncation=True, max_length=40, return_tensors="pt"
    )
    array = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pixels = CLIPImageProcessorPil.from_pretrained(clip_folder)(
        [Image.fromarray(image) for image in array], return_tensors="pt"
    )
    with torch.no_grad():
        image = model.get_image_features(**pixels).pooler_output
        text = model.get_text_features(**tokens).pooler_output
    image, text = (v / v.norm(p=2, dim=-1, keepdim=True) for v in (image, text))
    square = model.logit_scale.exp().detach() * (text @ image.T)
    expected = (square.diag() / 26).numpy()
    ours = score("pickscore", build("pickscore"), images, prompts)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
