"""Weights from a folder: nothing in them is executed, and nothing that is missing is made up."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from marblecli.errors import MarbleError


def load_model(kind: Any, folder: Path) -> Any:
    """A transformers model of the class ``kind``, in float32, ready to infer.

    Raises MarbleError if the weights are damaged, are more than tensors, or don't fill the model,
    and OSError if there are none.
    """
    try:
        model, report = kind.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (UnpicklingError, SafetensorError) as error:
        raise MarbleError(
            f"the weights in {folder} are damaged or more than weights: not loaded"
        ) from error
    # transformers would fill them at random.
    missing = sorted({name for name, _ in model.named_parameters()} & set(report["missing_keys"]))
    if missing:
        raise MarbleError(f"{folder} lacks {len(missing)} weights of {kind.__name__}: {missing[0]}")
    return model.eval().requires_grad_(False)
