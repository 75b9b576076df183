"""From the recipe's ``[model]`` to a model with its prompts embedded, ready for the policies."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from marblecli.errors import BadInputError
from marblecli.models.architectures import Architecture
from marblecli.models.backbone import Backbone
from marblecli.models.embedding_identity import embedding_identity
from marblecli.models.family import Family, LoadRequest
from marblecli.models.supported import Examined, examine_model
from marblecli.settings import ModelSettings
from marblecli.types import EmbeddingStore

OpenStore = Callable[[Path, str], EmbeddingStore]
"""(folder, identity of the model) -> the embeddings kept there."""


@dataclass(frozen=True)
class Model:
    """A loaded model."""

    family: Family
    network: nn.Module
    """The network that trains, still on the CPU; :func:`make_policies` takes it over."""
    backbone: Backbone
    """On the device but for the text encoders, with the prompts embedded."""


def load_model(
    settings: ModelSettings,
    seed: int,
    device: torch.device,
    texts: Collection[str],
    open_store: OpenStore | None = None,
) -> Model:
    """Load the model and embed ``texts``; the text encoders are on the device only for that.

    ``seed`` is that of random weights. ``open_store`` opens the recipe's ``model.embedding_cache``,
    and without it that is left alone. No text encoder is loaded if the cache has all texts.

    Raises:
        BadInputError: the model is known not to be trainable, has no configurations, or lacks a
            text encoder that the texts need.
        MarbleError: its files can't be read or fetched.

    """
    examined = examine_model(settings)
    store, folder = None, settings.embedding_cache
    if open_store is not None and folder is not None:
        store = open_store(folder, embedding_identity(settings, seed))
    known = store.read(texts) if store else {}
    encoders = bool(set(texts) - known.keys())
    if encoders:
        _check_encoders(examined)
    request = LoadRequest(settings, examined.architecture, seed, encoders)
    loaded = examined.family.load(request)
    loaded.frozen.to(device)
    backbone = Backbone(loaded.frozen, store)
    backbone.remember(known)
    backbone.embed(texts)
    return Model(examined.family, loaded.network, backbone)


def _check_encoders(examined: Examined) -> None:
    spec, architecture = examined.family.spec, examined.architecture
    if not isinstance(architecture, Architecture):
        return
    missing = [part for part in spec.encoders if part not in architecture.parts]
    if needed := [part for part in missing if part not in spec.may_lack]:
        raise BadInputError(
            f"{architecture.name} has no {' and no '.join(needed)}, which its prompts need"
        )
