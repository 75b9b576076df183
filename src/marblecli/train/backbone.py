"""The frozen parts of an SD3 pipeline: prompts to embeddings, latents to images, the sampler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusion3Pipeline
from torch import Tensor

from marblecli.settings import ModelSettings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_ENCODE_BATCH = 32


@dataclass(frozen=True)
class Conditioning:
    """What the transformer knows of the prompts of B images."""

    context: Tensor
    """[B, tokens, joint_attention_dim]."""
    pooled: Tensor
    """[B, pooled_projection_dim]."""

    def __getitem__(self, rows: Tensor | slice) -> Conditioning:
        return Conditioning(self.context[rows], self.pooled[rows])


class Backbone:
    """A loaded pipeline without its transformer's policies."""

    def __init__(self, pipeline: StableDiffusion3Pipeline, settings: ModelSettings) -> None:
        self.pipeline = pipeline
        self.max_sequence_length = settings.max_sequence_length
        self._embeddings: dict[str, Conditioning] = {}

    @property
    def device(self) -> torch.device:
        """Where images are sampled and decoded."""
        return self.pipeline.vae.device

    def embed(self, texts: Iterable[str]) -> None:
        """Compute the embeddings of the texts that aren't cached, then move the encoders off."""
        missing = sorted(set(texts) - self._embeddings.keys())
        if not missing:
            return
        encoders = self._text_encoders()
        for encoder in encoders:
            encoder.to(self.device)
        for start in range(0, len(missing), _ENCODE_BATCH):
            self._embed_batch(missing[start : start + _ENCODE_BATCH])
        for encoder in encoders:
            encoder.to("cpu")

    def _text_encoders(self) -> list[torch.nn.Module]:
        pipeline = self.pipeline
        parts = (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
        return [part for part in parts if part is not None]

    @torch.no_grad()
    def _embed_batch(self, texts: list[str]) -> None:
        context, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=texts,
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
        )
        for row, text in enumerate(texts):
            # On the CPU: at 128 T5 tokens a prompt takes 1.7 MB, and a run has thousands.
            self._embeddings[text] = Conditioning(
                context[row].to("cpu", copy=True), pooled[row].to("cpu", copy=True)
            )

    def conditioning(self, texts: Sequence[str]) -> Conditioning:
        """The cached embeddings of B texts; a text that was never embedded is a KeyError."""
        found = [self._embeddings[text] for text in texts]
        return Conditioning(
            torch.stack([entry.context for entry in found]).to(self.device),
            torch.stack([entry.pooled for entry in found]).to(self.device),
        )

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """[C, h, w] of the latents of a square image."""
        side = resolution // self.pipeline.vae_scale_factor
        return (self.pipeline.transformer.config.in_channels, side, side)

    def sampler(self, steps: int) -> DPMSolverMultistepScheduler:
        """DPM-Solver++(2M) on the pipeline's own flow-matching grid, ready for one trajectory."""
        scheduler = DPMSolverMultistepScheduler(
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=self.pipeline.scheduler.config.shift,
            solver_order=2,
        )
        scheduler.set_timesteps(steps)
        return scheduler

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] -> float32 images [B, 3, H, W] in [0, 1]."""
        vae = self.pipeline.vae
        unscaled = latents / vae.config.scaling_factor + vae.config.shift_factor
        images = vae.decode(unscaled.to(vae.dtype), return_dict=False)[0]
        return (images.float() / 2 + 0.5).clamp(0.0, 1.0)


def load_pipeline(settings: ModelSettings) -> StableDiffusion3Pipeline:
    """Load every part in the recipe's dtype; nothing is moved to a device."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        settings.pretrained, revision=settings.revision, dtype=DTYPES[settings.dtype]
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
