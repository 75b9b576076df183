"""Fetch a base model's files into the hub's cache, ahead of a run."""

from __future__ import annotations

from pathlib import Path

from diffusers import DiffusionPipeline
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from marblecli.errors import MarbleError
from marblecli.models.architectures import Architecture, is_folder
from marblecli.models.supported import examine_model
from marblecli.settings import ModelSettings


def fetch_model(model: ModelSettings) -> Path | None:
    """The model's folder in the hub's cache, with everything that a run reads of it.

    diffusers decides which files a pipeline needs; text encoders that the recipe leaves out aren't
    among them. None if nothing has to be fetched: for a folder, and for random weights.

    Raises:
        BadInputError: the model is known not to be trainable.
        MarbleError: it can't be fetched.

    """
    if is_folder(model) or model.random_weights:
        return None
    examined = examine_model(model)
    absent: set[str] = set()
    if isinstance(examined.architecture, Architecture):
        used = examined.family.encoders(examined.architecture, model)
        absent = set(examined.family.spec.encoders) - set(used)
    try:
        return Path(
            DiffusionPipeline.download(
                model.pretrained, revision=model.revision, **dict.fromkeys(absent)
            )
        )
    except GatedRepoError as error:
        raise MarbleError(
            f"{model.pretrained} needs its licence to be accepted: open "
            f"https://huggingface.co/{model.pretrained}, accept it, then run `hf auth login`"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise MarbleError(f"can't fetch the model {model.pretrained}: {reason}") from error
