"""Every prompt is encoded once: its conditioning is kept in the CPU's memory, and on disk if asked.

At 128 T5 tokens a prompt of Stable Diffusion 3 takes 1.7 MB, and a run has thousands of prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from marblecli import progress
from marblecli.engine.copies import to_device
from marblecli.models.at_once import EMBEDDED_PROMPTS
from marblecli.models.conditioning import Conditioning, stacked
from marblecli.types import EmbeddingStore

if TYPE_CHECKING:
    from marblecli.models.family import FrozenParts


class Embeddings:
    """The conditioning of single prompts, by their text.

    ``store`` keeps what is computed here beyond the run; without it nothing is written.
    """

    def __init__(self, frozen: FrozenParts, store: EmbeddingStore | None = None) -> None:
        self._frozen = frozen
        self._store = store
        self._kept: dict[str, Conditioning] = {}

    def remember(self, embeddings: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what the store has, by text: each prompt's tensors by name, without a B."""
        self._kept.update((text, Conditioning(parts)) for text, parts in embeddings.items())

    def embed(self, texts: Iterable[str]) -> None:
        """Encode the texts that aren't kept yet.

        The text encoders come to the device for it and go back to the CPU afterwards. Raises
        StopRequestedError after a batch of texts if the user wants to stop a single process.
        """
        missing = sorted(set(texts) - self._kept.keys())
        if not missing:
            return
        encoders = self._frozen.encoders()
        for encoder in encoders:
            encoder.to(self._frozen.device)
        with progress.work("embedding", len(missing), "prompts") as advance:
            for start in range(0, len(missing), EMBEDDED_PROMPTS):
                batch = missing[start : start + EMBEDDED_PROMPTS]
                self._embed_batch(batch)
                advance(len(batch))
                progress.check_alone()
        for encoder in encoders:
            encoder.to("cpu")

    @torch.no_grad()
    def _embed_batch(self, texts: list[str]) -> None:
        encoded = self._frozen.encode(texts).tensors
        for row, text in enumerate(texts):
            one = {name: part[row].to("cpu", copy=True) for name, part in encoded.items()}
            self._kept[text] = Conditioning(one)
            if self._store is not None:
                self._store.write(text, one)

    def conditioning(self, texts: Sequence[str]) -> Conditioning:
        """That of B texts, on the device. Raises KeyError for a text that was never embedded."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        # A prompt of many images is sent to the device once, and repeated there.
        device = self._frozen.device
        each = stacked([self._kept[text] for text in places]).to(device)
        return each[to_device(torch.tensor([places[text] for text in texts]), device)]
