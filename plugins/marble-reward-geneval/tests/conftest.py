"""Tiny models of the real classes with random weights, saved as the published ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SwinConfig,
)

from marble_reward_geneval.vocabulary import CLASSES, COCO_NAMES

SIDE = 32
"""Of the tiny CLIP's images."""


@pytest.fixture(scope="session")
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Mask2Former, its weights in safetensors."""
    folder = tmp_path_factory.mktemp("detector")
    tiny_detector().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with its tokenizer and image processor."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = CLIPConfig(
        text_config={
            **sizes,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 77,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**sizes, "image_size": SIDE, "patch_size": 8},
        projection_dim=16,
    )
    model = CLIPModel(config)
    randomise(model, 1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def images() -> np.ndarray:
    """uint8 [4, 48, 64, 3]"""
    return np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)


def tiny_detector(labels: tuple[str, ...] | None = None) -> Mask2FormerForUniversalSegmentation:
    names = labels or tuple(COCO_NAMES.get(name, name) for name in CLASSES)
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=16,
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 2, 4],
            window_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=64,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=4,
        num_queries=12,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    torch.manual_seed(0)
    model = Mask2FormerForUniversalSegmentation(config)
    # Untrained heads say "nothing" of every query, all alike.
    generator = torch.Generator().manual_seed(0)
    predictor = model.class_predictor
    predictor.weight.data = 0.6 * torch.randn(predictor.weight.shape, generator=generator)
    predictor.bias.data.zero_()
    return model.eval()


def byte_tokenizer() -> CLIPTokenizer:
    """One token a byte, alone or at the end of a word."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: row for row, token in enumerate(tokens)}, merges=[])


def randomise(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
