"""Whole runs of a few steps on a tiny random pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch

from marblecli.conflicts.replay import replay_records
from marblecli.conflicts.vectors import direction_cosines
from marblecli.errors import InterruptedRunError, MarbleError
from marblecli.progress import Advance, listening
from marblecli.rewards.spec import RewardBatch
from marblecli.runs.evaluations import evaluation_to_json, read_evaluations
from marblecli.runs.json_lines import append_line
from marblecli.settings import BalanceSettings
from marblecli.train.loop import train
from marblecli.train.trainer import MEMORY, restore
from marblecli.types import EvaluationRecord, Snapshot

NAN = float("nan")
Runner = Callable[..., Any]
Opener = Callable[..., Any]
Recorders = Callable[[], Any]


def brightness(batch: RewardBatch) -> np.ndarray:
    return batch.images.mean((1, 2, 3)).numpy()


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("method", ["marble", "weighted-sum", "equal"])
def test_every_step_is_measured_and_recorded(method: str, mode: str, run_tiny: Runner) -> None:
    recorded, outcome = run_tiny({"balance.method": method, "model.mode": mode})
    assert [line["step"] for line in recorded.metrics] == [1, 2, 3, 4]
    assert [record.step for record in recorded.conflicts] == [1, 2, 3, 4]
    assert [report.step for report in recorded.reports] == [1, 2, 3, 4]
    for line, record in zip(recorded.metrics, recorded.conflicts, strict=True):
        # A step has two prompts with three images each; only one of the two has the text that the
        # reward "contrast" needs.
        assert line["valid"] == {"bright": 6, "red": 6, "contrast": 3}
        assert record.valid == (6, 6, 3)
        assert line["faults"] == []
        assert tuple(line["coefficients"].values()) == record.coefficients
        assert line["worst_cosine"] == min(record.cosines["applied"])
        assert line["gradient_norm"] > 0
        expected = direction_cosines(np.array(record.gram), np.array(record.coefficients))
        assert record.cosines["applied"] == pytest.approx(tuple(expected), abs=1e-4)
    assert set(outcome.changes) == {"train", "held-out"}


def test_marble_conflicts_with_no_reward_on_the_batch_it_solved(run_tiny: Runner) -> None:
    """Without the regulariser, this is a theorem: the QP's common descent direction is stepped."""
    recorded, _ = run_tiny()
    for record in recorded.conflicts:
        assert min(record.cosines["applied"]) >= -1e-6
        assert sum(record.simplex_weights) == pytest.approx(1.0)
        assert min(record.cosines["applied"]) >= min(record.cosines["weighted-sum"]) - 1e-6


def test_the_method_equal_weighs_all_unit_gradients_the_same(run_tiny: Runner) -> None:
    recorded, _ = run_tiny({"balance.method": "equal"})
    for record in recorded.conflicts:
        lengths = np.array(record.coefficients) * np.array(record.norms)
        np.testing.assert_allclose(lengths, lengths.mean())


def test_the_weighted_sum_takes_the_recipes_weights(run_tiny: Runner) -> None:
    recorded, _ = run_tiny({"balance.method": "weighted-sum", "rewards.red": {"weight": 6.0}})
    for record in recorded.conflicts:
        assert record.coefficients == pytest.approx((1 / 8, 6 / 8, 1 / 8))
        assert record.cosines["applied"] == pytest.approx(record.cosines["weighted-sum"], abs=1e-5)


def test_between_refreshes_coefficients_are_reused_and_nothing_is_measured(
    run_tiny: Runner,
) -> None:
    recorded, _ = run_tiny({"balance.refresh_every": 2})
    assert [record.step for record in recorded.conflicts] == [1, 3]
    coefficients = [line["coefficients"] for line in recorded.metrics]
    assert coefficients[0] == coefficients[1]
    assert coefficients[2] == coefficients[3]
    assert coefficients[1] != coefficients[2]
    assert [line["worst_cosine"] is None for line in recorded.metrics] == [False, True, False, True]


