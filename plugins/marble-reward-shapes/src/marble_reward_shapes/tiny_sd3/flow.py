"""Pretrain the transformer and both CLIP encoders by rectified flow on rendered scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusion3Pipeline
from diffusers.models.attention_processor import Attention, JointAttnProcessor2_0
from diffusers.training_utils import EMAModel
from torch import Tensor

from marble_reward_shapes.tiny_sd3.autoencoder import KIND_SHARES, draw, encode

POOL = 16_384
"""Scenes drawn and encoded at a time; each is trained on ``EPOCHS`` times, then replaced."""
EPOCHS = 4
CAPTION_DROP = 0.1
MAX_NULLS = 256
"""The T5 length that a plain ``pipe(prompt)`` pads to."""


@dataclass(frozen=True)
class FlowSettings:
    """How long and how fast; the published weights' values are the command's defaults."""

    steps: int
    batch_size: int = 128
    learning_rate: float = 2e-3
    decay_share: float = 0.35
    ema_decay: float = 0.9985
    kind_shares: tuple[float, ...] = KIND_SHARES
    stray_captions: float = 0.0
    """The share of scenes whose caption is that of another scene, as in data from the web."""


class CountedNullAttention:
    """Joint attention in which the last context token stands for ``count`` equal ones.

    All T5 tokens of this model are the same null, without a position, so they stay equal through
    every layer: n of them act as one whose attention logit is raised by log n. Training with a
    random count therefore costs one token, and the model can be called with any T5 length.
    """

    def __init__(self) -> None:
        self.log_count = 0.0

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,  # noqa: ARG002 - diffusers passes it
    ) -> tuple[Tensor, Tensor]:
        image_tokens = hidden_states.shape[1]
        image = (attn.to_q, attn.to_k, attn.to_v)
        context = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        q, k, v = (self._heads(attn, project(hidden_states)) for project in image)
        cq, ck, cv = (self._heads(attn, project(encoder_hidden_states)) for project in context)
        q = torch.cat([attn.norm_q(q), attn.norm_added_q(cq)], dim=2)
        k = torch.cat([attn.norm_k(k), attn.norm_added_k(ck)], dim=2)
        v = torch.cat([v, cv], dim=2)
        bias = q.new_zeros(1, 1, 1, k.shape[2])
        bias[..., -1] = self.log_count
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(1, 1, q.shape[2], -1))
        out = out.transpose(1, 2).flatten(2)
        image_out, context_out = out[:, :image_tokens], out[:, image_tokens:]
        if not attn.context_pre_only:
            context_out = attn.to_add_out(context_out)
        return attn.to_out[0](image_out), context_out

    @staticmethod
    def _heads(attn: Attention, projected: Tensor) -> Tensor:
        return projected.unflatten(2, (attn.heads, -1)).transpose(1, 2)


def train_flow(
    pipeline: StableDiffusion3Pipeline,
    settings: FlowSettings,
    seed: int,
    report: Callable[[str], None],
    snapshot: Callable[[int], None],
) -> None:
    """Train in place; the weights that stay are the exponential moving average.

    ``snapshot(step)`` is called with the average in place every 1000 steps.
    """
    modules = torch.nn.ModuleList(
        [pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2]
    )
    original = JointAttnProcessor2_0()
    attention = CountedNullAttention()
    pipeline.transformer.set_attn_processor(attention)
    modules.train().requires_grad_(True)
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimizers = _optimizers(pipeline, settings)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
        for optimizer in optimizers
    ]
    ema = EMAModel(parameters, decay=settings.ema_decay, use_ema_warmup=True, power=0.75)
    generator = torch.Generator().manual_seed(seed)
    smooth = float("nan")
    for step, (latents, tokens) in enumerate(_batches(pipeline, settings, seed, generator), 1):
        nulls = math.exp(math.log(MAX_NULLS) * float(torch.rand((), generator=generator)))
        attention.log_count = math.log(nulls) if step % 2 else 0.0
        loss = _flow_loss(pipeline, latents, tokens, generator)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        ema.step(parameters)
        smooth = loss.item() if math.isnan(smooth) else 0.99 * smooth + 0.01 * loss.item()
        if step % 100 == 0:
            report(f"flow step {step}/{settings.steps}: loss {smooth:.4f}")
        if step % 1000 == 0 or step == settings.steps:
            ema.store(parameters)
            ema.copy_to(parameters)
            pipeline.transformer.set_attn_processor(original)
            snapshot(step)
            pipeline.transformer.set_attn_processor(attention)
            ema.restore(parameters)
    ema.copy_to(parameters)
    pipeline.transformer.set_attn_processor(original)
    modules.eval()


def _optimizers(
    pipeline: StableDiffusion3Pipeline, settings: FlowSettings
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the joint blocks, AdamW for all else."""
    matrices = [p for p in pipeline.transformer.transformer_blocks.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    modules = (pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2)
    others = [p for module in modules for p in module.parameters() if id(p) not in chosen]
    rate = settings.learning_rate
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, weight_decay=0.01, betas=(0.9, 0.98)),
    ]


