"""The passes on fake tensors against the same on real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from marblecli.engine.processes import connect
from marblecli.engine.shards import Shards
from marblecli.planning.fake_model import FakeModel, ModelCase
from marblecli.planning.live_bytes import LiveBytes
from marblecli.planning.micro_step import (
    GradientCase,
    gradient_case,
    kept_row,
    measure_micro_step,
)
from marblecli.train.gradients.plain import amortised_backward
from support.planning import (
    CONTRACTED,
    RESOLUTION,
    Held,
    loss_settings,
    model_of,
    real_batch,
    real_passes,
    real_policies,
    recipe_of,
    small_subject,
    uncollected,
)

EXACT, PROMISED = 0.001, 0.05
"""The bytes agree where the same operations run; 5 % is what the plan promises."""
ROWS = (1, 4)

UNSHARDED = {
    "lora": {"mode": "lora"},
    "lora, checkpointed": {"mode": "lora", "gradient_checkpointing": True},
    "full": {"mode": "full"},
    "full, checkpointed": {"mode": "full", "gradient_checkpointing": True},
}
SHARDED = {
    "sharded": (2, {"mode": "full", "shard": True}),
    "offloaded": (1, {"mode": "full", "offload": True, "gradient_checkpointing": True}),
    "sharded and offloaded": (2, {"mode": "full", "offload": True}),
}


def case_of(model: dict[str, Any], processes: int = 1, **transformer: Any) -> ModelCase:
    subject = small_subject(**transformer)
    return ModelCase(subject, model_of(**model), RESOLUTION, processes, "cpu")


def fake_of(case: ModelCase) -> FakeModel:
    fake = FakeModel(case)
    fake.checkpointing = case.model.gradient_checkpointing
    return fake


def compare(
    case: ModelCase, passes: GradientCase, held: dict[int, Held], tolerance: float = EXACT
) -> None:
    """Real bytes by rows against the simulated ones."""
    fake = fake_of(case)
    step, sampling = measure_micro_step(fake, passes), fake.sampling()
    for rows, real in held.items():
        assert step.peak(rows, 0) == pytest.approx(real.step, rel=tolerance)
        assert sampling.peak(rows) == pytest.approx(real.sampling, rel=tolerance)


@pytest.mark.parametrize("model", UNSHARDED.values(), ids=UNSHARDED)
def test_a_micro_batch_holds_what_is_simulated(model: dict[str, Any]) -> None:
    case = case_of(model)
    compare(case, CONTRACTED, {rows: real_passes(case, CONTRACTED, rows) for rows in ROWS})


def test_with_blocks_of_several_kinds() -> None:
    case = case_of({"mode": "lora", "lora": {"targets": "all-linear"}}, dual_attention_layers=(0,))
    passes = GradientCase(rewards=3, kind="backward", regularised=False, amortised=False)
    real = {rows: real_passes(case, passes, rows) for rows in ROWS}
    # When plain backward passes find the gradients of the blocks that are left out isn't known.
    compare(case, passes, real, PROMISED)


def in_a_group(
    rank: int, count: int, model: dict[str, Any], rows: tuple[int, ...], layers: int
) -> dict[int, Held]:
    case = case_of(model, count, num_layers=layers)
    shards = Shards(connect(), torch.device("cpu"), offloaded=model.get("offload", False))
    return {each: real_passes(case, CONTRACTED, each, shards) for each in rows}


def test_sharded_weights_hold_what_is_simulated(run_group: Callable[..., Any]) -> None:
    model = {"mode": "full", "shard": True, "gradient_checkpointing": True}
    for held in run_group(2, in_a_group, model, (4,), 2):
        compare(case_of(model, 2, num_layers=2), CONTRACTED, held)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "model"), SHARDED.values(), ids=SHARDED)
def test_in_every_sharded_form(
    count: int, model: dict[str, Any], run_group: Callable[..., Any]
) -> None:
    for held in run_group(count, in_a_group, model, ROWS, 6):
        compare(case_of(model, count), CONTRACTED, held)


def test_a_step_that_reuses_coefficients_holds_one_gradient_and_its_graph() -> None:
    case = case_of({"mode": "full"})
    passes = GradientCase(rewards=2, kind="contracted", regularised=True, amortised=True)
    policies, step = real_policies(case), measure_micro_step(fake_of(case), passes)
    for rows in ROWS:
        batch = real_batch(case, passes, rows)
        for parameter in policies.trained_parameters().values():
            parameter.grad = None
        with uncollected(), LiveBytes() as live:
            amortised_backward(policies, batch, loss_settings(passes, rows), torch.ones(2))
        alone = replace(step, measured=step.reused)
        assert alone.peak(rows, 0) == pytest.approx(live.peak, rel=PROMISED)
        # Beside many accumulators it is nothing that counts.
        assert step.peak(rows, 10 * live.peak) == replace(step, reused=None).peak(rows, 0)


def test_a_rows_activations_alone_are_those_of_the_whole_step() -> None:
    for model in ({"mode": "lora"}, {"mode": "lora", "gradient_checkpointing": True}):
        fake = fake_of(case_of(model))
        assert kept_row(fake, CONTRACTED) == pytest.approx(
            measure_micro_step(fake, CONTRACTED).row, rel=0.02
        )


def test_the_recipe_says_which_passes_are_made() -> None:
    assert gradient_case(recipe_of()) == CONTRACTED
    reused = gradient_case(recipe_of("balance.refresh_every=5", "training.kl_weight=0"))
    assert (reused.amortised, reused.regularised) == (True, False)
    assert gradient_case(recipe_of("training.gradients=backward")).kind == "backward"
