"""What crosses rooms: frozen dataclasses, every array with its shape and meaning.

Letters in shapes: N images of one optimizer batch, K rewards, B images of one batch,
H and W pixels, C, h, w latent channels and sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

Json = Any
"""What json.dumps takes: dict, list, str, int, float, bool, None."""


@dataclass(frozen=True)
class Prompt:
    """One line of a prompt source."""

    text: str
    source: str
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Rollout:
    """Images sampled by the old policy, in order: all images of a prompt stand together."""

    prompts: tuple[Prompt, ...]
    """The prompt of each image, N."""
    groups: IntArray
    """[N], the index of the group (images of one prompt) each image belongs to."""
    latents: Tensor
    """[N, C, h, w], the clean latents x0, scaled as the transformer sees them."""
    images: Tensor
    """float32 [N, 3, H, W] in [0, 1]."""


@dataclass(frozen=True)
class RewardFault:
    """A reward that failed where it applies: an exception, or values that aren't finite."""

    reward: str
    message: str
    images: int
    """How many images were masked because of it."""


@dataclass(frozen=True)
class RewardTable:
    """Raw rewards; what doesn't apply is masked, never zero."""

    names: tuple[str, ...]
    values: FloatArray
    """[N, K], R_ik; zero where ``valid`` is false, never to be read there."""
    valid: BoolArray
    """[N, K], m_ik: the reward applies to the image's prompt and gave a finite value."""
    faults: tuple[RewardFault, ...] = ()


@dataclass(frozen=True)
class GradientStats:
    """Inner products of the K reward gradients of one batch, float64."""

    names: tuple[str, ...]
    gram: FloatArray
    """[K, K], <g_k, g_l> of the raw gradients; rows of unusable rewards are zero."""
    usable: BoolArray
    """[K], false where the gradient is zero, not finite, or the reward had no valid image."""

    @property
    def norms(self) -> FloatArray:
        """[K], the gradients' norms."""
        return np.sqrt(np.diag(self.gram))


@dataclass(frozen=True)
class PartGrams:
    """Inner products between parts of the K gradients, float64 [K, K]; unusable rewards' are zero.

    g_k = a_k + b_k + p_k: the signal of each half of the batch (the part that carries the rewards)
    and the pull towards the old policy.
    """

    first: FloatArray
    """<a_k, a_l>."""
    second: FloatArray
    """<b_k, b_l>."""
    cross: FloatArray
    """<a_k, b_l>: two independent samples, so noise doesn't bias it."""
    pull: FloatArray
    """<p_k, p_l>."""
    signal_pull: FloatArray
    """<a_k + b_k, p_l>."""

    @property
    def signal(self) -> FloatArray:
        """<a_k + b_k, a_l + b_l>."""
        return self.first + self.second + self.cross + self.cross.T


@dataclass(frozen=True)
class Balance:
    """How the K gradients are combined: d = sum_k coefficients_k g_k."""

    simplex_weights: FloatArray
    """[K], the weights of the unit gradients, on the simplex (a few of TorchJD's may be negative);
    zero for unusable rewards."""
    coefficients: FloatArray
    """[K], what multiplies the raw losses: s * simplex_weights / norms."""
    kkt_residual: float
    """How far the simplex weights are from optimal, where the method solves a problem; else 0."""


Matrix = tuple[tuple[float, ...], ...]
Cosines = Mapping[str, tuple[float | None, ...]]
"""By direction (``applied``, ``update``, ``weighted-sum``): K cosines; None where there is none."""


@dataclass(frozen=True)
class SliceRecord:
    """The signal of some of a batch's rows: one prompt source, or a range of noise levels."""

    norms: tuple[float, ...]
    products: Matrix
    """K x K, <signal of reward k in the slice, g_l of the whole batch>."""


