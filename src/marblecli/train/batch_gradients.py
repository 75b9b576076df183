"""The rewards' gradients of a whole batch, the way that the recipe has them found."""

from __future__ import annotations

from marblecli.train.batch import TrainingBatch
from marblecli.train.collect import loss_settings
from marblecli.train.gradients import RewardGradients, contracted_gradients, reward_gradients
from marblecli.train.session import Session


def batch_gradients(session: Session, batch: TrainingBatch) -> RewardGradients:
    """Of ``batch``, which is this process's part, summed over all processes."""
    recipe, policies = session.recipe, session.policies
    training = recipe.training

    def attempt(size: int) -> RewardGradients:
        settings = loss_settings(recipe, size)
        if training.gradients == "backward":
            return reward_gradients(policies, batch, settings)
        return contracted_gradients(
            policies, batch, settings, training.anchor_share, parts=recipe.measure.parts
        )

    return _summed(session, session.micro_batch.fitted(attempt))


def fresh_gradients(session: Session, batch: TrainingBatch) -> RewardGradients:
    """Of a batch that only judges: in parts, and with the anchor on every micro-batch."""

    def attempt(size: int) -> RewardGradients:
        return contracted_gradients(session.policies, batch, loss_settings(session.recipe, size))

    return _summed(session, session.micro_batch.fitted(attempt))


def _summed(session: Session, gradients: RewardGradients) -> RewardGradients:
    """The processes meet here once a step."""
    session.sum_(gradients.tensors())
    return gradients
