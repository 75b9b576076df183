"""The frozen parts of a Stable Diffusion 3: three text encoders, the VAE and the sampler's grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor, nn

from marblecli.models.conditioning import Conditioning
from marblecli.models.decoding import ImageDecoder
from marblecli.models.family import FrozenParts
from marblecli.models.sd3.options import sd3_options
from marblecli.models.sd3.shapes import latent_shape
from marblecli.models.solver import FlowSolver
from marblecli.settings import ModelSettings


class SD3Frozen(FrozenParts):
    """A pipeline without what is made of its transformer."""

    def __init__(self, pipeline: StableDiffusion3Pipeline, model: ModelSettings) -> None:
        self.pipeline = pipeline
        self._tokens = sd3_options(model).max_sequence_length
        self._decoder = ImageDecoder(
            pipeline.vae, pipeline.vae_scale_factor, tiled=model.vae_tiling
        )

    @property
    def device(self) -> torch.device:
        return self.pipeline.vae.device

    def to(self, device: torch.device) -> None:
        self.pipeline.vae.to(device).requires_grad_(False)

    def encoders(self) -> Sequence[nn.Module]:
        pipeline = self.pipeline
        parts = (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
        return [part for part in parts if part is not None]

    def encode(self, texts: Sequence[str]) -> Conditioning:
        context, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(texts),
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self._tokens,
        )
        return Conditioning({"context": context, "pooled": pooled})

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        pipeline = self.pipeline
        return latent_shape(pipeline.transformer.config, pipeline.vae.config, height, width)

    def solver(self, steps: int, shape: Sequence[int]) -> FlowSolver:  # noqa: ARG002, for others
        """The pipeline's own grid, whose shift is the same for every size of image."""
        return FlowSolver(steps, self.pipeline.scheduler.config.shift)

    def decode(self, latents: Tensor) -> Tensor:
        return self._decoder(latents)
