"""Checkpointed blocks give the same gradients, and are computed again once for all cotangents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from marblecli.engine.checkpointing import BlockCheckpoints
from marblecli.models.policies import Policies
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.gradients.plain import amortised_backward, reward_gradients
from marblecli.train.gradients.reward_gradients import RewardGradients, contracted_gradients

Policymaker = Callable[..., Policies]
Batchmaker = Callable[..., TrainingBatch]
MODES = pytest.mark.parametrize("mode", ["lora", "full"])


def flat(found: RewardGradients) -> Tensor:
    return torch.cat([part.flatten() for part in (*found.blocks, *found.penalty)])


def close(one: Tensor, other: Tensor) -> None:
    """Assert equality to float64 rounding; the RMS norms round to float32 the same way in both."""
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-13 * float(other.abs().max()))


@MODES
def test_the_contraction_gives_the_same_gradients(
    mode: str, policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    policies, batch = policies_of(mode, torch.float64), batch_of(torch.float64)
    expected = contracted_gradients(policies, batch, loss_settings)
    policies.checkpoint_blocks()
    close(flat(contracted_gradients(policies, batch, loss_settings)), flat(expected))
    for parameter in policies.trained_parameters().values():
        assert parameter.grad is None


@MODES
def test_plain_backward_passes_give_the_same_gradients(
    mode: str, policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    policies, batch = policies_of(mode, torch.float64), batch_of(torch.float64)
    expected = reward_gradients(policies, batch, loss_settings)
    policies.checkpoint_blocks()
    close(flat(reward_gradients(policies, batch, loss_settings)), flat(expected))
    # A contraction, which cuts the graph, leaves nothing behind for the next plain backward pass.
    contracted_gradients(policies, batch, loss_settings)
    amortised_backward(policies, batch, loss_settings, torch.ones(5))
    combined = expected.combine(torch.ones(5))
    grads = [parameter.grad for parameter in policies.trained_parameters().values()]
    found = torch.cat([grad.flatten() for grad in grads if grad is not None])
    wanted = [c for c, grad in zip(combined, grads, strict=True) if grad is not None]
    whole = torch.cat([c.flatten() for c in wanted])
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-7 * float(whole.abs().max()))


def test_adapters_on_one_block_only(
    policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    """The blocks before it have no gradient, so they aren't cut out of the graph."""
    policies, batch = policies_of("lora", torch.float64), batch_of(torch.float64)
    for name in list(policies.trained_parameters()):
        if name.startswith("transformer_blocks.0"):
            policies.trained_parameters().pop(name).requires_grad_(False)
    expected = contracted_gradients(policies, batch, loss_settings)
    policies.checkpoint_blocks()
    close(flat(contracted_gradients(policies, batch, loss_settings)), flat(expected))


def count_blocks(policies: Policies, run: Callable[[], object]) -> int:
    """How often a block's forward pass with the trained adapter runs in ``run``."""
    calls = 0
    blocks = policies.network("trained").transformer_blocks
    plain = [block.forward for block in blocks]

    def counted(forward: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            return forward(*args, **named)

        return call

    for block in blocks:
        block.forward = counted(block.forward)
    run()
    for block, forward in zip(blocks, plain, strict=True):
        block.forward = forward
    return calls


def test_a_block_is_computed_again_once_for_all_cotangents(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    """Each block runs four times: for old, reference and trained policy, and once more for the
    trained one.
    """
    policies = policies_of("lora")
    one = replace(batch, levels=batch.levels[:, :1])
    settings = replace(loss_settings, micro_batch_size=6)
    policies.checkpoint_blocks()
    assert count_blocks(policies, lambda: contracted_gradients(policies, one, settings)) == 2 * 4
    # Plain backward passes, for five rewards and the regulariser, run the blocks again each time.
    assert count_blocks(policies, lambda: reward_gradients(policies, one, settings)) == 2 * (3 + 6)


def test_under_autocast_the_blocks_are_computed_again_in_bf16(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    policies = policies_of("lora", autocast=torch.bfloat16)
    expected = contracted_gradients(policies, batch, loss_settings)
    policies.checkpoint_blocks()
    found = contracted_gradients(policies, batch, loss_settings)
    assert torch.equal(flat(found), flat(expected))


def test_a_graph_that_was_not_cut_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"inside BlockCheckpoints\.cut"):
        BlockCheckpoints().backward(torch.ones(1), [torch.ones(1)], lambda _: None)
