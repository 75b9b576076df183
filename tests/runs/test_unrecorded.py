from __future__ import annotations

import inspect

from marblecli.runs.unrecorded import Unrecorded
from marblecli.train.recorder import Recorder


def test_it_takes_whatever_a_recorder_is_told() -> None:
    wanted = {name for name in vars(Recorder) if not name.startswith("_")}
    for name in wanted:
        own = inspect.signature(vars(Unrecorded)[name])
        assert list(own.parameters) == list(inspect.signature(vars(Recorder)[name]).parameters)
