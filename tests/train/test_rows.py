"""Which rows are trained, and that the gradients are those that the choice promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marblecli.maths.advantages import advantages, optimality_probability
from marblecli.methods.published import published_targets
from marblecli.models.policies import Policies
from marblecli.settings import Recipe
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.collect import collect, training_batch
from marblecli.train.gradients.plain import own_loss_backward, reward_gradients
from marblecli.train.gradients.reward_gradients import RewardGradients, contracted_gradients
from marblecli.train.rows import RowCounts, Scored, Selection, select_rows
from marblecli.train.trainer import Trainer
from marblecli.types import RewardTable
from support.recipes import load, write_recipe

Policymaker = Callable[..., Policies]
Batchmaker = Callable[..., TrainingBatch]
Opener = Callable[..., Trainer]

WHOLE = [slice(0, 12)]
PLACE = (7,)


def recipe_with(folder: Path, *options: str) -> Recipe:
    if not (folder / "recipe.toml").exists():
        write_recipe(folder)
    return load(folder, *(f"training.rows.{option}" for option in options))


def scored(values: np.ndarray) -> Scored:
    """Three groups of four images, with two rewards."""
    valid = np.ones(values.shape, dtype=bool)
    groups = np.repeat(np.arange(3), 4)
    found = advantages(values, valid, groups)
    table = RewardTable(("a", "b"), values, valid)
    shares = valid / valid.sum(0)
    return Scored(table, groups, found, optimality_probability(found, 5.0), shares)


def some_scores() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(12, 2))


def one_constant() -> Scored:
    values = some_scores()
    values[4:8] = 0.3
    return scored(values)


def chosen(recipe: Recipe, rewards: Scored, place: tuple[int, ...] = PLACE) -> Selection:
    found = select_rows(recipe, rewards, place, WHOLE, even=False)
    assert found is not None
    return found


def test_all_rows_are_trained_where_every_group_varies(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path)
    assert select_rows(recipe, scored(some_scores()), PLACE, WHOLE, even=False) is None


def test_a_constant_group_is_left_out_and_its_pull_taken_from_the_rest(tmp_path: Path) -> None:
    found = chosen(recipe_with(tmp_path), one_constant())
    assert found.kept.tolist() == [[True, True]] * 4 + [[False, False]] * 4 + [[True, True]] * 4
    assert found.pull.tolist() == [1.5, 1.5]
    assert found.regulariser == 1.5
    assert found.counts == RowCounts(all=24, trained=16, constant_groups=1)


def test_constant_groups_stay_if_asked_for_or_if_there_is_nothing_else(tmp_path: Path) -> None:
    stay = recipe_with(tmp_path, "skip_constant_groups=false")
    assert select_rows(stay, one_constant(), PLACE, WHOLE, even=False) is None
    nothing = scored(np.ones((12, 2)))
    assert select_rows(recipe_with(tmp_path), nothing, PLACE, WHOLE, even=False) is None


def test_the_extremes_of_every_group_are_kept_at_all_levels(tmp_path: Path) -> None:
    values = np.tile([[0.0], [5.0], [1.0], [-4.0]], (3, 2))
    found = chosen(recipe_with(tmp_path, "extremes=2"), scored(values))
    assert found.kept[:, 0].tolist() == [False, True, False, True] * 3
    assert (found.kept[:, 0] == found.kept[:, 1]).all()
    assert found.pull.tolist() == [2.0, 2.0]
    assert found.counts == RowCounts(all=24, trained=12)


def test_rewards_that_take_turns_begin_in_a_different_order_in_each_group(tmp_path: Path) -> None:
    """Each group's best and worst are images 0 and 1 by one reward, and 2 and 3 by the other."""
    values = np.tile([[5.0, 0.1], [-5.0, 0.0], [0.0, 5.0], [0.1, -5.0]], (3, 1))
    recipe = recipe_with(tmp_path, "extremes=2")
    first = [chosen(recipe, scored(values), (step,)).kept[::4, 0].tolist() for step in range(30)]
    assert 0.3 < np.mean(first) < 0.7


