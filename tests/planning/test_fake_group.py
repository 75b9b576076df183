from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

from marblecli.engine.processes import meet_alone
from marblecli.planning.fake_group import fake_group


def test_a_process_alone_is_the_first_of_several() -> None:
    own = distributed.is_initialized()
    with fake_group(4):
        assert (distributed.get_rank(), distributed.get_world_size()) == (0, 4)
        everybodys = torch.zeros(4 * 2)
        distributed.all_gather_into_tensor(everybodys, torch.ones(2))
    assert distributed.is_initialized() == own


def beside_a_real_one(rank: int, count: int) -> list[int]:
    meet_alone(torch.device("cpu"))
    sizes = []
    for size in (3, 2):
        with fake_group(size):
            sizes.append(distributed.get_world_size())
    sizes.append(distributed.get_world_size())
    total = torch.ones(1)
    distributed.all_reduce(total)
    sizes.append(int(total))
    return sizes


def test_the_processs_own_group_is_put_aside_and_works_afterwards(
    run_group: Callable[..., Any],
) -> None:
    assert run_group(1, beside_a_real_one) == [[3, 2, 1, 1]]