@dataclass(frozen=True)
class FreshRecord:
    """The gradients f of new images of the same policy, which no balance has seen."""

    norms: tuple[float, ...]
    products: Matrix
    """K x K, <f_k, g_l>, g of the batch that was stepped."""
    signal_norms: tuple[float, ...]
    signal_products: Matrix
    """K x K, <signal part of f_k, g_l>."""
    cross: Matrix
    """K x K, between the signals of the fresh batch's halves."""
    cosines: Cosines
    signal_cosines: Cosines


@dataclass(frozen=True)
class ConflictRecord:
    """One measured batch: everything needed to judge any balancer on it afterwards."""

    step: int
    rewards: tuple[str, ...]
    valid: tuple[int, ...]
    """K, how many images each reward applied to."""
    norms: tuple[float, ...]
    gram: Matrix
    """K x K, of the raw gradients."""
    simplex_weights: tuple[float, ...]
    coefficients: tuple[float, ...]
    cosines: Cosines
    """With the reward gradients."""
    signal_cosines: Cosines = field(default_factory=dict)
    """With their signal parts."""
    parts: Mapping[str, Matrix] = field(default_factory=dict)
    """K x K each, by field of :class:`PartGrams`; empty where parts weren't measured."""
    slices: Mapping[str, SliceRecord] = field(default_factory=dict)
    """By name, ``source SOURCE`` or ``noise LOW-HIGH``."""
    fresh: FreshRecord | None = None


@dataclass(frozen=True)
class RewardChange:
    """What one reward did between two evaluations on the same prompts and noise."""

    reward: str
    start: float
    end: float
    low: float
    high: float
    """Bounds of the 95 % bootstrap interval of end - start, paired image by image."""
    end_low: float
    end_high: float
    """Bounds of the interval of end itself."""
    images: int
    failure: str = ""
    """Why the reward has no value on any image though it applies to some; the numbers are NaN
    then."""


@dataclass(frozen=True)
class ScoredImage:
    """One image of an evaluation, and what every reward says of it."""

    prompt: str
    source: str
    place: int
    """The prompt's place in its split, from 0."""
    number: int
    """Which of its prompt's images it is, from 0. The run's seed, the split, the place and this
    number fix the initial noise, so images of two evaluations that share them are a pair."""
    scores: Mapping[str, float | None]
    """By reward; None where the reward doesn't apply to the prompt, or failed."""


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation, image by image."""

    step: int
    subject: Literal["base", "trained"]
    """The reference policy, or the average of the trained weights."""
    images: Mapping[str, tuple[ScoredImage, ...]]
    """By split."""
    faults: Mapping[str, tuple[RewardFault, ...]] = field(default_factory=dict)
    """By split; what failed where it should have scored."""


@dataclass(frozen=True)
class Snapshot:
    """A whole training state: tensors by file, and what JSON can hold."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    """File stem (``trained``, ``old``, ``ema``, ``optimizer``) -> tensor name -> tensor."""
    state: Mapping[str, Json]


class EmbeddingStore(Protocol):
    """Embeddings that outlive a run; implemented by a folder of files."""

    def read(self, texts: Iterable[str]) -> Mapping[str, Mapping[str, Tensor]]:
        """The tensors, by name, of those texts that are there."""

    def write(self, text: str, embedding: Mapping[str, Tensor]) -> None:
        """Keep one."""


class Recorder(Protocol):
    """What the training loop tells of itself; implemented by the run directory."""

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Append one optimizer step to ``metrics.jsonl``."""

    def conflict(self, record: ConflictRecord) -> None:
        """Append one measured batch to ``conflicts.jsonl``."""

    def evaluation(self, record: EvaluationRecord) -> None:
        """Append one evaluation to ``evaluations.jsonl``."""

    def samples(self, step: int, split: str, prompts: Sequence[Prompt], images: Tensor) -> None:
        """Write a grid of images, float32 [B, 3, H, W] in [0, 1], to ``samples/``."""

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Save the snapshot so that it is complete or absent."""
