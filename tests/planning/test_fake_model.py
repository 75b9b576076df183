from __future__ import annotations

import gc

import pytest

from marblecli.planning import fake_model
from marblecli.planning.fake_model import FakeModel, ModelCase
from marblecli.planning.micro_step import kept_row, measure_micro_step
from support.planning import CONTRACTED, RESOLUTION, model_of, real_policies, small_subject


def case_of(processes: int = 1, **model: object) -> ModelCase:
    return ModelCase(small_subject(), model_of(**model), RESOLUTION, processes, "cpu")


def test_blocks_that_are_taken_out_count_as_if_they_were_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for whole in (False, True):
        if whole:
            monkeypatch.setattr(fake_model, "shorten", lambda network, blocks: [])
        fake = FakeModel(case_of())
        blocks = fake.case.subject.family.blocks(fake.policies.network("trained"))
        assert len(blocks) == (6 if whole else 4)
        step = measure_micro_step(fake, CONTRACTED)
        found.append([step.row, *(step.peak(rows, 0) for rows in (1, 9))])
        found[-1] += [fake.sampling().peak(rows) for rows in (1, 9)]
    assert found[0] == found[1]


def test_adapters_of_numbered_blocks_are_found_there() -> None:
    fake = FakeModel(case_of(lora={"rank": 3, "targets": ["transformer_blocks.4.attn.to_q"]}))
    assert len(fake.case.subject.family.blocks(fake.policies.network("trained"))) == 6
    assert fake.trained == 3 * (128 + 128)


@pytest.mark.parametrize(
    "lora",
    [{"rank": 3}, {"rank": 2, "targets": "all-linear"}, {"rank": 2, "dora": True}],
    ids=["published", "all-linear", "dora"],
)
def test_adapters_are_counted_as_they_are_made(lora: dict[str, object]) -> None:
    case = case_of(lora=lora)
    trained = real_policies(case).trained_parameters()
    assert FakeModel(case).trained == sum(each.numel() for each in trained.values())


def test_small_blocks_of_sharded_weights_all_stay() -> None:
    fake = FakeModel(case_of(2, mode="full", shard=True))
    assert len(fake.case.subject.family.blocks(fake.policies.network("trained"))) == 6


def test_whose_weights_are_sharded() -> None:
    assert not case_of(2).sharded
    assert not case_of(1, mode="full", shard=True).sharded
    assert case_of(2, mode="full", shard=True).sharded
    assert case_of(1, mode="full", offload=True).sharded


def test_checkpointing_can_be_turned_on_and_off() -> None:
    fake, rows = FakeModel(case_of()), []
    for wanted in (False, True, False):
        fake.checkpointing = wanted
        rows.append(kept_row(fake, CONTRACTED))
    assert rows[0] == rows[2] > 4 * rows[1]
    assert gc.isenabled()


def test_cudas_rules_make_rows_larger() -> None:
    cpu, cuda = (
        FakeModel(ModelCase(small_subject(), model_of(), RESOLUTION, device=device))
        for device in ("cpu", "cuda")
    )
    rows = [kept_row(fake, CONTRACTED) for fake in (cpu, cuda)]
    assert 1.03 * rows[0] < rows[1] < 1.5 * rows[0]