def _rate(step: int, settings: FlowSettings) -> float:
    """Warm-up over 200 steps, constant, linear decay to zero over the last ``decay_share``."""
    decay = settings.decay_share * settings.steps
    return min(1.0, (step + 1) / 200, max(0.0, (settings.steps - step) / decay))


def _batches(
    pipeline: StableDiffusion3Pipeline,
    settings: FlowSettings,
    seed: int,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (latents [B, 8, H, W], token ids [B, T]) for ``settings.steps`` batches."""
    rng = np.random.default_rng((seed, 2))
    remaining = settings.steps
    while True:
        latents, tokens = _pool(pipeline, settings, rng)
        for _ in range(EPOCHS):
            order = torch.randperm(POOL, generator=generator)
            for index in order.split(settings.batch_size):
                if remaining == 0:
                    return
                remaining -= 1
                yield latents[index], tokens[index]


def _pool(
    pipeline: StableDiffusion3Pipeline, settings: FlowSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    scenes, images = draw(POOL, rng, settings.kind_shares)
    latents = torch.cat([encode(pipeline.vae, part) for part in np.split(images, POOL // 512)])
    captions = _captions([scene.prompt for scene in scenes], settings.stray_captions, rng)
    tokens = pipeline.tokenizer(captions, padding="max_length", return_tensors="pt").input_ids
    return latents, tokens


def _captions(prompts: Sequence[str], stray: float, rng: np.random.Generator) -> list[str]:
    """The prompts, some of which are dropped and, of the share ``stray``, are at wrong places."""
    captions = np.array(prompts)
    dropped = rng.random(len(captions)) < CAPTION_DROP
    if stray:
        places = np.flatnonzero(rng.random(len(captions)) < stray)
        captions[places] = captions[rng.permutation(places)]
    captions[dropped] = ""
    return [str(caption) for caption in captions]


def embed(pipeline: StableDiffusion3Pipeline, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids [B, T] -> (context [B, T + 1, 128], pooled [B, 128]), one null token at the end."""
    outputs = [
        encoder(tokens, output_hidden_states=True)
        for encoder in (pipeline.text_encoder, pipeline.text_encoder_2)
    ]
    context = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    pooled = torch.cat([output.text_embeds for output in outputs], dim=-1)
    return F.pad(context, (0, 0, 0, 1)), pooled


def _flow_loss(
    pipeline: StableDiffusion3Pipeline, latents: Tensor, tokens: Tensor, generator: torch.Generator
) -> Tensor:
    noise = torch.randn(latents.shape, generator=generator)
    t = torch.sigmoid(torch.randn(len(latents), generator=generator))
    mixed = torch.lerp(latents, noise, t.view(-1, 1, 1, 1))
    context, pooled = embed(pipeline, tokens)
    velocity = pipeline.transformer(
        hidden_states=mixed,
        timestep=1000 * t,
        encoder_hidden_states=context,
        pooled_projections=pooled,
        return_dict=False,
    )[0]
    return F.mse_loss(velocity, noise - latents)