def test_reused_coefficients_make_the_same_step_as_new_ones_that_are_equal(
    open_tiny: Opener, new_record: Recorders
) -> None:
    """The coefficients of a weighted sum never change, so reusing them must not change a step."""
    weights = []
    for refresh_every in (1, 4):
        trainer = open_tiny(
            {
                "balance.method": "weighted-sum",
                "balance.refresh_every": refresh_every,
                "training.kl_weight": 0.1,
            }
        )
        train(trainer, new_record().callbacks())
        weights.append([p.detach() for p in trainer.sampler.policies.trained_parameters().values()])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["marble", "marble-published"])
def test_measuring_steps_that_reuse_coefficients_does_not_change_them(
    open_tiny: Opener, new_record: Recorders, method: str
) -> None:
    weights, records = [], []
    for reused in (False, True):
        recorded = new_record()
        trainer = open_tiny(
            {"balance.method": method, "balance.refresh_every": 2, "measure.reused": reused}
        )
        train(trainer, recorded.callbacks())
        weights.append([p.detach() for p in trainer.sampler.policies.trained_parameters().values()])
        records.append(recorded.conflicts)
    assert [record.step for record in records[0]] == [1, 3]
    assert [record.step for record in records[1]] == [1, 2, 3, 4]
    first, second, *_ = records[1]
    assert first.gram != second.gram
    assert first.coefficients == second.coefficients
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_run_begins_and_ends_with_an_evaluation(run_tiny: Runner) -> None:
    recorded, outcome = run_tiny({"eval.every": 2})
    assert list(recorded.evaluations) == [0, 2, 4]
    assert [report.step for report in recorded.shown] == [0, 2, 4]
    assert recorded.shown[-1].changes == outcome.changes
    assert set(recorded.images) == {
        (s, split) for s in (0, 2, 4) for split in ("train", "held-out")
    }
    for split, found in outcome.changes.items():
        for change in found:
            start, end = (recorded.evaluations[step].means[split] for step in (0, 4))
            assert start[change.reward] == pytest.approx(change.start)
            assert end[change.reward] == pytest.approx(change.end)
            assert change.end != change.start


def test_checkpoints_are_saved_when_they_are_due_and_at_the_end(run_tiny: Runner) -> None:
    recorded, _ = run_tiny({"checkpoint.every": 3})
    assert [snapshot.step for snapshot in recorded.checkpoints] == [3, 4]


def test_clipping_changes_no_recorded_cosine(run_tiny: Runner) -> None:
    free, _ = run_tiny({"training.steps": 1, "training.max_grad_norm": 1e9})
    clipped, _ = run_tiny({"training.steps": 1, "training.max_grad_norm": 1e-3})
    assert clipped.metrics[0]["gradient_norm"] > 1e-3
    assert clipped.metrics[0]["gradient_norm"] == free.metrics[0]["gradient_norm"]
    found, expected = (each.conflicts[0].cosines["applied"] for each in (clipped, free))
    assert found == pytest.approx(expected, rel=1e-6)


def test_gradients_that_cancel_make_no_step(run_tiny: Runner) -> None:
    """The second reward is the first one's negative, and the third counts nothing.

    The step would be rounding, in a random direction. The run goes on from the same weights.
    """
    rewards = {"bright": {}, "red": {}, "contrast": {"weight": 0.0}}
    overrides = {"balance.method": "weighted-sum", "rewards": rewards, "training.steps": 2}
    recorded, _ = run_tiny(overrides, {"red": lambda batch: -brightness(batch)})
    for line, record in zip(recorded.metrics, recorded.conflicts, strict=True):
        assert record.coefficients == (0.5, 0.5, 0.0)
        assert record.cosines == dict.fromkeys(("applied", "update", "weighted-sum"), (None,) * 3)
        assert line["stepped"] is False
        assert line["gradient_norm"] == 0.0
        assert line["worst_cosine"] is None
    for report in recorded.reports:
        (notice,) = report.notices
        assert notice.startswith("nothing was stepped: the rewards' gradients cancel")
    (last,) = recorded.checkpoints
    for name, tensor in last.tensors["trained"].items():
        assert torch.equal(tensor, last.tensors["old"][name])
    stepped, _ = run_tiny({"training.steps": 1})
    assert stepped.metrics[0]["stepped"] is True
    assert stepped.reports[0].notices == ()


