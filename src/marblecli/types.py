"""The data that rooms exchange: frozen dataclasses, with the shape and meaning of every array.

The letters in shapes are: N images of one optimizer batch, K rewards, B images of one batch, H and
W pixels of an image's sides, and C, h, w for the channels and sides of a latent.
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

Halves = Literal["prompts", "levels"]
"""What differs between the two halves of a batch: their prompts, or the noise levels at which all
images of the batch are seen."""
Json = Any
"""What json.dumps can write: dict, list, str, int, float, bool, None."""


@dataclass(frozen=True)
class Prompt:
    """One line of a prompt source."""

    text: str
    source: str
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Rollout:
    """Images sampled by a policy; all images of a prompt are consecutive."""

    prompts: tuple[Prompt, ...]
    """The prompt of each of the N images."""
    groups: IntArray
    """[N], the number of each image's group: the images of one prompt are a group."""
    latents: Tensor
    """[N, C, h, w], the clean latents x0, scaled as the network needs them."""
    images: Tensor
    """Float32 [N, 3, H, W] in [0, 1]."""


@dataclass(frozen=True)
class RewardFault:
    """A reward that failed on images it applies to: it raised, or its values aren't finite."""

    reward: str
    message: str
    images: int
    """How many images were masked because of it."""


@dataclass(frozen=True)
class RewardTable:
    """Raw rewards. Where a reward doesn't apply or failed, it is masked."""

    names: tuple[str, ...]
    values: FloatArray
    """[N, K], R_ik. Don't use them where ``valid`` is false; they are 0 there."""
    valid: BoolArray
    """[N, K], m_ik: whether the reward applies to the image's prompt, and gave a finite value."""
    faults: tuple[RewardFault, ...] = ()


@dataclass(frozen=True)
class GradientStats:
    """Inner products of the K reward gradients of one batch, in float64."""

    names: tuple[str, ...]
    gram: FloatArray
    """[K, K], <g_k, g_l> of the raw gradients; rows of unusable rewards are zero."""
    usable: BoolArray
    """[K], false where the gradient is zero or not finite, or the reward is valid on no image."""

    @property
    def norms(self) -> FloatArray:
        """[K], the gradients' norms."""
        return np.sqrt(np.diag(self.gram))


@dataclass(frozen=True)
class PartGrams:
    """Inner products between parts of the K gradients, float64 [K, K]; 0 for unusable rewards.

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
class SignalEstimate:
    """The signals that the batches so far share, by :mod:`marblecli.maths.remembered_signal`."""

    gram: FloatArray
    """[K, K], an unbiased estimate of the signals' inner products, not scaled; rows of unusable
    rewards are zero. It isn't a Gram matrix exactly: squares may be negative."""
    norms: FloatArray
    """[K], the mean length of the whole gradients over the same batches; 0 where unusable."""


@dataclass(frozen=True)
class ScoreStats:
    """What the scores of one batch of N images say of K rewards, beside their gradients; float64.

    m_ik is 1 where reward k applies to image i, else 0; A_ik is 0 where it doesn't apply.
    """

    coverage: FloatArray
    """[K], the share of the N images that each reward applies to."""
    rewards: FloatArray
    """[K, K], the covariances over the N images of m_ik R_ik, the raw rewards."""
    advantages: FloatArray
    """[K, K], the covariances over the N images of the advantages A_ik."""
    scales: FloatArray | None
    """[K], what centred rewards were divided by to give advantages; None where that differs between
    groups."""


@dataclass(frozen=True)
class Balance:
    """How the K gradients are combined: d = sum_k coefficients_k g_k."""

    simplex_weights: FloatArray
    """[K], the weights of the unit gradients; 0 for unusable rewards. They are on the simplex, but
    a few methods of TorchJD may give negative ones."""
    coefficients: FloatArray
    """[K], the factors of the raw losses: s * simplex_weights / norms."""
    kkt_residual: float
    """How far the simplex weights are from optimal; 0 if the method solves no problem."""


