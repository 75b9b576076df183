from __future__ import annotations

import pytest
from pydantic import ValidationError

from marblecli.models.sd3.options import SD3Options, sd3_options
from marblecli.settings import ModelSettings


def test_the_recipes_keys_are_read_with_their_defaults() -> None:
    model = ModelSettings.model_validate({"pretrained": "x", "t5": "none"})
    assert sd3_options(model) == SD3Options(t5="none", max_sequence_length=128)
    assert sd3_options(model.with_options(t5="8bit")).t5 == "8bit"


@pytest.mark.parametrize("length", [0, 513, 1.5])
def test_t5_reads_1_to_512_tokens(length: float) -> None:
    with pytest.raises(ValidationError):
        SD3Options.model_validate({"max_sequence_length": length})
