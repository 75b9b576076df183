"""Loading a Stable Diffusion 3: its weights from files, or drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from diffusers import StableDiffusion3Pipeline

from marblecli.errors import BadInputError, MarbleError
from marblecli.models.configurations import Architecture
from marblecli.models.dtypes import DTYPES
from marblecli.models.family import LoadedParts, LoadRequest
from marblecli.models.hashed_words import HashedWords
from marblecli.models.sd3.frozen import SD3Frozen
from marblecli.models.sd3.options import SD3Options, sd3_options
from marblecli.models.sd3.random_parts import random_pipeline
from marblecli.settings import ModelSettings


def load_parts(request: LoadRequest) -> LoadedParts:
    """What :meth:`marblecli.models.family.Family.load` promises."""
    pipeline = load_pipeline(request)
    return LoadedParts(pipeline.transformer, SD3Frozen(pipeline, request.model))


def load_pipeline(request: LoadRequest) -> StableDiffusion3Pipeline:
    """Load every part in the recipe's dtype.

    Raises:
        BadInputError: ``model.t5 = "8bit"`` without torchao.
        MarbleError: the model's files can't be read or fetched.

    """
    model, architecture = request.model, request.architecture
    options, dtype = sd3_options(model), DTYPES[request.model.dtype]
    wanted = options.t5 == "8bit" and request.encoders and not request.empty
    quantize = _quantize() if wanted else None
    absent = _absent(options, encoders=request.encoders)
    if (model.random_weights or request.empty) and isinstance(architecture, Architecture):
        seed = None if request.empty else request.seed
        pipeline = random_pipeline(architecture, dtype, seed, absent)
    else:
        pipeline = _pretrained(model, dtype, absent)
    if quantize is not None and pipeline.text_encoder_3 is not None:
        quantize(pipeline.text_encoder_3)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_whole_pipeline(request: LoadRequest) -> StableDiffusion3Pipeline:
    """Every part that the model has, also those that the recipe's run leaves out or quantizes.

    Raises BadInputError if its weights were drawn without the tokenizers' files: there is nothing
    that could be saved in their place.
    """
    model = request.model.with_options(t5="full")
    pipeline = load_pipeline(replace(request, model=model, encoders=True))
    if any(isinstance(part, HashedWords) for part in pipeline.components.values()):
        raise BadInputError(
            f"{model.pretrained} has random weights and no tokenizers, so it can't be saved whole"
        )
    return pipeline


def _absent(options: SD3Options, *, encoders: bool) -> set[str]:
    """Parts that aren't loaded."""
    endings = ("", "_2", "_3") if not encoders else ("_3",) if options.t5 == "none" else ()
    return {f"{part}{ending}" for ending in endings for part in ("text_encoder", "tokenizer")}


def _quantize() -> Callable[[torch.nn.Module], None]:
    """A function that puts linear layers' weights into 8 bits; they compute in their old dtype."""
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise BadInputError('model.t5 = "8bit" needs torchao: pip install torchao') from error
    return lambda encoder: quantize_(encoder, Int8WeightOnlyConfig())


def _pretrained(
    model: ModelSettings, dtype: torch.dtype, absent: Collection[str]
) -> StableDiffusion3Pipeline:
    left_out = dict.fromkeys(absent)
    try:
        return StableDiffusion3Pipeline.from_pretrained(
            model.pretrained, revision=model.revision, dtype=dtype, **left_out
        )
    except OSError as error:
        reason = " ".join(str(error).split())
        raise MarbleError(f"can't load the model {model.pretrained}: {reason}") from error