def test_an_average_on_the_cpu_is_the_same_average(run_tiny: Runner) -> None:
    plain, _ = run_tiny({})
    elsewhere, _ = run_tiny({"training.ema_on_cpu": True})
    assert_same_tensors(plain.checkpoints[-1], elsewhere.checkpoints[-1])
    tensors = elsewhere.checkpoints[-1].tensors
    assert any(not torch.equal(t, tensors["trained"][name]) for name, t in tensors["ema"].items())


def assert_same_tensors(one: Snapshot, other: Snapshot) -> None:
    assert one.tensors.keys() == other.tensors.keys()
    for stem, part in one.tensors.items():
        assert part.keys() == other.tensors[stem].keys()
        for name, tensor in part.items():
            assert torch.equal(tensor, other.tensors[stem][name]), f"{stem}: {name}"


TIMES = ("seconds", "phases")


def without_seconds(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


@pytest.mark.parametrize(
    ("overrides", "stop_after"),
    [
        ({}, 2),
        # The last two steps before the next refresh need the saved balance.
        ({"balance.refresh_every": 3}, 1),
        ({"model.mode": "full", "training.kl_weight": 0.1}, 3),
        ({"training.rows.extremes": 2, "training.rows.draw": "by-size"}, 2),
        ({"training.levels.draw": "signal", "measure.slices_every": 1}, 2),
        ({"balance.method": "noise-aware", "balance.refresh_every": 2}, 1),
    ],
    ids=["lora", "balance", "full", "rows", "levels", "gradient memory"],
)
def test_an_interrupted_and_resumed_run_is_the_same_run_to_the_bit(
    overrides: dict[str, Any],
    stop_after: int,
    run_tiny: Runner,
    open_tiny: Opener,
    new_record: Recorders,
) -> None:
    straight, outcome = run_tiny(overrides)
    first = new_record()
    with pytest.raises(InterruptedRunError, match=f"step {stop_after} is saved") as caught:
        train(open_tiny(overrides), first.callbacks(stop_after))
    assert caught.value.exit_code == 130
    (saved,) = first.checkpoints
    assert saved.step == stop_after
    torch.manual_seed(1234)
    second, resumed_outcome = run_tiny(overrides, saved=saved, earlier=on_file(first))
    assert without_seconds(first.metrics + second.metrics) == without_seconds(straight.metrics)
    assert first.conflicts + second.conflicts == straight.conflicts
    assert_same_tensors(second.checkpoints[-1], straight.checkpoints[-1])
    assert second.checkpoints[-1].state == straight.checkpoints[-1].state
    assert resumed_outcome == outcome
    assert 0 not in second.evaluations, "the evaluation of the start is on file already"


def on_file(recorded: Any) -> tuple[EvaluationRecord, ...]:
    """The evaluations as a run directory gives them back."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "evaluations.jsonl"
        for record in recorded.evaluations.values():
            append_line(path, evaluation_to_json(record))
        return read_evaluations(path)


def test_a_run_interrupted_in_its_last_step_only_has_to_evaluate(
    run_tiny: Runner, open_tiny: Opener, new_record: Recorders
) -> None:
    _, outcome = run_tiny()
    recorded = new_record()
    with pytest.raises(InterruptedRunError, match="step 4 is saved"):
        train(open_tiny(), recorded.callbacks(stop_after=4))
    assert [snapshot.step for snapshot in recorded.checkpoints] == [4]
    rest, resumed = run_tiny(saved=recorded.checkpoints[0], earlier=on_file(recorded))
    assert (rest.metrics, list(rest.evaluations)) == ([], [4])
    assert resumed == outcome


def test_resuming_a_finished_run_does_nothing_that_is_on_file(run_tiny: Runner) -> None:
    straight, outcome = run_tiny()
    saved = straight.checkpoints[-1]
    again, repeated = run_tiny(saved=saved, earlier=on_file(straight))
    assert (again.metrics, again.checkpoints, again.evaluations) == ([], [], {})
    assert repeated == outcome
    without_file, repeated = run_tiny(saved=saved)
    assert list(without_file.evaluations) == [0, 4]
    assert repeated == outcome


class StopAt:
    """Wants to stop once ``count`` items of the work ``what`` are done."""

    def __init__(self, what: str, count: int) -> None:
        self._what, self._left = what, count

    @contextmanager
    def work(self, what: str, total: int | None, unit: str) -> Iterator[Advance]:
        yield self._advance if self._what in what else lambda done: None

    def _advance(self, done: int) -> None:
        self._left -= done

    def wanted(self) -> bool:
        return self._left <= 0


@pytest.mark.parametrize(
    ("what", "count", "saved"),
    [
        ("base on train prompts: sampling", 2, 0),
        ("base on held-out prompts: sampling", 2, 0),
        ("gradients", 1, 0),
        ("gradients", 15, 2),
        ("trained on train prompts: sampling", 2, 3),
    ],
)
def test_ctrl_c_is_obeyed_within_a_batch_and_the_rest_is_the_same_run_to_the_bit(
    what: str,
    count: int,
    saved: int,
    run_tiny: Runner,
    open_tiny: Opener,
    new_record: Recorders,
) -> None:
    """A step has six micro-batches; the weights are evaluated after the third."""
    overrides = {"eval.every": 3, "sampling.batch_size": 2, "training.micro_batch_size": 2}
    straight, outcome = run_tiny(overrides)
    first, stop = new_record(), StopAt(what, count)
    callbacks = replace(first.callbacks(), should_stop=stop.wanted)
    with listening(stop), pytest.raises(InterruptedRunError):
        train(open_tiny(overrides), callbacks)
    assert [line["step"] for line in first.metrics] == list(range(1, saved + 1))
    assert [snapshot.step for snapshot in first.checkpoints] == ([saved] if saved else [])
    newest = first.checkpoints[-1] if saved else None
    second, resumed = run_tiny(overrides, saved=newest, earlier=on_file(first))
    assert without_seconds(first.metrics + second.metrics) == without_seconds(straight.metrics)
    assert_same_tensors(second.checkpoints[-1], straight.checkpoints[-1])
    assert sorted([*first.evaluations, *second.evaluations]) == [0, 3, 4], "each is made once"
    assert resumed == outcome


def raises(_: RewardBatch) -> np.ndarray:
    raise RuntimeError("no driver")


def first_is_nan(batch: RewardBatch) -> np.ndarray:
    return np.array([NAN, *brightness(batch)[1:]])


def test_a_reward_that_raises_is_masked_and_reported_and_stops_the_run_at_the_limit(
    open_tiny: Opener, new_record: Recorders
) -> None:
    recorded = new_record()
    overrides = {"training.max_faults": 4, "training.steps": 50, "sampling.batch_size": 4}
    with pytest.raises(MarbleError) as caught:
        train(open_tiny(overrides, {"red": raises}), recorded.callbacks())
    # The six images of a step are sampled four at a time, so there are two faults in each step.
    assert [line["step"] for line in recorded.metrics] == [1, 2]
    assert str(caught.value).startswith(
        "step 3: more than 4 faults (training.max_faults), the last: red: RuntimeError: no driver ("
    )
    assert caught.value.exit_code == 1
    for line, record in zip(recorded.metrics, recorded.conflicts, strict=False):
        first, second = line["faults"]
        assert first == second
        assert re.fullmatch(r"red: RuntimeError: no driver \(.*test_loop\.py:\d+\)", first)
        assert line["valid"] == {"bright": 6, "red": 0, "contrast": 3}
        assert "red" not in line["rewards"]
        assert line["coefficients"]["red"] == 0.0
        assert record.cosines["applied"][1] is None
        assert record.norms[1] == 0.0


def test_faults_below_the_limit_only_mask_their_images(run_tiny: Runner) -> None:
    recorded, _ = run_tiny({"sampling.batch_size": 4}, {"bright": first_is_nan})
    for line in recorded.metrics:
        assert line["valid"]["bright"] == 4
        assert sorted(line["faults"]) == [
            "bright: 1 of 2 values aren't finite",
            "bright: 1 of 4 values aren't finite",
        ]
        assert line["coefficients"]["bright"] > 0
    assert recorded.checkpoints[-1].state["faults"] == 8


def test_faults_are_counted_across_a_resume(
    open_tiny: Opener, new_record: Recorders, run_tiny: Runner
) -> None:
    overrides = {"training.max_faults": 5, "sampling.batch_size": 4}
    faulty = {"bright": first_is_nan}
    recorded = new_record()
    with pytest.raises(InterruptedRunError):
        train(open_tiny(overrides, faulty), recorded.callbacks(stop_after=2))
    with pytest.raises(MarbleError, match="step 3: more than 5 faults"):
        run_tiny(overrides, faulty, saved=recorded.checkpoints[-1])


def poison(trainer: Any) -> None:
    with torch.no_grad():
        next(iter(trainer.sampler.policies.trained_parameters().values())).fill_(NAN)


@pytest.mark.parametrize(
    ("refresh_every", "message"),
    [
        (1, "step 2: no reward has a usable gradient: bright: its gradient is not finite"),
        (2, "step 2: the gradient is not finite .nan.; go on from the last checkpoint"),
    ],
)
def test_a_gradient_that_is_not_finite_stops_the_run_before_the_step(
    refresh_every: int, message: str, open_tiny: Opener, new_record: Recorders
) -> None:
    trainer, recorded = open_tiny({"balance.refresh_every": refresh_every}), new_record()
    hooks = recorded.callbacks()
    optimizer_steps = trainer.optimizer.step
    taken = []
    trainer.optimizer.step = lambda: (taken.append(1), optimizer_steps())

    with pytest.raises(MarbleError, match=message) as caught:
        train(trainer, replace(hooks, on_step=lambda report: poison(trainer)))
    assert caught.value.exit_code == 1
    assert len(taken) == 1
    assert recorded.checkpoints == []


def test_a_reward_that_never_varies_is_left_out_without_fault(run_tiny: Runner) -> None:
    recorded, _ = run_tiny({}, {"red": lambda batch: np.ones(len(batch.prompts))})
    first = recorded.conflicts[0]
    assert first.norms[1] == pytest.approx(0.0, abs=1e-6)
    assert all(line["faults"] == [] for line in recorded.metrics)


def test_prompts_on_which_no_reward_varies_are_counted(run_tiny: Runner) -> None:
    """No reward varies on scenes, of which every step has one prompt; ``contrast`` does on text."""
    same = {name: lambda batch: np.ones(len(batch.prompts)) for name in ("bright", "red")}
    recorded, _ = run_tiny({}, same)
    assert [line["rows"] for line in recorded.metrics] == [
        {"all": 12, "trained": 6, "constant_groups": 1}
    ] * 4
    assert [report.constant_groups for report in recorded.reports] == [1] * 4
    every, _ = run_tiny({"training.rows.skip_constant_groups": False}, same)
    assert every.metrics[0]["rows"] == {"all": 12, "trained": 12, "constant_groups": 0}


def test_contracted_and_plain_backward_passes_make_the_same_run(run_tiny: Runner) -> None:
    overrides = {"training.kl_weight": 1e-2}
    contracted, _ = run_tiny(overrides)
    backward, _ = run_tiny({**overrides, "training.gradients": "backward"})
    for one, other in zip(contracted.conflicts, backward.conflicts, strict=True):
        assert one.norms == pytest.approx(other.norms, rel=1e-3)
        assert one.coefficients == pytest.approx(other.coefficients, rel=1e-2)
        assert one.parts
        assert not other.parts


def test_the_parts_of_a_record_add_up_to_its_gram(run_tiny: Runner) -> None:
    recorded, _ = run_tiny({"measure.slices_every": 2})
    for record in recorded.conflicts:
        parts = record.part_grams
        assert parts is not None
        whole = parts.signal + parts.pull + parts.signal_pull + parts.signal_pull.T
        np.testing.assert_allclose(whole, np.array(record.gram), rtol=1e-5, atol=1e-12)
        assert set(record.signal_cosines) == {"applied", "update", "weighted-sum"}
    assert [bool(record.slices) for record in recorded.conflicts] == [False, True, False, True]
    names = set(recorded.conflicts[1].slices)
    assert names >= {"source scenes", "source letters"}
    # The text reward has no signal where it doesn't apply.
    assert recorded.conflicts[1].slices["source scenes"].norms[2] == 0.0


def test_fresh_images_are_measured_at_the_recipes_cadence_and_change_nothing(
    run_tiny: Runner,
) -> None:
    plain, _ = run_tiny({"measure.slices_every": 2})
    recorded, _ = run_tiny({"measure.slices_every": 2, "measure.fresh_every": 2})
    assert [record.fresh is not None for record in recorded.conflicts] == [False, True] * 2
    for record, without in zip(recorded.conflicts, plain.conflicts, strict=True):
        assert record.gram == without.gram
        assert record.cosines == without.cosines
    fresh = recorded.conflicts[1].fresh
    assert fresh is not None
    coefficients = np.array(recorded.conflicts[1].coefficients)
    gram = np.array(recorded.conflicts[1].gram)
    length = np.sqrt(coefficients @ gram @ coefficients)
    expected = np.array(fresh.products) @ coefficients / np.array(fresh.norms) / length
    # Without the regulariser, the direction applied is the combination of the gradients.
    assert fresh.cosines["applied"] == pytest.approx(tuple(expected), abs=1e-3)
    assert fresh.norms != recorded.conflicts[1].norms


def test_the_published_method_solves_on_the_first_micro_batch(run_tiny: Runner) -> None:
    overrides = {"balance.method": "marble-published", "balance.refresh_every": 2}
    recorded, _ = run_tiny({**overrides, "training.micro_batch_size": 2})
    assert [record.step for record in recorded.conflicts] == [1, 3]
    first, second = (np.array(record.coefficients) for record in recorded.conflicts)
    # These are the raw simplex weights; from the second refresh on, 0.7 of the earlier ones and 0.3
    # of the new ones.
    assert first.sum() == pytest.approx(1.0)
    assert (second >= 0.7 * first - 1e-9).all()
    lines = [tuple(line["coefficients"].values()) for line in recorded.metrics]
    assert lines[0] == lines[1] == pytest.approx(tuple(first))
    assert lines[2] == lines[3]


def test_phases_change_the_method_by_step(run_tiny: Runner) -> None:
    phases = [{"method": "single", "until": 2}]
    recorded, _ = run_tiny({"balance.phases": phases, "balance.reward": "red"})
    weights = [record.simplex_weights for record in recorded.conflicts]
    assert weights[:2] == [(0.0, 1.0, 0.0)] * 2
    assert min(weights[2]) > 0.0


def test_a_remembered_gram_survives_a_resume_to_the_bit(run_tiny: Runner) -> None:
    overrides = {"balance.memory": 0.5, "checkpoint.every": 2}
    whole, _ = run_tiny(overrides)
    rest, _ = run_tiny(overrides, saved=whole.checkpoints[0])
    assert [r.coefficients for r in rest.conflicts] == [r.coefficients for r in whole.conflicts[2:]]


REMEMBERING = {"balance.method": "noise-aware"}


def test_a_signal_is_recorded_from_the_second_batch_on_and_replays_the_run(
    run_tiny: Runner,
) -> None:
    recorded, _ = run_tiny(REMEMBERING)
    assert [record.signal is None for record in recorded.conflicts] == [True, False, False, False]
    settings = BalanceSettings(method="noise-aware")
    replayed = replay_records(recorded.conflicts, settings, {}, "batch")
    for record, (coefficients,) in zip(recorded.conflicts, replayed, strict=True):
        assert coefficients == pytest.approx(record.coefficients)


def test_a_memory_is_interrupted_within_a_step_as_if_the_step_had_not_begun(
    run_tiny: Runner, open_tiny: Opener, new_record: Recorders
) -> None:
    """The stop comes after the batch was measured: while fresh images are sampled."""
    overrides = {**REMEMBERING, "measure.fresh_every": 3}
    straight, _ = run_tiny(overrides)
    first, computed = new_record(), []

    class Computed:
        @contextmanager
        def work(self, what: str, total: int | None, unit: str) -> Iterator[Advance]:
            if "gradients" in what:
                computed.append(what)
            yield lambda done: None

    # Those of three batches, and of the fresh images of the third step.
    callbacks = replace(first.callbacks(), should_stop=lambda: len(computed) == 4)
    with listening(Computed()), pytest.raises(InterruptedRunError, match="step 2 is saved"):
        train(open_tiny(overrides), callbacks)
    second, _ = run_tiny(overrides, saved=first.checkpoints[-1])
    assert first.conflicts + second.conflicts == straight.conflicts
    assert_same_tensors(second.checkpoints[-1], straight.checkpoints[-1])


def test_a_checkpoint_without_a_memory_says_that_it_starts_empty(
    run_tiny: Runner, open_tiny: Opener, new_record: Recorders
) -> None:
    whole, _ = run_tiny({**REMEMBERING, "checkpoint.every": 2})
    saved = whole.checkpoints[0]
    tensors = {stem: part for stem, part in saved.tensors.items() if stem != MEMORY}
    state = {key: value for key, value in saved.state.items() if key != MEMORY}
    older, again = Snapshot(saved.step, tensors, state), open_tiny(REMEMBERING)
    restore(again, older)
    memory = again.sampler.gradient_memory
    assert memory is not None
    (notice,) = memory.take_notices()
    assert "no gradient memory" in notice
    assert "\n" not in notice
    assert memory.take_notices() == ()
    rest, _ = run_tiny(REMEMBERING, saved=older)
    assert [record.signal is None for record in rest.conflicts] == [True, False]


def test_a_memory_begins_before_the_phase_that_needs_it_and_ends_with_it(run_tiny: Runner) -> None:
    phases = [{"method": "equal", "until": 2}, {"method": "noise-aware", "until": 3}]
    recorded, _ = run_tiny({"balance.phases": phases})
    assert [r.signal is None for r in recorded.conflicts] == [True, False, False, True]
    plain, _ = run_tiny()
    assert MEMORY not in plain.checkpoints[-1].tensors


def test_a_step_says_where_its_time_went(run_tiny: Runner) -> None:
    recorded, _ = run_tiny({"measure.fresh_every": 2})
    first, second, *_ = recorded.metrics
    always = {"sampling and scoring", "gradients", "measuring and method", "update"}
    assert first["phases"].keys() == always
    assert second["phases"].keys() == {*always, "fresh images"}
    for line in (first, second):
        assert 0.0 < sum(line["phases"].values()) <= line["seconds"] + 0.01


def test_a_steps_passes_are_counted_without_those_of_evaluations_and_fresh_images(
    run_tiny: Runner,
) -> None:
    """6 images in 3 steps of the solver, and 12 rows: the trained and the reference policy, whose
    signal and regulariser go back. The old policy joins them, and the pull, once it is another."""
    recorded, _ = run_tiny({"eval.every": 1, "training.kl_weight": 0.1, "measure.fresh_every": 2})
    passes = [line["passes"] for line in recorded.metrics]
    assert passes[0] == {"forward": 18 + 2 * 12, "backward": 2 * 12}
    assert passes[3] == {"forward": 18 + 3 * 12, "backward": 3 * 12}
    assert recorded.evaluations[4].distances.keys() == {"train", "held-out"}
    assert recorded.evaluations[4].distances["train"] > 0.0
    assert recorded.evaluations[0].distances == {}
