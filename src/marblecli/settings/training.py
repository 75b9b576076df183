"""``[sampling]`` and ``[training]``: the rollouts, the loss and the optimizer of a step."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from marblecli.settings.table import Share, Table


class SamplingSettings(Table):
    """``[sampling]``: how the old policy samples the images of a training step."""

    resolution: Annotated[int, Field(ge=16, multiple_of=8)] = 512
    """Height and width of an image in pixels."""
    steps: Annotated[int, Field(ge=2)] = 25
    """Evaluations of the network by the second-order ODE solver for each image."""
    group_size: Annotated[int, Field(ge=2)] = 12
    """Images of one prompt. Their advantages are relative to their mean score."""
    prompts_per_step: PositiveInt = 8
    """Prompts of one optimizer step, over all processes. A recipe that doesn't set it draws at most
    as many as it has training prompts."""
    batch_size: PositiveInt = 12
    """Images sampled and decoded at a time."""


class LevelSettings(Table):
    """``[training.levels]``: the noise levels that images are trained at.

    A level is the share of noise, from 0 for a clean image to 1 for noise alone. The sampler's own
    steps are set apart from these, by ``sampling.steps``.
    """

    draw: Literal["sampler", "uniform", "logit-normal", "signal"] = "sampler"
    """``sampler`` draws from the levels that the sampler steps through, and each of an image's
    levels only once while there are others. ``uniform`` and ``logit-normal`` draw from all levels,
    and spread those of one image evenly over the distribution. ``signal`` draws a level more often
    where its rows have larger gradients, as measured every ``measure.slices_every`` steps, and
    weights the rows so that the loss has the expectation that it has at uniform levels."""
    low: Share = 0.0
    """No level below this is drawn."""
    high: Share = 1.0
    """No level above this is drawn."""
    mean: float = 0.0
    """``logit-normal``: the mean of the level's logit; above 0 for more noise."""
    std: PositiveFloat = 1.0
    """``logit-normal``: the standard deviation of the level's logit."""
    weighted: bool = False
    """``logit-normal``: weight each row so that the loss has the expectation that it has at levels
    drawn uniformly. The levels then say where rows are spent, and not what is learnt. Set ``low``
    and ``high``: the weights grow without bound near 0 and 1."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        fields = type(self).model_fields
        changed = [
            name
            for name in ("mean", "std", "weighted")
            if getattr(self, name) != fields[name].default
        ]
        if changed and self.draw != "logit-normal":
            raise ValueError(f'{" and ".join(changed)} needs draw = "logit-normal"')
        return self


class RowSettings(Table):
    """``[training.rows]``: which of the rows are trained. A row is an image at one noise level.

    Advantages are always those of all images. What isn't trained counts as if it carried no reward;
    its pull and regulariser are estimated by those of the rest.
    """

    skip_constant_groups: bool = True
    """Leave out the images of a prompt on which no reward varies: all their advantages are 0. If
    that is so for all prompts of a step, none is left out."""
    extremes: Annotated[int, Field(ge=0, multiple_of=2)] = 0
    """Train only this many of each prompt's images; 0 for all. Rewards take turns in choosing the
    best and the worst by their own scores. The gradients are biased: what is between isn't
    learnt."""
    draw: Literal["all", "by-size"] = "all"
    """``by-size`` trains a ``share`` of the rows, drawn by the size of what the rewards send into
    the network, and divides each by its probability. The gradients' expectation doesn't change."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """``by-size``: the share of the rows that is trained."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.draw != "by-size" and self.share != type(self).model_fields["share"].default:
            raise ValueError('share needs draw = "by-size"')
        return self


class OldPolicySettings(Table):
    """``[training.old_policy]``: how the policy that samples follows the trained one.

    After every step its weights become ``decay * old + (1 - decay) * trained``, with
    ``decay = min(slope * (step - wait), cap)`` after ``wait`` steps and 0 before.
    """

    slope: NonNegativeFloat = 0.001
    """What the decay grows by in one step."""
    cap: Share = 0.95
    """The largest decay."""
    wait: NonNegativeInt = 0
    """Steps before the decay starts to grow."""


class TrainingSettings(Table):
    """``[training]``: the loss, the optimizer, and how a step is split into micro-batches."""

    steps: PositiveInt
    """Optimizer steps of the run."""
    learning_rate: PositiveFloat = 3e-4
    """AdamW's learning rate; the highest one, if it changes."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate changes over the run: ``linear`` and ``cosine`` lower it to 0 at the
    end, which lets the noise of the last steps die away. These are transformers' schedules."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the learning rate grows from 0 at the first step."""
    weight_decay: NonNegativeFloat = 1e-4
    """AdamW's weight decay."""
    max_grad_norm: PositiveFloat = 1.0
    """A combined gradient with a larger norm is scaled down to this norm."""
    fixed_grad_norm: bool = False
    """Scale every combined gradient to ``max_grad_norm``, up as well as down, so that methods whose
    gradients differ in length can be compared at equal length."""
    adam_epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon. One far above the gradient's elements makes the step follow the gradient's
    direction rather than the signs of its elements."""
    micro_batch_size: PositiveInt | Literal["auto"] = 8
    """Images that go through the trained network at a time, halved when memory runs out; ``auto``
    starts with all. The result depends on it only where ``pull_share`` is below 1."""
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    """``adamw-8bit`` is bitsandbytes' AdamW, which keeps its two averages in 8 bits."""
    noise_levels: PositiveInt = 4
    """Noise levels that each image is trained at."""
    levels: LevelSettings = LevelSettings()
    rows: RowSettings = RowSettings()
    gradients: Literal["contracted", "backward"] = "contracted"
    """``contracted`` finds all rewards' gradients by two backward passes, ``backward`` by K + 1."""
    pull_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Compute the pull towards the old policy and the regulariser on this share of micro-batches,
    drawn at random, and multiply them by its inverse."""
    mix: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """DiffusionNFT's beta: how far its two implicit policies are from the old one."""
    kl_weight: NonNegativeFloat = 1e-4
    """The weight of the regulariser, which keeps the policy near the base model; 0 for none."""
    advantage_clip: PositiveFloat = 5.0
    """Advantages are clipped to this many standard deviations."""
    advantage_scale: Literal["batch", "group"] = "batch"
    """Take a reward's standard deviation over the whole batch or over each prompt's images."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """The decay of the trained weights' moving average, which is what is evaluated."""
    ema_on_cpu: bool = False
    """Keep the moving average in the CPU's memory. Trained weights are sent there every step."""
    old_policy: OldPolicySettings = OldPolicySettings()
    max_faults: NonNegativeInt = 10
    """The run stops when rewards or their gradients have failed more often than this."""

    @field_validator("micro_batch_size", mode="before")
    @classmethod
    def _size_or_auto(cls, size: Any) -> Any:
        whole = isinstance(size, int) and not isinstance(size, bool)
        if size != "auto" and not (whole and size > 0):
            raise ValueError(f"must be a whole number above 0 or 'auto', got {size!r}")
        return size
