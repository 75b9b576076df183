"""CLIPScore as DiffusionNFT has it: CLIP ViT-L/14's logit of image and prompt, over 100.

After Hessel et al., 2021 (arXiv 2104.08718), whose factor 2.5 and clipping at 0 it leaves out.
"""

from __future__ import annotations

from torch import Tensor

from marble_reward_preference.clip import load_clip
from marble_reward_preference.options import ClipScoreOptions, folders
from marble_reward_preference.preprocessing import crop_bilinear
from marble_reward_preference.scorer import ModelScorer
from marblecli.rewards import RewardBatch


class ClipScore(ModelScorer):
    """Scorer of float images."""

    def __init__(self, options: ClipScoreOptions, device: str) -> None:
        (model,) = folders(options)
        self._clip = load_clip(model, options.dtype, device)
        super().__init__(self._clip.model)

    def score(self, batch: RewardBatch) -> Tensor:
        pixels = crop_bilinear(batch.images.to(self._model.device), self._clip.image_size)
        return self._clip.logits(pixels, batch.prompts) / 100