def test_rows_drawn_by_size_have_weights_of_one_on_average(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, "draw=by-size", "share=0.5")
    rewards = one_constant()
    found = [chosen(recipe, rewards, (step,)) for step in range(3000)]
    assert {each.counts.trained for each in found} == {8}
    mean = torch.stack([each.weights for each in found]).mean(0)
    rest = torch.tensor([True] * 4 + [False] * 4 + [True] * 4)
    assert (mean[~rest] == 0).all()
    # The rarest rows have a probability of about .1, and so an error of .05.
    np.testing.assert_allclose(mean[rest].numpy(), 1.0, atol=0.2)
    assert float(mean[rest].mean()) == pytest.approx(1.0, abs=0.02)


def test_a_larger_advantage_makes_a_row_more_probable(tmp_path: Path) -> None:
    values = np.tile([[0.0], [3.0], [0.1], [-3.1]], (3, 2))
    recipe = recipe_with(tmp_path, "draw=by-size", "share=0.4")
    drawn = [chosen(recipe, scored(values), (step,)).kept for step in range(200)]
    share = torch.stack(drawn).double().mean((0, 2)).view(3, 4).mean(0)
    assert share[1] > 2 * share[0]
    assert share[3] > 2 * share[2]


def test_the_same_step_draws_the_same_rows_for_any_processes(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, "draw=by-size", "extremes=2")
    alone = chosen(recipe, scored(some_scores()))
    parts = [slice(0, 4), slice(4, 8), slice(8, 12)]
    together = select_rows(recipe, scored(some_scores()), PLACE, parts, even=False)
    assert together is not None
    assert torch.equal(alone.weights, together.weights)
    assert not torch.equal(alone.kept, chosen(recipe, scored(some_scores()), (8,)).kept)


def test_processes_that_run_together_have_as_many_rows_and_no_process_has_none(
    tmp_path: Path,
) -> None:
    parts = [slice(0, 4), slice(4, 8), slice(8, 12)]
    recipe = recipe_with(tmp_path)
    for even, counts in ((False, [8, 1, 8]), (True, [8, 8, 8])):
        found = select_rows(recipe, one_constant(), PLACE, parts, even=even)
        assert found is not None
        assert [found.of(part).rows for part in parts] == counts
        assert float(found.of(parts[1]).weights.sum()) == 0.0
        assert found.counts.trained == 16


KEPT = torch.tensor([[True, True], [False, True], [False, False], [True, False], [True, True]])


def selected(batch: TrainingBatch) -> TrainingBatch:
    """With the rows of :data:`KEPT`, random weights, and different factors for all rewards."""
    kept = torch.cat([KEPT, torch.tensor([[False, True]])])
    generator = torch.Generator().manual_seed(0)
    weights = kept * (0.5 + torch.rand(kept.shape, generator=generator, dtype=torch.float64))
    factors = torch.linspace(1.0, 3.0, 5, dtype=torch.float64)
    chosen = Selection(kept, weights, factors, 1.7, RowCounts(12, 8))
    return replace(batch, selection=chosen)


def flat(gradients: RewardGradients) -> Tensor:
    """[K + 1, P], the rewards' gradients and the regulariser's."""
    whole = torch.cat([block.flatten(1) for block in gradients.whole()], 1)
    return torch.cat([whole, torch.cat([part.flatten() for part in gradients.penalty])[None]])


def expected(policies: Policies, batch: TrainingBatch, settings: LossSettings) -> Tensor:
    """The same from plain losses of all rows, whose weights are 0 for those that are left out.

    A loss is affine in the optimality probability: the part that rewards don't enter is its value
    at 1/2, and the rest is what depends on them.
    """
    selection = batch.selection
    assert selection is not None

    def found(**changes: Any) -> Tensor:
        changed = replace(batch, selection=None, weights=selection.weights, **changes)
        return flat(reward_gradients(policies, changed, settings))

    whole, neutral = found(), found(optimality=torch.full_like(batch.optimality, 0.5))
    sums = whole.clone()
    sums[:5] = whole[:5] - neutral[:5] + selection.pull[:, None] * neutral[:5]
    sums[5] = selection.regulariser * whole[5]
    return sums


