from __future__ import annotations

import pytest
import torch

from marblecli.engine.device import device_name


@pytest.mark.parametrize(
    ("device", "name"), [("cpu", "cpu"), ("cpu:0", "cpu"), ("cuda:1", "cuda:1"), ("mps", "mps")]
)
def test_a_device_is_named_as_a_recipe_names_it(device: str, name: str) -> None:
    assert device_name(torch.device(device)) == name
