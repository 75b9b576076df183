"""A tapped network computes the same output; its backward pass fills C accumulators."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from marblecli.train.gradients.contraction import BackwardPass, Contraction

SAMPLES, COLUMNS = 5, 3


class Scaled(nn.Module):
    """A layer that isn't linear, for the general form of the contraction."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, -1.5, 2.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) * self.scale


class Folded(nn.Module):
    """A linear layer on samples and tokens folded into one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def network(kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4, bias=False))
    networks: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        "tokens": (linear, (7, 4)),
        "vectors": (linear, (4,)),
        "folded": (Folded(), (7, 4)),
        "unknown": (nn.Sequential(nn.Linear(4, 4), Scaled(), nn.Linear(4, 4)), (7, 4)),
        "convolution": (nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.Flatten(2)), (3, 4, 4)),
    }
    model, shape = networks[kind]
    return model.double(), shape


def expected(
    model: nn.Module, parameters: list[nn.Parameter], x: Tensor, cotangent: Tensor, w: Tensor
) -> list[Tensor]:
    """The accumulators, computed by one plain backward pass for every set of weights."""
    rows = []
    for column in w.T:
        weighted = column.view(-1, *(1,) * (cotangent.ndim - 1)) * cotangent
        rows.append(torch.autograd.grad(model(x), parameters, weighted))
    return [torch.stack(each) for each in zip(*rows, strict=True)]


@pytest.mark.parametrize("kind", ["tokens", "vectors", "folded", "unknown", "convolution"])
def test_accumulators_are_the_weighted_sums_of_the_samples_gradients(kind: str) -> None:
    model, shape = network(kind)
    parameters = list(model.parameters())
    x = torch.randn(SAMPLES, *shape, dtype=torch.float64)
    weights = torch.randn(SAMPLES, COLUMNS, dtype=torch.float64)
    contraction = Contraction(model, parameters, COLUMNS)
    with contraction.tapped():
        y = model(x)
        cotangent = torch.randn_like(y)
        contraction.backward(y, [BackwardPass(cotangent, weights, slice(0, COLUMNS))])
    wanted = expected(model, parameters, x, cotangent, weights)
    for total, part in zip(contraction.totals, wanted, strict=True):
        torch.testing.assert_close(total, part)
    assert all(parameter.grad is None for parameter in parameters)


def test_two_passes_over_one_graph_fill_their_own_columns_and_add_up() -> None:
    model, shape = network("tokens")
    parameters = list(model.parameters())
    contraction = Contraction(model, parameters, 3)
    x = torch.randn(SAMPLES, *shape, dtype=torch.float64)
    cotangents = torch.randn(2, *x.shape, dtype=torch.float64)
    weights = torch.randn(SAMPLES, 3, dtype=torch.float64)
    with contraction.tapped():
        for _ in range(2):
            y = model(x)
            passes = [
                BackwardPass(cotangents[0], weights[:, :2], slice(0, 2)),
                BackwardPass(cotangents[1], weights[:, 2:], slice(2, 3)),
            ]
            contraction.backward(y, passes)
    first = expected(model, parameters, x, cotangents[0], weights[:, :2])
    second = expected(model, parameters, x, cotangents[1], weights[:, 2:])
    for total, a, b in zip(contraction.totals, first, second, strict=True):
        torch.testing.assert_close(total, 2 * torch.cat([a, b]))


def test_only_the_given_parameters_have_accumulators() -> None:
    model, shape = network("tokens")
    last = model[2]
    contraction = Contraction(model, [last.weight], 1)
    x = torch.randn(SAMPLES, *shape, dtype=torch.float64)
    ones = torch.ones(SAMPLES, 1, dtype=torch.float64)
    with contraction.tapped():
        y = model(x)
        contraction.backward(y, [BackwardPass(torch.ones_like(y), ones, slice(0, 1))])
    hidden = model[1](model[0](x)).flatten(0, 1)
    torch.testing.assert_close(contraction.totals[0][0], hidden.sum(0).expand(4, 6))


def test_tapped_layers_compute_the_same_output_and_are_restored_afterwards() -> None:
    model, shape = network("unknown")
    x = torch.randn(SAMPLES, *shape, dtype=torch.float64)
    before = model(x)
    contraction = Contraction(model, list(model.parameters()), 1)
    with contraction.tapped():
        torch.testing.assert_close(model(x), before, rtol=0, atol=0)
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_plain_backward_through_a_tapped_layer_is_refused() -> None:
    """It would leave ``.grad`` empty, and a training step would do nothing."""
    model, shape = network("tokens")
    contraction = Contraction(model, list(model.parameters()), 1)
    with contraction.tapped():
        y = model(torch.randn(SAMPLES, *shape, dtype=torch.float64))
        with pytest.raises(RuntimeError, match=r"outside Contraction\.backward"):
            y.sum().backward()


def test_checkpointed_activations_give_the_same_accumulators() -> None:
    model, shape = network("tokens")
    parameters = list(model.parameters())
    x = torch.randn(SAMPLES, *shape, dtype=torch.float64)
    weights = torch.randn(SAMPLES, COLUMNS, dtype=torch.float64)
    totals = []
    for checkpointed in (False, True):
        contraction = Contraction(model, parameters, COLUMNS)
        with contraction.tapped():
            if checkpointed:
                y = torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False)
            else:
                y = model(x)
            contraction.backward(y, [BackwardPass(torch.ones_like(y), weights, slice(0, COLUMNS))])
        totals.append(contraction.totals)
    for one, other in zip(*totals, strict=True):
        torch.testing.assert_close(one, other)


def test_accumulators_are_gone_with_whoever_holds_them() -> None:
    """Not with the next collection of garbage: they are the largest part of a step's memory."""
    model, shape = network("tokens")
    parameters = list(model.parameters())
    contraction = Contraction(model, parameters, COLUMNS)
    x = torch.randn(SAMPLES, *shape, dtype=torch.float64)
    with contraction.tapped():
        output = model(x)
        one = BackwardPass(
            torch.randn_like(output), torch.ones(SAMPLES, COLUMNS).double(), slice(0, COLUMNS)
        )
        contraction.backward(output, [one])
    left = [weakref.ref(total) for total in contraction.totals]
    gc.disable()
    try:
        del contraction, output
        assert [each() for each in left] == [None] * len(parameters)
    finally:
        gc.enable()
