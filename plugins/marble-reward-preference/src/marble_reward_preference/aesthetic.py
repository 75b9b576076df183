"""LAION's aesthetic predictor, "improved" (Schuhmann, 2022): CLIP ViT-L/14 and a linear stack.

Trained on SAC, logos and AVA. The raw output, on the scale of marks from 1 to 10; the prompt
doesn't matter.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from marble_reward_preference.checkpoints import part, read_checkpoint
from marble_reward_preference.clip import load_clip
from marble_reward_preference.linear_stack import load_stack
from marble_reward_preference.options import AestheticOptions, folders
from marble_reward_preference.preprocessing import PublishedProcessor
from marble_reward_preference.scorer import ModelScorer
from marblecli.rewards import RewardBatch

_HEAD = "aesthetic-model.pth"


class Aesthetic(ModelScorer):
    """Scorer of PIL images."""

    def __init__(self, options: AestheticOptions, device: str) -> None:
        model, head = folders(options)
        self._process = PublishedProcessor(model)
        self._clip = load_clip(model, options.dtype, device)
        super().__init__(self._clip.model)
        self._head = load_head(head / _HEAD, self._clip.width)

    def score(self, batch: RewardBatch) -> Tensor:
        embeddings = self._clip.embed_images(self._process(batch.images))
        # The embeddings are on the CPU, and so is the head, wherever CLIP is.
        marks: Tensor = self._head(embeddings)
        return marks[:, 0]


def load_head(path: Path, width: int) -> nn.Module:
    """The predictor on top of CLIP's image embeddings."""
    return load_stack(path, part(read_checkpoint(path), "layers."), width)
