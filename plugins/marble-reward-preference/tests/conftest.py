"""Tiny models of the real classes, saved as the published ones are, with random weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipTextModel,
    BlipVisionModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
)

from marble_reward_preference.linear_stack import linear_stack
from marblecli.rewards import RewardBatch
from marblecli.rewards.host import RewardCatalog, discover

SIZE, PATCH, TOKENS, WIDTH = 32, 16, 40, 24
"""Side and patch of the tiny CLIP's images, length of its texts, its common space."""


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What CLIPScore, PickScore and Aesthetic read."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = clip_tokenizer()
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    ).save_pretrained(folder)
    model = CLIPModel(clip_config(tokenizer))
    randomise(model)
    model.logit_scale.data.fill_(4.6052)
    model.save_pretrained(folder)
    save_aesthetic_head(folder / "aesthetic-model.pth")
    return folder


@pytest.fixture(scope="session")
def hps_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What HPSv2 reads: a checkpoint of open_clip, and the configuration of its size."""
    folder = tmp_path_factory.mktemp("hps")
    tokenizer = clip_tokenizer()
    tokenizer.save_pretrained(folder)
    config = clip_config(tokenizer)
    config.save_pretrained(folder)
    shapes = open_clip(config)
    weights = {name: random_tensor(shape, row) for row, (name, shape) in enumerate(shapes.items())}
    torch.save({"epoch": 1, "state_dict": weights}, folder / "HPS_v2.1_compressed.pt")
    return folder


@pytest.fixture(scope="session")
def open_clip_shapes() -> Callable[[CLIPConfig], dict[str, tuple[int, ...]]]:
    """(configuration) -> names and shapes of open_clip's model of that size."""
    return open_clip


@pytest.fixture(scope="session")
def blip() -> tuple[BlipVisionModel, BlipTextModel, nn.Sequential]:
    """The parts of a tiny ImageReward, in transformers' naming."""
    config = blip_config()
    vision = BlipVisionModel(config.vision_config).eval()
    text = BlipTextModel(config.text_config, add_pooling_layer=False).eval()
    stack = linear_stack(config.text_config.hidden_size).eval()
    for part in (vision, text, stack):
        randomise(part)
    return vision, text, stack


@pytest.fixture(scope="session")
def publish_imagereward() -> Callable[..., dict[str, Tensor]]:
    """(vision, text, stack) -> the weights as ImageReward.pt names them."""
    return published_imagereward


