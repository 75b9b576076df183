"""PickScore (Kirstain et al., 2023, arXiv 2305.01569), as Flow-GRPO and DiffusionNFT scale it.

exp(logit_scale) times the cosine of image and prompt, over 26.
"""

from __future__ import annotations

from torch import Tensor

from marble_reward_preference.clip import load_clip
from marble_reward_preference.options import PickScoreOptions, folders
from marble_reward_preference.preprocessing import PublishedProcessor
from marble_reward_preference.scorer import ModelScorer
from marblecli.rewards import RewardBatch

_SCALE = 26.0


class PickScore(ModelScorer):
    """Scorer of PIL images."""

    def __init__(self, options: PickScoreOptions, device: str) -> None:
        model, processor = folders(options)
        self._process = PublishedProcessor(processor)
        self._clip = load_clip(model, options.dtype, device, processor)
        super().__init__(self._clip.model)

    def score(self, batch: RewardBatch) -> Tensor:
        logits = self._clip.logits(self._process(batch.images), batch.prompts)
        return logits / _SCALE
