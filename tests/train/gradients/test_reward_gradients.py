"""All ways to compute the gradients agree, and they don't depend on the micro-batch size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from marblecli.maths.gram import gradient_stats, gram_matrix
from marblecli.methods.published import published_targets
from marblecli.methods.schedule import combine
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.policies import Policies
from marblecli.models.sd3.family import SD3
from marblecli.settings import LoraSettings
from marblecli.train.batch import LossSettings, TrainingBatch, row_slices
from marblecli.train.gradients import reward_gradients as gradients
from marblecli.train.gradients.plain import amortised_backward, own_loss_backward, reward_gradients
from marblecli.train.gradients.reward_gradients import PARTS, WHOLE, contracted_gradients

Policymaker = Callable[..., Policies]
Batchmaker = Callable[..., TrainingBatch]


def flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def amortised(
    policies: Policies, batch: TrainingBatch, settings: LossSettings, coefficients: Tensor
) -> Tensor:
    parameters = policies.trained_parameters().values()
    for parameter in parameters:
        parameter.grad = None
    amortised_backward(policies, batch, settings, coefficients)
    return flat([p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters])


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("seed", range(3))
def test_amortised_step_is_the_combined_gradient(
    mode: str,
    seed: int,
    policies_of: Policymaker,
    batch_of: Batchmaker,
    loss_settings: LossSettings,
) -> None:
    """One backward pass with P and Q against K, in float64: random masks, norms 30-fold apart."""
    policies = policies_of(mode, torch.float64)
    batch = batch_of(torch.float64, seed)
    found = reward_gradients(policies, batch, loss_settings)
    names = tuple("abcde")
    stats = gradient_stats(names, gram_matrix(found.whole()), [1] * 5)
    assert stats.norms.max() / stats.norms.min() >= 30
    coefficients = torch.from_numpy(combine(stats, "marble", np.ones(5)).coefficients)
    combined = flat(found.combine(coefficients))
    once = amortised(policies, batch, loss_settings, coefficients)
    assert torch.cosine_similarity(combined, once, dim=0).item() >= 1 - 1e-10
    # The network's own RMS norms round to float32, whatever the rest is in.
    torch.testing.assert_close(once, combined, rtol=1e-6, atol=1e-8 * float(combined.abs().max()))


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_each_gradient_is_that_of_a_batch_with_this_reward_alone(
    mode: str, policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    """The gradient of a batch with one reward is computed by ``amortised_backward``."""
    policies = policies_of(mode, torch.float64)
    batch = batch_of(torch.float64)
    settings = replace(loss_settings, kl_weight=0.0)
    found = reward_gradients(policies, batch, settings)
    for k in range(5):
        alone = replace(
            batch, optimality=batch.optimality[:, k : k + 1], shares=batch.shares[:, k : k + 1]
        )
        expected = amortised(policies, alone, settings, torch.ones(1, dtype=torch.float64))
        torch.testing.assert_close(
            flat([block[k] for block in found.whole()]), expected, rtol=1e-9, atol=1e-14
        )


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_micro_batch_size_does_not_change_the_result(
    size: int, policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    policies = policies_of("lora", torch.float64)
    batch = batch_of(torch.float64)
    coefficients = torch.ones(5, dtype=torch.float64)
    whole = reward_gradients(policies, batch, loss_settings).combine(coefficients)
    cut = replace(loss_settings, micro_batch_size=size)
    parts = reward_gradients(policies, batch, cut).combine(coefficients)
    torch.testing.assert_close(flat(parts), flat(whole), rtol=1e-9, atol=1e-12)


def test_the_penalty_pulls_towards_the_reference_and_is_not_balanced(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    policies = policies_of("lora")
    with_penalty = reward_gradients(policies, batch, loss_settings)
    without = reward_gradients(policies, batch, replace(loss_settings, kl_weight=0.0))
    assert flat(with_penalty.penalty).norm() > 0
    assert flat(without.penalty).norm() == 0
    torch.testing.assert_close(flat(with_penalty.blocks), flat(without.blocks))


def test_a_gradient_with_coefficient_zero_may_be_nan(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    found = reward_gradients(policies_of("lora"), batch, loss_settings)
    for block in found.blocks:
        block[0, 2] = float("nan")
    direction = found.combine(torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0]))
    assert flat(direction).isfinite().all()


def test_the_same_step_draws_the_same_noise_and_another_step_does_not(
    batch: TrainingBatch,
) -> None:
    def noise(of: TrainingBatch) -> Tensor:
        return torch.cat([rows.noise for rows in of.rows(4)])

    assert torch.equal(noise(batch), noise(batch))
    assert not torch.equal(noise(batch), noise(replace(batch, noise_seed=(0, 2))))


def test_rows_cover_every_image_at_every_level(batch: TrainingBatch) -> None:
    rows = list(batch.rows(4))
    assert [len(part.levels) for part in rows] == [4, 2, 4, 2]
    levels = torch.cat([part.levels for part in rows]).view(2, 6).T
    assert torch.equal(levels, batch.levels)


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("seed", range(3))
def test_two_backward_passes_give_all_k_gradients(
    mode: str,
    seed: int,
    policies_of: Policymaker,
    batch_of: Batchmaker,
    loss_settings: LossSettings,
) -> None:
    policies = policies_of(mode, torch.float64)
    batch = batch_of(torch.float64, seed)
    expected = reward_gradients(policies, batch, loss_settings)
    contracted = contracted_gradients(policies, batch, loss_settings)
    assert contracted.parts == PARTS
    for k in range(5):
        found, g = (flat([part[k] for part in each.whole()]) for each in (contracted, expected))
        assert torch.cosine_similarity(found, g, dim=0).item() >= 1 - 1e-10
        # The network's own RMS norms round to float32, whatever the rest is in.
        torch.testing.assert_close(found, g, rtol=1e-6, atol=1e-7 * float(g.abs().max()))
    penalty = flat(expected.penalty)
    torch.testing.assert_close(
        flat(contracted.penalty), penalty, rtol=1e-6, atol=1e-7 * float(penalty.abs().max())
    )
    for parameter in policies.trained_parameters().values():
        assert parameter.grad is None


def test_the_halves_are_those_of_the_batch(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    """Without the other half's shares, the other half's signal is 0 and this one's is the same."""
    policies = policies_of("lora")
    settings = replace(loss_settings, kl_weight=0.0)
    whole = contracted_gradients(policies, batch, settings)
    alone = replace(batch, shares=batch.shares * (~batch.halves)[:, :1])
    first = contracted_gradients(policies, alone, settings)
    assert flat([block[0] for block in whole.blocks]).norm() > 0
    torch.testing.assert_close(
        flat([b[0] for b in first.blocks]), flat([b[0] for b in whole.blocks])
    )
    assert flat([block[1] for block in first.blocks]).norm() == 0


