"""The rewards' gradients of a whole batch, computed in the way that the recipe asks for."""

from __future__ import annotations

from marblecli.train.batch import TrainingBatch
from marblecli.train.collect import loss_settings
from marblecli.train.gradients.plain import reward_gradients
from marblecli.train.gradients.reward_gradients import RewardGradients, contracted_gradients
from marblecli.train.sampler import Sampler


def batch_gradients(sampler: Sampler, batch: TrainingBatch) -> RewardGradients:
    """The gradients of a batch, summed over all processes; ``batch`` is this process's part."""
    recipe, policies = sampler.recipe, sampler.policies
    training = recipe.training

    def attempt(size: int) -> RewardGradients:
        settings = loss_settings(recipe, size)
        if training.gradients == "backward":
            return reward_gradients(policies, batch, settings)
        return contracted_gradients(
            policies, batch, settings, training.pull_share, parts=recipe.measure.parts
        )

    return _summed(sampler, sampler.micro_batch.fitted(attempt))


def judging_gradients(sampler: Sampler, batch: TrainingBatch) -> RewardGradients:
    """The gradients of a batch that judges a step: in parts, with the pull on all micro-batches."""

    def attempt(size: int) -> RewardGradients:
        return contracted_gradients(sampler.policies, batch, loss_settings(sampler.recipe, size))

    return _summed(sampler, sampler.micro_batch.fitted(attempt))


def _summed(sampler: Sampler, gradients: RewardGradients) -> RewardGradients:
    """Sum the gradients over the processes, in place."""
    sampler.reduction.gradients(gradients.tensors())
    return gradients
