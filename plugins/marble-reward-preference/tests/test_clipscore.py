from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import CLIPModel, CLIPTokenizer

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


def test_it_is_the_published_computation(
    clip_folder: Path,
    build: Callable[..., Any],
    score: Callable[..., np.ndarray],
    images: Tensor,
    prompts: list[str],
) -> None:
    model = CLIPModel.from_pretrained(clip_folder).eval()
    tokens = CLIPTokenizer.from_pretrained(clip_folder)(
        prompts, padding="max_length", truncation=True, max_length=40, return_tensors="pt"
    )
    # 48 x 64: the short side to 32, the long one to 42, of which 5 on either side are cut off.
    pixels = interpolate(images, (32, 42), mode="bilinear", antialias=True)[..., 5:37]
    with torch.no_grad():
        logits = model(pixel_values=(pixels - MEAN) / DEVIATION, **tokens).logits_per_image
    ours = score("clipscore", build("clipscore"), images, prompts)
    np.testing.assert_allclose(ours, (logits.diagonal() / 100).numpy(), rtol=1e-4, atol=1e-5)
