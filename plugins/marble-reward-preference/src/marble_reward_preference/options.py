"""The options of the rewards, and the folders that they name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from marble_reward_preference.published import (
    AESTHETIC_HEAD,
    BERT_TOKENIZER,
    CLIP_H_PROCESSOR,
    CLIP_L,
    HPS,
    IMAGEREWARD,
    PICKSCORE,
)
from marblecli.rewards import HubFiles, NoOptions, fetch

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


class ModelOptions(NoOptions):
    """The model of a reward: a repository of the hub, or a folder that holds all its files."""

    published: ClassVar[tuple[HubFiles, ...]]
    """What the published reward is made of, the model first."""

    model: str
    """A hub id, or a local folder with all files of the published reward."""
    revision: str
    """The commit of ``model``; it isn't used for a folder."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the weights. Published scores are float32; similarities always are."""

    @field_validator("model")
    @classmethod
    def _exists(cls, model: str) -> str:
        if not Path(model).is_dir() and not _HUB_ID.fullmatch(model):
            raise ValueError(f"{model!r} is neither a folder nor a hub id like {cls._hub().repo}")
        return model

    @field_validator("revision")
    @classmethod
    def _is_of_the_model(cls, revision: str, info: ValidationInfo) -> str:
        # The model is missing here if it was wrong itself.
        model, hub = info.data.get("model", cls._hub().repo), cls._hub()
        if model != hub.repo and revision == hub.revision and not Path(model).is_dir():
            raise ValueError(
                f"{model!r} is no folder here; to take it from the hub, name one of its commits, "
                f"not that of {hub.repo}"
            )
        return revision

    @classmethod
    def _hub(cls) -> HubFiles:
        return cls.published[0]


def files(options: ModelOptions) -> tuple[HubFiles, ...]:
    """What must be fetched from the hub: nothing, if the model is a folder."""
    if Path(options.model).is_dir():
        return ()
    model, *others = options.published
    return (replace(model, repo=options.model, revision=options.revision), *others)


def folders(options: ModelOptions) -> tuple[Path, ...]:
    """Where each part of ``published`` lies, fetched if need be; a folder stands for them all.

    Raises MarbleError if the hub can't give what is missing.
    """
    if Path(options.model).is_dir():
        return (Path(options.model),) * len(options.published)
    return tuple(fetch(part) for part in files(options))


class PickScoreOptions(ModelOptions):
    """PickScore, and the processor that it is published with."""

    published = (PICKSCORE, CLIP_H_PROCESSOR)
    model: str = PICKSCORE.repo
    revision: str = Field(PICKSCORE.revision, validate_default=True)


class HpsOptions(ModelOptions):
    """HPSv2.1, and the tokenizer of the CLIP that it was tuned from."""

    published = (HPS, CLIP_H_PROCESSOR)
    model: str = HPS.repo
    revision: str = Field(HPS.revision, validate_default=True)


class ClipScoreOptions(ModelOptions):
    """CLIP ViT-L/14."""

    published = (CLIP_L,)
    model: str = CLIP_L.repo
    revision: str = Field(CLIP_L.revision, validate_default=True)


class AestheticOptions(ModelOptions):
    """CLIP ViT-L/14, and the predictor on top of it."""

    published = (CLIP_L, AESTHETIC_HEAD)
    model: str = CLIP_L.repo
    revision: str = Field(CLIP_L.revision, validate_default=True)


class ImageRewardOptions(ModelOptions):
    """ImageReward, and the tokenizer of BERT."""

    published = (IMAGEREWARD, BERT_TOKENIZER)
    model: str = IMAGEREWARD.repo
    revision: str = Field(IMAGEREWARD.revision, validate_default=True)
