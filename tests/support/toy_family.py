"""A made-up model family that has in common with Stable Diffusion 3 as little as possible.

Its network isn't a diffusers model. It takes packed latents and position ids, and has blocks of two
kinds, as FLUX.1; its one text encoder gives a sequence with a mask, as Qwen-Image's; a guidance
scale is embedded; its VAE has a time axis and no scale or shift.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marblecli.models.conditioning import Conditioning
from marblecli.models.configurations import INDEX, Architecture, Config
from marblecli.models.family import (
    AdapterRules,
    Family,
    FamilyOptions,
    FamilySpec,
    FrozenParts,
    LoadedParts,
    LoadRequest,
)
from marblecli.models.limits import Limits
from marblecli.models.random import drawn_part, unset_part
from marblecli.models.solver import FlowSolver
from marblecli.seeding import torch_stream
from marblecli.settings import ModelSettings

FACTOR, PATCH, CHANNELS, WIDTH, WORDS, VOCABULARY = 4, 2, 4, 16, 8, 50


class DoubleBlock(nn.Module):
    """Image tokens look at themselves and at the words that the mask leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.word = nn.Linear(WIDTH, WIDTH)

    def forward(
        self, image: Tensor, words: Tensor, mask: Tensor, level: Tensor, turn: Tensor
    ) -> tuple[Tensor, Tensor]:
        words = words + torch.tanh(self.word(words))
        both = torch.cat([words, image * turn], 1)
        seen = torch.cat([mask.bool(), mask.new_ones(image.shape[:2]).bool()], 1)
        mixed = nn.functional.scaled_dot_product_attention(
            self.query(image), self.key(both), self.value(both), attn_mask=seen[:, None]
        )
        return words, image + level * mixed


class SingleBlock(nn.Module):
    """Words and image in one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(WIDTH, 2 * WIDTH)
        self.out = nn.Linear(2 * WIDTH, WIDTH)

    def forward(
        self, image: Tensor, words: Tensor, mask: Tensor, level: Tensor, turn: Tensor
    ) -> tuple[Tensor, Tensor]:
        both = torch.cat([words, image], 1)
        both = both + level * self.out(nn.functional.gelu(self.into(both)))
        return both[:, : words.shape[1]], both[:, words.shape[1] :]


class ToyNetwork(nn.Module):
    """Packed latents [B, tokens, PATCH^2 CHANNELS] -> velocities of the same shape."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(CHANNELS * PATCH**2, WIDTH)
        self.time = nn.Linear(2, WIDTH)
        self.double_blocks = nn.ModuleList(DoubleBlock() for _ in range(layers))
        self.single_blocks = nn.ModuleList(SingleBlock() for _ in range(layers))
        self.project = nn.Linear(WIDTH, CHANNELS * PATCH**2)
        self.run: Callable[..., Any] = lambda block, *inputs: block(*inputs)

    def forward(
        self,
        packed: Tensor,
        positions: Tensor,
        level: Tensor,
        guidance: Tensor,
        prompt: Conditioning,
    ) -> Tensor:
        words, mask = prompt.tensors["words"], prompt.tensors["mask"]
        image = self.embed(packed)
        told = self.time(torch.stack([level, guidance], 1).to(packed.dtype))[:, None]
        turn = torch.cos(positions.sum(1))[None, :, None].to(packed.dtype)
        graded = torch.is_grad_enabled()
        for block in (*self.double_blocks, *self.single_blocks):
            inputs = (image, words, mask, told, turn)
            words, image = self.run(block, *inputs) if graded else block(*inputs)
        result: Tensor = self.project(image)
        return result


