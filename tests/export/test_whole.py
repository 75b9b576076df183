from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from marblecli.export.subject import Subject
from marblecli.export.whole import changed_weights, network_of


def test_a_lower_precision_rounds_the_sum_once(subject_of: Callable[..., Subject]) -> None:
    subject = replace(subject_of(), dtype=torch.bfloat16)
    wanted = {name: weight.float() for name, weight in changed_weights(subject).items()}
    untouched = subject.base.get_parameter("proj_out.weight").detach().clone()
    network = network_of(subject, subject.base)
    assert len(wanted) == len(subject.lora.layers)
    for name, weight in wanted.items():
        assert torch.equal(network.get_parameter(name), weight.bfloat16())
    assert torch.equal(network.get_parameter("proj_out.weight"), untouched.bfloat16())
