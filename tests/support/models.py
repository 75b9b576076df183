"""Loading tiny models in tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from marblecli.models.family import LoadRequest
from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.frozen import SD3Frozen
from marblecli.models.supported import examine_model
from marblecli.settings import ModelSettings


def load_request(settings: ModelSettings, seed: int = 0, *, encoders: bool = True) -> LoadRequest:
    """The request for the model of the settings, with its configurations."""
    return LoadRequest(settings, examine_model(settings).architecture, seed, encoders)


def load_sd3(settings: ModelSettings, *, encoders: bool = True) -> SD3Frozen:
    """The frozen parts of a Stable Diffusion 3; its pipeline has the rest."""
    frozen = SD3.load(load_request(settings, encoders=encoders)).frozen
    assert isinstance(frozen, SD3Frozen)
    return frozen


class FakePipeline:
    """Encodes a text as its length; its encoder and itself log what is asked of them."""

    def __init__(self, device: str = "meta") -> None:
        self.log: list[object] = []
        self.text_encoder = SimpleNamespace(to=lambda device: self.log.append(str(device)))
        self.text_encoder_2 = self.text_encoder_3 = None
        self.vae = SimpleNamespace(device=torch.device(device))
        self.vae_scale_factor = 8

    def encode_prompt(self, prompt: Any, **_: object) -> tuple[Tensor, ...]:
        self.log.append(list(prompt))
        lengths = torch.tensor([float(len(text)) for text in prompt])
        return lengths.view(-1, 1, 1), torch.empty(0), lengths.view(-1, 1), torch.empty(0)

    def frozen(self) -> SD3Frozen:
        """The frozen parts that it makes up."""
        return SD3Frozen(self, ModelSettings(pretrained="x"))
