from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from marblecli.errors import MarbleError
from marblecli.export.load_check import check_changes, check_weights
from marblecli.export.subject import Subject


def test_a_difference_is_a_share_of_the_largest_change(subject_of: Callable[..., Subject]) -> None:
    subject = subject_of()
    exact = {layer: subject.change(layer) for layer in subject.lora.layers}
    assert check_changes(subject, exact.items(), 0.0, "x") == 0.0
    first = next(iter(exact))
    scaled = exact | {first: exact[first] * 1.001}
    assert check_changes(subject, scaled.items(), 1e-2, "x") == pytest.approx(1e-3)
    with pytest.raises(MarbleError, match=f"x changes {first} otherwise"):
        check_changes(subject, scaled.items(), 1e-4, "x")
    gone = {layer: change for layer, change in exact.items() if layer != first}
    with pytest.raises(MarbleError, match=f"doesn't load 1 of {len(exact)} layers, such as"):
        check_changes(subject, gone.items(), 1e-2, "x")
    broken = exact | {first: exact[first] * torch.nan}
    with pytest.raises(MarbleError, match="otherwise"):
        check_changes(subject, broken.items(), 1e-2, "x")


def test_whole_weights_may_be_rounded_as_they_were_saved() -> None:
    wanted = {"x": torch.tensor([1.0, 3.0])}
    near = [("x", torch.tensor([1.0, 3.01])), ("other", torch.zeros(1))]
    assert check_weights(near, wanted, torch.bfloat16, "y") == pytest.approx(1 / 300, rel=1e-3)
    with pytest.raises(MarbleError, match="y loads another x than was saved"):
        check_weights(near, wanted, torch.float32, "y")
    with pytest.raises(MarbleError, match="doesn't load 1 of 1 weights, such as x"):
        check_weights([], wanted, torch.float32, "y")
