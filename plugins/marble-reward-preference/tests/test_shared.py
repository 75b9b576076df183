from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from marble_reward_preference.shared import lease

pytestmark = pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")


class Recorder(nn.Module):
    """A model that only remembers where it was sent: no GPU is needed to test the moves."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.place = "nowhere"

    def to(self, device: Any) -> Recorder:
        self.place = str(device)
        return self


def test_one_key_is_loaded_once() -> None:
    first = lease("key", "cpu", Recorder)
    second = lease("key", "cpu", lambda: pytest.fail("loaded again"))
    other = lease("other", "cpu", Recorder)
    elsewhere = lease("key", "cuda", Recorder)
    with first.use() as one, second.use() as two, other.use() as three, elsewhere.use() as four:
        assert one is two
        assert len({id(one), id(three), id(four)}) == 3


def test_a_model_goes_with_its_last_lease() -> None:
    first, second = lease("gone", "cpu", Recorder), lease("gone", "cpu", Recorder)
    with first.use() as module:
        alive = weakref.ref(module)
    del module, first
    gc.collect()
    assert alive() is not None
    del second
    gc.collect()
    assert alive() is None


def test_it_is_loaded_for_scoring_on_its_device() -> None:
    with lease("fresh", "cuda", Recorder).use() as module:
        assert module.place == "cuda"
        assert not module.training
        assert not module.weight.requires_grad


def test_alone_it_moves_at_once() -> None:
    one = lease("alone", "cuda", Recorder)
    with one.use() as module:
        pass
    one.to("cpu")
    assert module.place == "cpu"
    one.to("cuda")
    assert module.place == "cuda"


def test_it_stays_while_another_scorer_wants_it_there() -> None:
    one, two = lease("pair", "cuda", Recorder), lease("pair", "cuda", Recorder)
    with one.use() as module:
        pass
    one.to("cpu")
    assert module.place == "cuda"
    two.to("cpu")
    assert module.place == "cpu"


def test_each_scores_where_it_was_sent() -> None:
    one, two = lease("split", "cuda", Recorder), lease("split", "cuda", Recorder)
    one.to("cpu")
    for scorer, place in ((one, "cpu"), (two, "cuda"), (one, "cpu")):
        with scorer.use() as module:
            assert module.place == place


def test_a_scorer_that_is_gone_keeps_nothing_there() -> None:
    one, two = lease("left", "cuda", Recorder), lease("left", "cuda", Recorder)
    with one.use() as module:
        pass
    del two
    gc.collect()
    one.to("cpu")
    assert module.place == "cpu"


def test_threads_take_turns() -> None:
    one, two = lease("turns", "cpu", Recorder), lease("turns", "cpu", Recorder)
    entered, order = threading.Event(), []

    def second() -> None:
        entered.set()
        with two.use():
            order.append("second")

    with one.use():
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait()
        thread.join(timeout=0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_callers_modes_stay_outside(device: str) -> None:
    scorer = lease("modes", device, Recorder)
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        with scorer.use():
            assert not torch.is_grad_enabled()
            assert not torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu")
