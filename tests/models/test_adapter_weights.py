from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marblecli.errors import BadInputError
from marblecli.models.adapter_weights import AdapterLayer, AdapterWeights, adapter_of
from marblecli.settings import LoraSettings


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(rank: int, alpha: float, seed: int = 0) -> AdapterLayer:
    return AdapterLayer(draw(rank, 5, seed=seed), draw(4, rank, seed=seed + 1), alpha)


def test_a_change_worked_out_by_hand() -> None:
    one = AdapterLayer(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.0]]), alpha=2.0)
    assert one.change(torch.zeros(2, 2)).tolist() == [[6.0, 12.0], [0.0, 0.0]]


def test_a_change_by_dora_worked_out_by_hand() -> None:
    """The first row is (3, 4) of length 5, brought to length 10; the second one is untouched."""
    base = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    one = AdapterLayer(
        torch.tensor([[0.0, 4.0]]), torch.tensor([[1.0], [0.0]]), 1.0, torch.tensor([10.0, 2.0])
    )
    torch.testing.assert_close(base + one.change(base).float(), torch.tensor([[6.0, 8], [0, 2]]))
    with pytest.raises(ValueError, match="depends on the weight"):
        one.change()


@pytest.mark.parametrize("alpha", [2.0, 3.0, 0.5])
def test_folding_and_widening_change_no_weight(alpha: float) -> None:
    one, base = layer(2, alpha), draw(4, 5, seed=9)
    for other in (one.folded(), one.widened(7)):
        assert other.scale == 1.0
        torch.testing.assert_close(other.change(base), one.change(base))


def test_one_rank_and_alpha_stay_as_they_are() -> None:
    adapter = AdapterWeights({"x": layer(2, 4.0), "y": layer(2, 4.0, seed=5)})
    assert adapter.uniform() is adapter
    assert adapter.settings() == LoraSettings(rank=2, alpha=4.0, targets=("x", "y"))


def test_layers_of_several_ranks_become_one_rank() -> None:
    adapter = AdapterWeights({"x": layer(2, 4.0), "y": layer(3, 1.0, seed=5)})
    assert adapter.settings() == LoraSettings(rank=3, alpha=3.0, targets=("x", "y"))
    assert {tensor.shape for tensor in adapter.tensors().values()} == {(3, 5), (4, 3)}
    again = adapter_of(adapter.tensors(), adapter.settings())
    for name, one in adapter.layers.items():
        torch.testing.assert_close(again.layers[name].change(), one.change())


def test_parameters_that_are_no_whole_adapter_are_refused() -> None:
    tensors = AdapterWeights({"x": layer(2, 4.0)}).tensors()
    settings = LoraSettings(rank=2, alpha=4.0)
    assert adapter_of(tensors, settings).layers["x"].alpha == 4.0
    with pytest.raises(BadInputError, match="isn't whole"):
        adapter_of(tensors, settings.model_copy(update={"dora": True}))
    with pytest.raises(BadInputError, match="isn't whole"):
        adapter_of({"x.lora_A.weight": tensors["x.lora_A.weight"]}, settings)
    with pytest.raises(BadInputError, match="no adapters of rank 3"):
        adapter_of(tensors, settings.model_copy(update={"rank": 3}))
