"""Stable Diffusion 3 as a :class:`~marblecli.models.family.Family`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from marblecli.models.configurations import INDEX, Architecture, Config
from marblecli.models.family import AdapterRules, Family, FamilySpec, LoadedParts, LoadRequest
from marblecli.models.licence import UNKNOWN, Licence
from marblecli.models.limits import Limits
from marblecli.models.native import NativeLayer
from marblecli.models.sd3.native import native_layers
from marblecli.models.sd3.options import SD3Options, sd3_options
from marblecli.models.sd3.shapes import conditioning_shapes, latent_shape, sd3_limits
from marblecli.settings import ModelSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from marblecli.models.conditioning import Conditioning

_TIMESTEPS = 1000
"""The transformer takes the noise level in thousandths."""
PUBLISHED_TARGETS = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
)
"""The eight attention projections that the published recipe adapts."""

_STABILITY = Licence(
    "This Stability AI Model is licensed under the Stability AI Community License, Copyright © "
    "Stability AI Ltd. All Rights Reserved. Powered by Stability AI. The licence limits commercial "
    "use, and asks those who pass the weights on for this notice and a copy of it.",
    "stabilityai-ai-community",
    "https://stability.ai/license",
)
"""The attribution that section III (a) of the licence asks for."""

_SPEC = FamilySpec(
    name="sd3",
    title="Stable Diffusion 3",
    example="stabilityai/stable-diffusion-3.5-medium",
    called=re.compile(r"sd-?3|stable-diffusion-3", re.I),
    classes={INDEX: "StableDiffusion3Pipeline", "transformer": "SD3Transformer2DModel"},
    parts={
        "transformer": "transformer/config.json",
        "vae": "vae/config.json",
        "text_encoder": "text_encoder/config.json",
        "text_encoder_2": "text_encoder_2/config.json",
        "text_encoder_3": "text_encoder_3/config.json",
        "scheduler": "scheduler/scheduler_config.json",
    },
    encoders=("text_encoder", "text_encoder_2", "text_encoder_3"),
    may_lack=frozenset({"text_encoder_3"}),
    package="marblecli.models.sd3",
    shipped={
        "stabilityai/stable-diffusion-3-medium-diffusers": "sd3-medium",
        "stabilityai/stable-diffusion-3.5-medium": "sd3.5-medium",
        "stabilityai/stable-diffusion-3.5-large": "sd3.5-large",
    },
    options=SD3Options,
    adapters=AdapterRules(
        targets=PUBLISHED_TARGETS,
        # The modulations, the embedders and the output are linear layers too.
        outside=r"(?!transformer_blocks\.).*|.*\.norm\d\w*\..*",
        export_prefix="transformer.",
    ),
    savings=(("t5", "8bit"), ("t5", "none")),
)


class StableDiffusion3(Family):
    """The conditioning is ``context`` [B, tokens, width] and ``pooled`` [B, width]."""

    spec = _SPEC

    def limits(self, architecture: Architecture, model: ModelSettings) -> Limits:
        return sd3_limits(architecture, sd3_options(model))

    def encoders(self, architecture: Architecture, model: ModelSettings) -> tuple[str, ...]:
        found = super().encoders(architecture, model)
        skipped = "text_encoder_3" if sd3_options(model).t5 == "none" else None
        return tuple(part for part in found if part != skipped)

    def in_8_bits(self, model: ModelSettings) -> frozenset[str]:
        return frozenset({"text_encoder_3"} if sd3_options(model).t5 == "8bit" else ())

    def describe(self, architecture: Architecture) -> str:
        config = architecture.parts["transformer"]
        layers = config.get("num_layers", 18)
        width = config.get("num_attention_heads", 18) * config.get("attention_head_dim", 64)
        second = sum(layer < layers for layer in config.get("dual_attention_layers") or ())
        dual = f", {second} with a second attention" if second else ""
        return f"{layers} layers of width {width}{dual}"

    def latent_shape(
        self, architecture: Architecture, height: int, width: int
    ) -> tuple[int, int, int]:
        parts = architecture.parts
        return latent_shape(parts["transformer"], parts["vae"], height, width)

    def conditioning_shapes(
        self, architecture: Architecture, model: ModelSettings
    ) -> dict[str, tuple[int, ...]]:
        return conditioning_shapes(architecture, sd3_options(model))

    def native_layers(self, config: Config) -> dict[str, NativeLayer]:
        return native_layers(config)

    def build(self, part: str, config: Config) -> nn.Module:
        from marblecli.models.sd3.parts import build_part

        return build_part(part, config)

    def load(self, request: LoadRequest) -> LoadedParts:
        from marblecli.models.sd3.loading import load_parts

        return load_parts(request)

    def licence(self, pretrained: str) -> Licence:
        return _STABILITY if pretrained.startswith("stabilityai/") else UNKNOWN

    def pipeline(self, request: LoadRequest) -> Any:
        from marblecli.models.sd3.loading import load_whole_pipeline

        return load_whole_pipeline(request)

    def velocity(
        self, network: nn.Module, noised: Tensor, noise_level: Tensor, conditioning: Conditioning
    ) -> Tensor:
        velocity: Tensor = network(
            hidden_states=noised,
            timestep=_TIMESTEPS * noise_level,
            encoder_hidden_states=conditioning.tensors["context"],
            pooled_projections=conditioning.tensors["pooled"],
            return_dict=False,
        )[0]
        return velocity

    def blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        return tuple(network.get_submodule("transformer_blocks").children())


SD3 = StableDiffusion3()