@dataclass(frozen=True)
class RewardChange:
    """The change of one reward between two evaluations on the same prompts and noise."""

    reward: str
    start: float
    end: float
    low: float
    high: float
    """The bounds of the 95 % bootstrap interval of ``end - start``, paired image by image; NaN
    where there is no basis for one."""
    end_low: float
    end_high: float
    """The bounds of the interval of ``end`` itself."""
    images: int
    failure: str = ""
    """Why the reward has no value on any image, though it applies to some. All numbers are NaN
    then; empty otherwise."""
    win_rate: float = float("nan")
    """The share of images that score higher at the end than at the start; ties count half."""
    no_interval: str = ""
    """Why ``low`` and ``high`` are NaN, in a few words; empty if they aren't."""
    no_end_interval: str = ""
    """The same for ``end_low`` and ``end_high``."""


@dataclass(frozen=True)
class ScoredImage:
    """One image of an evaluation, and its scores."""

    prompt: str
    source: str
    place: int
    """The prompt's place in its split, from 0."""
    number: int
    """The image's number among those of its prompt, from 0. The initial noise depends on the run's
    seed, the split, the place and this number, so images of two evaluations with the same ones are
    a pair."""
    scores: Mapping[str, float | None]
    """By reward; None if the reward doesn't apply to the prompt, or failed."""


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation, image by image."""

    step: int
    subject: Literal["base", "trained"]
    """``base`` is the reference policy, ``trained`` the average of the trained weights."""
    images: Mapping[str, tuple[ScoredImage, ...]]
    """By split."""
    faults: Mapping[str, tuple[RewardFault, ...]] = field(default_factory=dict)
    """By split, the rewards that failed."""
    seed: int | None = None
    """The run's seed; None if the record doesn't have it."""
    seconds: float | None = None
    """How long it took; None if the record doesn't have it."""
    distances: Mapping[str, float] = field(default_factory=dict)
    """By split, the mean squared velocity difference of the trained policy and the base model on
    the trained policy's images; see :mod:`marblecli.train.distance`. Empty where it isn't known."""
    known_means: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The means by split and reward of an evaluation whose images weren't kept."""

    @property
    def means(self) -> Mapping[str, Mapping[str, float]]:
        """By split and reward, over the images that have a score; a reward with none is absent."""
        if not self.images:
            return self.known_means
        return {split: _mean_scores(images) for split, images in self.images.items()}


def _mean_scores(images: Sequence[ScoredImage]) -> dict[str, float]:
    names = dict.fromkeys(name for image in images for name in image.scores)
    scores = {name: [image.scores.get(name) for image in images] for name in names}
    known = {name: [v for v in values if v is not None] for name, values in scores.items()}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


@dataclass(frozen=True)
class Snapshot:
    """A whole training state: tensors by file, and the rest as JSON."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    """File stem (``trained``, ``old``, ``ema``, ``optimizer``) -> tensor name -> tensor."""
    state: Mapping[str, Json]


class EmbeddingStore(Protocol):
    """Embeddings that are kept beyond a run. A folder of files implements this."""

    def read(self, texts: Iterable[str]) -> Mapping[str, Mapping[str, Tensor]]:
        """By text, the tensors by name of those of the ``texts`` that are in the store."""

    def write(self, text: str, embedding: Mapping[str, Tensor]) -> None:
        """Keep the embedding of ``text``, as tensors by name."""


@dataclass(frozen=True)
class AdapterFile:
    """An adapter as a file holds it, whoever wrote it."""

    place: str
    """The file or folder, for messages."""
    tensors: Mapping[str, Tensor]
    """By the file's own keys, on the CPU."""
    settings: Mapping[str, Json] = field(default_factory=dict)
    """What the file or its folder says of it, by the names of peft's ``LoraConfig`` (``r``,
    ``lora_alpha``, ``base_model_name_or_path``...); empty if that is nothing."""
