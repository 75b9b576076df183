"""The passes of a run, made once on fake tensors and remembered.

A plan, and the many variants that the advice looks at, are composed of what is measured here: the
encoding of prompts, a pass of the policy that samples, the decoding of images, and the gradients of
a micro-batch. Each is measured once for everything that it depends on; the number of rows isn't
among that.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from marblecli.models.at_once import EMBEDDED_PROMPTS
from marblecli.planning.fake import AlikeTensors
from marblecli.planning.fake_model import DeviceKind, FakeModel, ModelCase
from marblecli.planning.live_bytes import LiveBytes
from marblecli.planning.micro_step import (
    GradientCase,
    MicroStep,
    kept_row,
    measure_micro_step,
)
from marblecli.planning.subject import Subject
from marblecli.planning.timeline import Growth
from marblecli.planning.weights import Weights, weights_of
from marblecli.settings import ModelSettings

_OF_POLICIES = {"mode", "dtype", "lora", "shard", "offload"}
"""Keys of ``[model]`` that decide how the policies run, besides checkpointing."""


class Simulation:
    """What the passes of one model hold. ``device`` says whose rules of autocast are followed."""

    def __init__(self, subject: Subject, device: DeviceKind = "cuda") -> None:
        self.subject = subject
        self.device = device
        self._models: dict[str, FakeModel] = {}
        self._found: dict[Any, Any] = {}

    @cached_property
    def network(self) -> Weights:
        """The weights of the network that trains."""
        return weights_of(self.subject.network())

    def trained(self, case: ModelCase) -> int:
        """Parameters that are trained."""
        if case.model.mode == "full":
            return self.network.parameters
        return self._model(case).trained

    def case(self, model: ModelSettings, resolution: int, processes: int) -> ModelCase:
        """What decides how the policies run."""
        return ModelCase(self.subject, model, resolution, processes, self.device)

    def sampling(self, case: ModelCase) -> Growth:
        """A pass of the policy that samples, beside the weights."""
        key = ("sampling", _key(case))
        if key not in self._found:
            self._found[key] = self._model(case).sampling()
        growth: Growth = self._found[key]
        return growth

    def micro_step(self, case: ModelCase, passes: GradientCase) -> MicroStep:
        """The gradients of a micro-batch."""
        checkpointing = case.model.gradient_checkpointing
        key = ("micro-step", _key(case), passes, checkpointing)
        if key not in self._found:
            model = self._model(case)
            model.checkpointing = checkpointing
            self._found[key] = measure_micro_step(model, passes)
        step: MicroStep = self._found[key]
        return step

    def row(self, case: ModelCase, passes: GradientCase, *, checkpointing: bool) -> int:
        """Bytes that a row keeps for its backward passes, with checkpointing or without."""
        step = self._found.get(("micro-step", _key(case), passes, checkpointing))
        if step is not None:
            return int(step.row)
        key = ("row", _key(case), passes.kind, checkpointing)
        if key not in self._found:
            model = self._model(case)
            model.checkpointing = checkpointing
            self._found[key] = kept_row(model, passes)
        return int(self._found[key])

    def decoding(self, model: ModelSettings, resolution: int, images: int) -> int:
        """The most bytes that decoding so many images together holds, the images included."""
        key = ("decoding", model.dtype, model.vae_tiling, resolution, images)
        if key not in self._found:
            mode = FakeTensorMode()
            frozen = self.subject.frozen(mode, model, encoders=False)
            with mode, torch.no_grad():
                latents = torch.zeros(images, *self.subject.latent_shape(resolution))
                with LiveBytes() as live:
                    frozen.decode(latents)
            self._found[key] = live.peak
        return int(self._found[key])

    def encoding(self, model: ModelSettings) -> int:
        """The most bytes that a batch of prompts holds on its way through the text encoders."""
        options = json.dumps(dict(model.options), sort_keys=True, default=str)
        key = ("encoding", model.dtype, options)
        if key not in self._found:
            mode = FakeTensorMode()
            frozen = self.subject.frozen(mode, model, encoders=True)
            with mode, torch.no_grad(), AlikeTensors(), LiveBytes() as live:
                frozen.encode(["a"] * EMBEDDED_PROMPTS)
            self._found[key] = live.peak
        return int(self._found[key])

    def _model(self, case: ModelCase) -> FakeModel:
        key = _key(case)
        if key not in self._models:
            self._models[key] = FakeModel(case)
        return self._models[key]


def _key(case: ModelCase) -> str:
    shapes = case.subject.conditioning_shapes(case.model)
    own = case.model.model_dump_json(include=_OF_POLICIES)
    return f"{own} {shapes} {case.resolution} {case.processes}"
