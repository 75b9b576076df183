from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from marblecli.export.subject import Subject


def test_the_base_is_described_by_pefts_names(subject_of: Callable[..., Subject]) -> None:
    subject = subject_of()
    named = {"base_model_name_or_path": subject.model.pretrained}
    assert subject.described_base() == named
    of_revision = replace(subject, model=subject.model.model_copy(update={"revision": "v1"}))
    assert of_revision.described_base() == named | {"revision": "v1"}


def test_only_lora_has_an_adapter(
    subject_of: Callable[..., Subject], full_subject: Subject
) -> None:
    assert subject_of(rank=3).lora.settings().rank == 3
    assert full_subject.adapter is None
    with pytest.raises(TypeError, match="has no adapter"):
        _ = full_subject.lora
