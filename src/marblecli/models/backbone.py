"""The half of a model that never trains: prompts to conditioning, levels, latents to images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from marblecli.models.conditioning import Conditioning
from marblecli.models.embeddings import Embeddings
from marblecli.types import EmbeddingStore

if TYPE_CHECKING:
    from marblecli.models.family import FrozenParts, Solver


class Backbone:
    """A family's frozen parts with the prompts that were embedded; images are square.

    ``resolution`` is the side of an image in pixels.
    """

    def __init__(self, frozen: FrozenParts, store: EmbeddingStore | None = None) -> None:
        self.frozen = frozen
        self._embeddings = Embeddings(frozen, store)

    @property
    def device(self) -> torch.device:
        """Where images are sampled and decoded."""
        return self.frozen.device

    def remember(self, embeddings: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over embeddings that were kept on disk; see :class:`Embeddings`."""
        self._embeddings.remember(embeddings)

    def embed(self, texts: Iterable[str]) -> None:
        """Encode the texts that aren't embedded yet; see :class:`Embeddings`."""
        self._embeddings.embed(texts)

    def conditioning(self, texts: Sequence[str]) -> Conditioning:
        """The conditioning of B embedded texts, on the device.

        Raises KeyError for a text that was never embedded.
        """
        return self._embeddings.conditioning(texts)

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """[C, h, w] of one image's latents."""
        return self.frozen.latent_shape(resolution, resolution)

    def solver(self, steps: int, shape: Sequence[int]) -> Solver:
        """A solver for one trajectory of ``steps`` evaluations, of latents [C, h, w] of ``shape``.

        A family's noise levels may depend on how large the image is.
        """
        return self.frozen.solver(steps, shape)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Conditioning:
        """Encode B texts without keeping them; the text encoders have to be on the device."""
        return self.frozen.encode(texts)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] -> float32 images [B, 3, H, W] in [0, 1]."""
        return self.frozen.decode(latents)