@pytest.fixture(scope="session")
def imagereward_folder(tmp_path_factory: pytest.TempPathFactory, blip: Any) -> Path:
    """What ImageReward reads, in the naming of its checkpoint."""
    folder = tmp_path_factory.mktemp("imagereward")
    letters = [chr(code) for code in range(33, 127)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    assert len(BertTokenizer.from_pretrained(folder)) == len(words)
    blip_config().save_pretrained(folder)
    torch.save(published_imagereward(*blip), folder / "ImageReward.pt")
    return folder


@pytest.fixture(scope="session")
def tiny(clip_folder: Path, hps_folder: Path, imagereward_folder: Path) -> dict[str, Path]:
    """The folder of each reward's tiny model."""
    return {
        "aesthetic": clip_folder,
        "clipscore": clip_folder,
        "hpsv2": hps_folder,
        "imagereward": imagereward_folder,
        "pickscore": clip_folder,
    }


@pytest.fixture(scope="session")
def catalog() -> RewardCatalog:
    return discover()


Build = Callable[..., Any]
Score = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def build(catalog: RewardCatalog, tiny: dict[str, Path]) -> Build:
    """(reward, options) -> its scorer on the tiny model, loaded as a run loads it."""

    def scorer(name: str, **options: str) -> Any:
        return catalog.build(name, {"model": str(tiny[name]), **options}, "cpu")

    return scorer


@pytest.fixture(scope="session")
def score(catalog: RewardCatalog) -> Score:
    """(reward, scorer, images, prompts) -> [B], the images in the layout that it declares."""

    def values(name: str, scorer: Any, images: Tensor, prompts: list[str]) -> np.ndarray:
        pixels: Any = images
        if catalog.get(name).spec.images == "pil":
            array = images.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            pixels = [Image.fromarray(image) for image in array]
        return np.asarray(scorer(RewardBatch(pixels, prompts, [{}] * len(prompts))))

    return values


@pytest.fixture
def broken(tiny: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A reward's folder, copied to be damaged."""
    return lambda name: Path(shutil.copytree(tiny[name], tmp_path / name))


@pytest.fixture(scope="session")
def images() -> Tensor:
    """Six images of 48 x 64 pixels, none like another."""
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 6, 8, generator=g)
    return nn.functional.interpolate(coarse, (48, 64), mode="bilinear").clamp(0, 1)


@pytest.fixture(scope="session")
def prompts() -> list[str]:
    """Six prompts, two of them the same."""
    return ["a red cat", "two dogs", "a red cat", 'the text "HI"', "caf\u00e9 at night", "x " * 90]


def clip_tokenizer() -> CLIPTokenizer:
    """Byte-level, without merges: every text is spelled in bytes."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>"]
    tokens.append("<|endoftext|>")
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[])


def clip_config(tokenizer: CLIPTokenizer) -> CLIPConfig:
    layers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
    }
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {"image_size": SIZE, "patch_size": PATCH}
    return CLIPConfig(
        text_config=layers | text, vision_config=layers | vision, projection_dim=WIDTH
    )


def blip_config() -> BlipConfig:
    layers = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"hidden_size": 24, "vocab_size": 195, "max_position_embeddings": 40}
    vision = {"hidden_size": 32, "image_size": SIZE, "patch_size": PATCH, "layer_norm_eps": 1e-6}
    return BlipConfig(text_config=layers | text, vision_config=layers | vision)


def randomise(module: nn.Module) -> None:
    """Every weight drawn anew, wide enough for scores that differ."""
    for row, parameter in enumerate(module.parameters()):
        parameter.data = random_tensor(tuple(parameter.shape), row)


def random_tensor(shape: tuple[int, ...], seed: int) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def save_aesthetic_head(path: Path) -> None:
    """As LAION published it: the stack is called ``layers``."""
    stack = linear_stack(WIDTH)
    randomise(stack)
    torch.save({f"layers.{name}": tensor for name, tensor in stack.state_dict().items()}, path)


def open_clip(config: CLIPConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an open_clip CLIP of that size."""
    text, vision, common = config.text_config, config.vision_config, config.projection_dim
    patches = (vision.image_size // vision.patch_size) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (text.max_position_embeddings, text.hidden_size),
        "text_projection": (text.hidden_size, common),
        "logit_scale": (),
        "visual.class_embedding": (vision.hidden_size,),
        "visual.positional_embedding": (patches + 1, vision.hidden_size),
        "visual.proj": (vision.hidden_size, common),
        "visual.conv1.weight": (vision.hidden_size, 3, vision.patch_size, vision.patch_size),
        "token_embedding.weight": (text.vocab_size, text.hidden_size),
    }
    norms = {"visual.ln_pre": vision, "visual.ln_post": vision, "ln_final": text}
    for name, tower in norms.items():
        shapes |= {f"{name}.{kind}": (tower.hidden_size,) for kind in ("weight", "bias")}
    for prefix, tower in (("visual.transformer", vision), ("transformer", text)):
        for layer in range(tower.num_hidden_layers):
            stem = f"{prefix}.resblocks.{layer}."
            block = _open_clip_block(tower.hidden_size, tower.intermediate_size)
            shapes |= {stem + name: shape for name, shape in block.items()}
    return shapes


def _open_clip_block(width: int, inner: int) -> dict[str, tuple[int, ...]]:
    matrices = {
        "attn.in_proj_": (3 * width, width),
        "attn.out_proj.": (width, width),
        "mlp.c_fc.": (inner, width),
        "mlp.c_proj.": (width, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (rows, columns) in matrices.items():
        shapes |= {f"{name}weight": (rows, columns), f"{name}bias": (rows,)}
    for name in ("ln_1", "ln_2"):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


def published_imagereward(
    vision: BlipVisionModel, text: BlipTextModel, stack: nn.Sequential
) -> dict[str, Tensor]:
    """The weights as ImageReward.pt names them, with what it has besides."""
    weights = {
        f"blip.visual_encoder.{published_vision_name(name)}": tensor
        for name, tensor in vision.state_dict().items()
    }
    weights |= {f"blip.text_encoder.{name}": w for name, w in text.state_dict().items()}
    weights["blip.text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    weights["blip.vision_proj.weight"] = torch.zeros(8, 32)
    weights["blip.text_proj.weight"] = torch.zeros(8, 24)
    return weights | {f"mlp.layers.{name}": w for name, w in stack.state_dict().items()}


def published_vision_name(name: str) -> str:
    """The name of BLIP's vision transformer, which is timm's."""
    for ours, theirs in (
        ("embeddings.class_embedding", "cls_token"),
        ("embeddings.position_embedding", "pos_embed"),
        ("embeddings.patch_embedding", "patch_embed.proj"),
        ("post_layernorm", "norm"),
        ("encoder.layers", "blocks"),
        ("layer_norm", "norm"),
        ("self_attn.projection", "attn.proj"),
        ("self_attn", "attn"),
    ):
        name = name.replace(ours, theirs)
    return name