def test_halves_may_be_of_levels(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    """Every other row of each image: without the others' weights, the signal of the first half."""
    policies = policies_of("lora")
    settings = replace(loss_settings, kl_weight=0.0)
    halves = torch.arange(batch.levels.shape[1]).expand(batch.levels.shape) % 2 == 1
    split = replace(batch, halves=halves)
    whole = contracted_gradients(policies, split, settings)
    first = contracted_gradients(policies, replace(split, weights=(~halves).float()), settings)
    signal = flat([block[0] for block in whole.blocks])
    assert 0 < signal.norm() < flat(list(whole.signal())).norm() * 10
    torch.testing.assert_close(flat([block[0] for block in first.blocks]), signal)
    assert flat([block[1] for block in first.blocks]).norm() == 0


def test_slices_of_the_signal_add_up_to_it(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    sources = ["scenes"] * 4 + ["letters"] * 2
    sliced = replace(batch, slices=row_slices(sources, batch.levels))
    found = contracted_gradients(policies_of("lora"), sliced, loss_settings)
    signal = flat(list(found.signal()))
    by_source = [flat(found.slices[f"source {name}"]) for name in ("scenes", "letters")]
    torch.testing.assert_close(sum(by_source), signal, rtol=1e-4, atol=1e-5)
    by_level = [flat(blocks) for name, blocks in found.slices.items() if "noise" in name]
    assert len(by_level) == 3
    torch.testing.assert_close(sum(by_level), signal, rtol=1e-4, atol=1e-5)


def test_the_pull_of_one_micro_batch_is_right_on_average(
    policies_of: Policymaker,
    batch: TrainingBatch,
    loss_settings: LossSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mean over all choices of one of the six micro-batches is the pull of all of them."""
    policies = policies_of("lora")
    settings = replace(loss_settings, micro_batch_size=2)
    whole = contracted_gradients(policies, batch, settings)
    sparse = []
    for index in range(6):
        monkeypatch.setattr(gradients, "_pulled", lambda *_, index=index: (frozenset({index}), 6.0))
        sparse.append(contracted_gradients(policies, batch, settings, pull_share=1 / 6))
    for part in sparse:
        torch.testing.assert_close(flat(list(part.signal())), flat(list(whole.signal())))
    mean = torch.stack([flat(list(part.whole())) for part in sparse]).mean(0)
    torch.testing.assert_close(mean, flat(list(whole.whole())), rtol=1e-4, atol=1e-5)
    penalty = torch.stack([flat(part.penalty) for part in sparse]).mean(0)
    torch.testing.assert_close(penalty, flat(whole.penalty), rtol=1e-4, atol=1e-6)


def test_the_micro_batches_with_the_pull_are_drawn_from_all(
    batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    settings = replace(loss_settings, micro_batch_size=2)
    drawn = [
        gradients._pulled(replace(batch, noise_seed=(0, step)), settings, 0.34)
        for step in range(50)
    ]
    assert {len(pulled) for pulled, _ in drawn} == {2}
    assert {weight for _, weight in drawn} == {3.0}
    assert frozenset().union(*(pulled for pulled, _ in drawn)) == set(range(6))


def test_the_published_step_worked_by_hand(
    policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    """The published loss has one reward: the summed and clipped advantage, on all images alike."""
    policies = policies_of("lora", torch.float64)
    batch = batch_of(torch.float64)
    weights = torch.tensor([0.1, 0.2, 0.0, 0.3, 0.4], dtype=torch.float64)
    summed = (batch.advantages @ weights)[:, None]
    one = replace(
        batch,
        optimality=(summed / 10 + 0.5).clamp(0, 1),
        shares=torch.full((6, 1), 1 / 6, dtype=torch.float64),
    )
    expected = amortised(policies, one, loss_settings, torch.ones(1, dtype=torch.float64))
    for parameter in policies.trained_parameters().values():
        parameter.grad = None
    own_loss_backward(policies, batch, loss_settings, weights, published_targets)
    found = flat([p.grad for p in policies.trained_parameters().values() if p.grad is not None])
    torch.testing.assert_close(found, expected)


def test_under_bf16_autocast_both_ways_give_the_same_direction(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    policies = policies_of("lora", autocast=torch.bfloat16)
    coefficients = torch.ones(5)
    found = contracted_gradients(policies, batch, loss_settings).combine(coefficients)
    once = amortised(policies, batch, loss_settings, coefficients)
    assert torch.cosine_similarity(flat(found), once, dim=0).item() >= 0.9999


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_without_parts_the_whole_gradients_are_the_same(
    share: float, policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    policies, batch = policies_of("lora", torch.float64), batch_of(torch.float64)
    sliced = replace(batch, slices=row_slices(["scenes"] * 6, batch.levels))
    expected = contracted_gradients(policies, batch, loss_settings, share)
    found = contracted_gradients(policies, sliced, loss_settings, share, parts=False)
    assert found.parts == WHOLE
    assert not found.slices
    assert all(block.shape[0] == 1 for block in found.blocks)
    torch.testing.assert_close(flat(list(found.whole())), flat(list(expected.whole())))
    assert torch.equal(flat(found.penalty), flat(expected.penalty))


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_old_policy_that_is_the_trained_one_does_not_run(
    mode: str,
    dtype: torch.dtype,
    policies_of: Policymaker,
    batch: TrainingBatch,
    loss_settings: LossSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policies = policies_of(mode, autocast=dtype)
    policies.blend_old(0.0)
    asked: list[str] = []
    network = policies.network
    monkeypatch.setattr(policies, "network", lambda name: asked.append(name) or network(name))

    def all_gradients() -> list[Tensor]:
        both = (
            contracted_gradients(policies, batch, loss_settings),
            reward_gradients(policies, batch, loss_settings),
        )
        amortised_too = amortised(policies, batch, loss_settings, torch.ones(5))
        return [*(flat([*found.blocks, *found.penalty]) for found in both), amortised_too]

    found = all_gradients()
    assert "old" not in asked
    monkeypatch.setattr(type(policies), "old_is_trained", False)
    expected = all_gradients()
    assert "old" in asked
    # Torch multiplies by weights that ask for gradients in another shape, and so by another kernel:
    # the same weights give the two policies' velocities to a rounding of their precision.
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


class NoWaiting(TorchDispatchMode):
    """Raises on each operation that would make this process wait for a device.

    These read a tensor's value, or have a result whose size depends on one.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        indexed = name == "index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select"), name
        assert not indexed, "boolean index"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("parts", [True, False])
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_micro_step_reads_no_value_of_a_tensor(
    mode: str,
    parts: bool,
    policies_of: Policymaker,
    batch: TrainingBatch,
    loss_settings: LossSettings,
) -> None:
    policies = policies_of(mode)
    sliced = replace(batch, slices=row_slices(["scenes"] * 6, batch.levels))
    with NoWaiting():
        contracted_gradients(policies, sliced, loss_settings, parts=parts)
        amortised_backward(policies, batch, loss_settings, torch.ones(5))
    with pytest.raises(AssertionError), NoWaiting():
        float(batch.latents[0, 0, 0, 0])


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_micro_step_does_not_wait_for_the_device(
    mode: str,
    policies_of: Policymaker,
    moved_to: Callable[..., TrainingBatch],
    batch: TrainingBatch,
    loss_settings: LossSettings,
) -> None:
    policies = policies_of(mode, autocast=torch.bfloat16)
    for name in ("trained", "old", "reference"):
        policies.network(name).to("cuda")
    on_device = moved_to(batch, "cuda")
    contracted_gradients(policies, on_device, loss_settings)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = contracted_gradients(policies, on_device, loss_settings)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(block.isfinite().all() for block in found.blocks)


def test_dora_by_plain_backward_passes(
    transformer: SD3Transformer2DModel, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    """K combined backward passes are the amortised one, also for the magnitudes."""
    policies = LoraPolicies(SD3, transformer, LoraSettings(rank=3, dora=True), torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policies.trained_parameters().values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    found = reward_gradients(policies, batch, loss_settings)
    combined = flat(found.combine(torch.ones(5)))
    once = amortised(policies, batch, loss_settings, torch.ones(5))
    torch.testing.assert_close(once, combined, rtol=1e-4, atol=1e-5 * float(combined.abs().max()))
    names = list(policies.trained_parameters())
    magnitudes = [b for n, b in zip(names, found.blocks, strict=True) if "magnitude" in n]
    assert flat(magnitudes).norm() > 0


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_weights_of_rows_are_in_every_gradient(
    mode: str, policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    """Signal, pull and regulariser are weighted alike, by all three ways to compute them."""
    policies, batch = policies_of(mode, torch.float64), batch_of(torch.float64)
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(batch.levels.shape, generator=generator, dtype=torch.float64)
    weighted = replace(batch, weights=weights)
    plain = reward_gradients(policies, weighted, loss_settings)
    contracted = contracted_gradients(policies, weighted, loss_settings)
    for one, other in zip(contracted.whole(), plain.whole(), strict=True):
        assert_near(one, other)
    assert_near(flat(contracted.penalty), flat(plain.penalty))
    combined = flat(plain.combine(torch.ones(5)))
    assert_near(amortised(policies, weighted, loss_settings, torch.ones(5)), combined)
    # The gradients are linear in the weights: those of w and of 1 - w add up to the whole batch's.
    rest = replace(batch, weights=1 - weights)
    both = combined + amortised(policies, rest, loss_settings, torch.ones(5))
    assert_near(both, amortised(policies, batch, loss_settings, torch.ones(5)))


def assert_near(found: Tensor, expected: Tensor) -> None:
    """But for the network's own RMS norms, which round to float32."""
    largest = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7 * largest)
