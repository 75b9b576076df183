"""The options of the reward, and the folders of its two models."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from marblecli.rewards import HubFiles, NoOptions, fetch

DETECTOR = HubFiles(
    "facebook/mask2former-swin-small-coco-instance",
    # Before the weights were converted to safetensors; the hash of that commit isn't known to us.
    "f77f179fc62b98f6734481ebbef5bceeb1e7f10b",
    ("config.json", "model.safetensors", "pytorch_model.bin"),
)
CLIP = HubFiles(
    "openai/clip-vit-large-patch14",
    "32bd64288804d66eefd0ccbe215aa642df71cc41",
    (
        *("config.json", "model.safetensors", "preprocessor_config.json"),
        *("tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json"),
    ),
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class GenEvalOptions(NoOptions):
    """How objects are found and judged. A model is a hub id, or a local folder with its files."""

    score: Literal["official", "clipped", "strict", "benchmark"] = "official"
    """``official`` is DiffusionNFT's training score, which may be far below 0; ``clipped`` has part
    marks in [0, 1]; ``strict`` and ``benchmark`` are 0 or 1."""
    detector: str = DETECTOR.repo
    """A Mask2Former for COCO's 80 classes."""
    detector_revision: str = Field(DETECTOR.revision, validate_default=True)
    """The commit of ``detector``; it isn't used for a folder."""
    clip: str = CLIP.repo
    """The CLIP that names colours."""
    clip_revision: str = Field(CLIP.revision, validate_default=True)
    """The commit of ``clip``; it isn't used for a folder."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of both models' weights."""
    short_side: int = Field(800, ge=32, le=2048)
    """Pixels of the shorter side as the detector sees it. The longer is at most 5/3 of it."""
    threshold: float = Field(0.3, ge=0, lt=1)
    """Objects that the detector is less confident of aren't counted."""
    counting_threshold: float = Field(0.9, ge=0, lt=1)
    """The same for prompts with the tag ``counting``."""
    position_margin: float = Field(0.1, ge=0, le=1)
    """How far apart objects must be to be left of, right of, above or below one another, as a share
    of their extents."""

    @field_validator("detector", "clip")
    @classmethod
    def _exists(cls, model: str) -> str:
        if not Path(model).is_dir() and not _HUB_ID.fullmatch(model):
            raise ValueError(f"{model!r} is neither a folder nor a hub id like {DETECTOR.repo}")
        return model

    @field_validator("detector_revision", "clip_revision")
    @classmethod
    def _is_of_the_model(cls, revision: str, info: ValidationInfo) -> str:
        published = DETECTOR if info.field_name == "detector_revision" else CLIP
        # The model is missing here if it was wrong itself.
        model = info.data.get(str(info.field_name).removesuffix("_revision"), published.repo)
        if model != published.repo and revision == published.revision and not Path(model).is_dir():
            raise ValueError(f"this is the commit of {published.repo}; name one of {model}")
        return revision


def files(options: GenEvalOptions) -> tuple[HubFiles, ...]:
    """What must be fetched from the hub: nothing for a model that is a folder."""
    return tuple(part for part in _parts(options) if isinstance(part, HubFiles))


def folders(options: GenEvalOptions) -> tuple[Path, Path]:
    """The folders of detector and CLIP, fetched if need be.

    Raises MarbleError if the hub can't give what is missing.
    """
    detector, clip = (
        fetch(part) if isinstance(part, HubFiles) else part for part in _parts(options)
    )
    return detector, clip


def _parts(options: GenEvalOptions) -> tuple[HubFiles | Path, HubFiles | Path]:
    return (
        _part(DETECTOR, options.detector, options.detector_revision),
        _part(CLIP, options.clip, options.clip_revision),
    )


def _part(published: HubFiles, model: str, revision: str) -> HubFiles | Path:
    if Path(model).is_dir():
        return Path(model)
    return replace(published, repo=model, revision=revision)
