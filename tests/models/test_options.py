from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.models.options import option_problems, resolved
from marblecli.models.sd3.family import PUBLISHED_TARGETS, SD3
from marblecli.settings import OWN_MODEL_KEYS, LoraSettings, ModelSettings


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, []),
        ({"t5": "none", "max_sequence_length": 77}, []),
        ({"sequence_length": 3}, ["unknown key (did you mean 'max_sequence_length'?)"]),
        # The program's own keys are as near.
        ({"gradient_checkpoint": 1}, ["(did you mean 'gradient_checkpointing'?)"]),
        ({"group_size": 4}, ["model.group_size: unknown key (did you mean 'sampling.group_si"]),
        ({"t5": "4bit"}, ["model.t5: must be 'full', '8bit' or 'none', got \"4bit\""]),
        ({"max_sequence_length": 513}, ["model.max_sequence_length: must be at most 512, got 513"]),
        ({"t5": 1, "max_sequence_length": "x"}, ["model.max_sequence_length: ", "model.t5: "]),
    ],
)
def test_every_fault_of_the_familys_keys_has_its_line(
    options: dict[str, object], lines: list[str]
) -> None:
    model = ModelSettings.model_validate({"pretrained": "x", **options})
    found = sorted(str(problem) for problem in option_problems(SD3, model))
    assert len(found) == len(lines)
    for line, expected in zip(found, lines, strict=True):
        assert expected in line


def test_resolved_settings_have_every_default_written_out() -> None:
    plain = ModelSettings(pretrained="x", embedding_cache=Path("/cache"))
    whole = resolved(SD3, plain)
    assert whole.options == {"max_sequence_length": 128, "t5": "full"}
    assert whole.lora.targets == PUBLISHED_TARGETS
    assert whole.embedding_cache == plain.embedding_cache
    assert resolved(SD3, whole) == whole


def test_what_is_set_stays() -> None:
    lora = LoraSettings(targets=("attn.to_q",))
    model = ModelSettings.model_validate({"pretrained": "x", "t5": "none", "lora": lora})
    whole = resolved(SD3, model)
    assert whole.options["t5"] == "none"
    assert whole.lora == lora


def test_a_family_takes_no_key_of_the_programs_own() -> None:
    assert not OWN_MODEL_KEYS & SD3.spec.options.model_fields.keys()
    assert "options" not in SD3.spec.options.model_fields