def pack(latents: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h/2 w/2, 4 C]."""
    return nn.functional.pixel_unshuffle(latents, PATCH).flatten(2).mT


def unpack(packed: Tensor, height: int, width: int) -> Tensor:
    """The way back."""
    whole = packed.mT.unflatten(2, (height // PATCH, width // PATCH))
    return nn.functional.pixel_shuffle(whole, PATCH)


class ToyOptions(FamilyOptions):
    """``guidance`` is the scale that the network is told."""

    guidance: float = 3.5


class ToyFrozen(FrozenParts):
    """A text encoder that is a table of words, and a decoder that is one layer."""

    def __init__(self, encoder: nn.Embedding | None, decoder: nn.Linear, guidance: float) -> None:
        self.encoder, self.decoder, self.guidance = encoder, decoder, guidance

    @property
    def device(self) -> torch.device:
        return self.decoder.weight.device

    def to(self, device: torch.device) -> None:
        self.decoder.to(device).requires_grad_(False)

    def encoders(self) -> Sequence[nn.Module]:
        return [] if self.encoder is None else [self.encoder]

    def encode(self, texts: Sequence[str]) -> Conditioning:
        assert self.encoder is not None
        ids = [[zlib.crc32(word.encode()) % VOCABULARY for word in text.split()] for text in texts]
        padded = torch.tensor([(row + [0] * WORDS)[:WORDS] for row in ids], device=self.device)
        mask = torch.tensor([[float(n < len(row)) for n in range(WORDS)] for row in ids])
        guidance = torch.full((len(texts),), self.guidance, device=self.device)
        words = self.encoder(padded)
        return Conditioning({"words": words, "mask": mask.to(self.device), "guidance": guidance})

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return (CHANNELS, height // FACTOR, width // FACTOR)

    def solver(self, steps: int, shape: Sequence[int]) -> FlowSolver:
        """The larger the image, the more of its steps are at high noise."""
        return FlowSolver(steps, 1.0 + shape[1] * shape[2] / 64)

    def decode(self, latents: Tensor) -> Tensor:
        video = latents[:, :, None]
        pixels = self.decoder(video[:, :, 0].movedim(1, 3)).movedim(3, 1)
        return nn.functional.pixel_shuffle(pixels, FACTOR).float().sigmoid()


class ToyFamily(Family):
    """Weights are always drawn."""

    spec = FamilySpec(
        name="toy",
        title="Toy",
        example="someone/toy",
        called=re.compile("toy"),
        classes={INDEX: "ToyPipeline", "transformer": "ToyNetwork"},
        parts={
            "transformer": "transformer/config.json",
            "text_encoder": "text_encoder/config.json",
        },
        encoders=("text_encoder",),
        may_lack=frozenset(),
        package="",
        shipped={},
        options=ToyOptions,
        adapters=AdapterRules(
            targets=("query", "value", "into"),
            outside=r"(?!(double|single)_blocks\.).*",
            export_prefix="toy.",
        ),
        savings=(),
    )

    def limits(self, architecture: Architecture, model: ModelSettings) -> Limits:
        return Limits(FACTOR * PATCH, None, {"text_encoder": WORDS})

    def describe(self, architecture: Architecture) -> str:
        return f"{architecture.parts['transformer']['layers']} layers of each kind"

    def latent_shape(
        self, architecture: Architecture, height: int, width: int
    ) -> tuple[int, int, int]:
        return (CHANNELS, height // FACTOR, width // FACTOR)

    def conditioning_shapes(
        self, architecture: Architecture, model: ModelSettings
    ) -> dict[str, tuple[int, ...]]:
        return {"words": (WORDS, WIDTH), "mask": (WORDS,), "guidance": ()}

    def build(self, part: str, config: Config) -> nn.Module:
        if part == "transformer":
            return ToyNetwork(config["layers"])
        if part == "text_encoder":
            return nn.Embedding(VOCABULARY, WIDTH)
        return nn.Linear(CHANNELS, 3 * FACTOR**2)

    def load(self, request: LoadRequest) -> LoadedParts:
        assert isinstance(request.architecture, Architecture)
        parts = {}
        for index, name in enumerate(("transformer", "text_encoder", "decoder")):
            config = request.architecture.parts.get(name, {})
            build = partial(self.build, name, config)
            generator = torch_stream(request.seed, "toy", index)
            parts[name] = (
                unset_part(build, torch.float32)
                if request.empty
                else drawn_part(build, torch.float32, generator)
            )
        encoder = parts["text_encoder"] if request.encoders else None
        guidance = ToyOptions.model_validate(dict(request.model.options)).guidance
        return LoadedParts(parts["transformer"], ToyFrozen(encoder, parts["decoder"], guidance))

    def velocity(
        self, network: nn.Module, noised: Tensor, noise_level: Tensor, conditioning: Conditioning
    ) -> Tensor:
        height, width = noised.shape[2:]
        rows = torch.arange(height // PATCH, device=noised.device)
        columns = torch.arange(width // PATCH, device=noised.device)
        positions = torch.cartesian_prod(rows, columns).to(noised.dtype)
        guidance = conditioning.tensors["guidance"]
        found = network(pack(noised), positions, noise_level, guidance, conditioning)
        return unpack(found, height, width)

    def blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        assert isinstance(network, ToyNetwork)
        return (*network.double_blocks, *network.single_blocks)

    def checkpoint_blocks(self, network: nn.Module, run: Callable[..., Any]) -> None:
        assert isinstance(network, ToyNetwork)
        network.run = run


TOY = ToyFamily()


def write_toy_model(folder: Path) -> Path:
    """A folder of its configurations, in diffusers' layout."""
    configs: dict[str, dict[str, Any]] = {
        INDEX: {"_class_name": "ToyPipeline"},
        "transformer/config.json": {"_class_name": "ToyNetwork", "layers": 2},
        "text_encoder/config.json": {},
    }
    for file, config in configs.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(config))
    return folder