@pytest.mark.parametrize("size", [2, 3, 100])
def test_gradients_are_those_of_the_kept_rows_with_their_weights(
    size: int, policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    """The rewards' part of a row's loss is weighted; its pull is multiplied besides."""
    policies = policies_of("lora", torch.float64)
    batch = selected(batch_of(torch.float64))
    settings = replace(loss_settings, micro_batch_size=size)
    assert batch.micro_steps(size) == len(list(batch.rows(size))) == -(-8 // size)
    wanted = expected(policies, batch, settings)
    for find in (reward_gradients, contracted_gradients):
        found = flat(find(policies, batch, settings))
        scale = wanted.abs().amax(1, keepdim=True)
        torch.testing.assert_close(found / scale, wanted / scale, rtol=1e-6, atol=1e-6)


def test_the_sum_over_processes_is_the_whole(
    policies_of: Policymaker,
    batch_of: Batchmaker,
    loss_settings: LossSettings,
    part_of: Callable[..., TrainingBatch],
) -> None:
    """The third image is the only one of its process, and no row of it is kept."""
    policies = policies_of("lora", torch.float64)
    batch = selected(batch_of(torch.float64))
    whole = flat(contracted_gradients(policies, batch, loss_settings))
    parts = [part_of(batch, *bounds) for bounds in ((0, 2), (2, 3), (3, 6))]
    assert list(parts[1].rows(4)) == []
    found = sum(flat(contracted_gradients(policies, part, loss_settings)) for part in parts)
    scale = whole.abs().amax(1, keepdim=True)
    torch.testing.assert_close(found / scale, whole / scale, rtol=1e-9, atol=1e-9)


def test_the_noise_of_a_row_does_not_depend_on_what_is_left_out(batch: TrainingBatch) -> None:
    all_rows = [list(batch.rows(6))[index].noise for index in range(2)]
    (some,) = selected(batch).rows(100)
    kept = torch.cat([KEPT, torch.tensor([[False, True]])])
    wanted = torch.cat([all_rows[0][kept[:, 0]], all_rows[1][kept[:, 1]]])
    assert torch.equal(some.noise, wanted)


def test_the_head_leaves_nothing_out(batch: TrainingBatch) -> None:
    one, other = batch.head(4), selected(batch).head(4)
    assert other.selection is None
    assert torch.equal(one.shares, other.shares)


def test_a_methods_own_loss_has_the_same_rows_and_its_pull_multiplied(
    policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    policies = policies_of("lora", torch.float64)
    batch = selected(batch_of(torch.float64))
    # Without advantages the loss is all pull, and so 1.7 times that of the kept rows alone.
    nothing = replace(batch, advantages=torch.zeros_like(batch.advantages))
    settings = replace(loss_settings, kl_weight=0.0)

    def found(one: TrainingBatch) -> Tensor:
        for parameter in policies.trained_parameters().values():
            parameter.grad = None
        own_loss_backward(policies, one, settings, torch.ones(5) / 5, published_targets)
        grads = [parameter.grad for parameter in policies.trained_parameters().values()]
        return torch.cat([grad.flatten() for grad in grads if grad is not None])

    selection = nothing.selection
    assert selection is not None
    plain = found(replace(nothing, selection=None, weights=selection.weights))
    atol = 1e-6 * float(plain.abs().max())
    torch.testing.assert_close(found(nothing), 1.7 * plain, rtol=1e-6, atol=atol)


def test_a_steps_batch_is_selected_and_fresh_images_are_all_measured(open_tiny: Opener) -> None:
    trainer = open_tiny({"training.rows.extremes": 2})
    batch = training_batch(trainer.sampler, 1, collect(trainer.sampler, 1))
    assert batch.counts == RowCounts(all=12, trained=8)
    fresh = training_batch(trainer.sampler, 1, collect(trainer.sampler, 1, "fresh"))
    assert fresh.counts == RowCounts(all=12, trained=12)
