"""Which of ten colours an object has: zero-shot with CLIP, as GenEval does.

The object is cut out on gray and compared with ten classifiers, each the mean of three templates'
embeddings (GenEval's ``color_classification`` with CLIP_benchmark's ``zero_shot_classifier``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from marble_reward_geneval.instances import Instance
from marble_reward_geneval.vocabulary import COLOURS
from marble_reward_geneval.weights import load_model
from marblecli.errors import MarbleError

_TEMPLATES = (
    "a photo of a {colour} {name}",
    "a photo of a {colour}-colored {name}",
    "a photo of a {colour} object",
)
_GRAY = 0x99


class ColourClassifier:
    """A CLIP model from a folder with its configuration, weights, tokenizer and processor."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        """Load it. Raises MarbleError or OSError if files are missing or can't be used."""
        from transformers import CLIPImageProcessorPil, CLIPModel

        self._model = load_model(CLIPModel, folder).to(dtype)
        self._tokenizer = _load_tokenizer(folder, self._model.config.text_config.vocab_size)
        # PIL by name: the processor of that class on torchvision resizes otherwise.
        self._process = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self._classifiers: dict[str, Tensor] = {}
        """[colours, D] on the CPU, by class."""

    def to(self, device: str) -> None:
        """Move the weights."""
        self._model.to(device)

    def classify(self, cuttings: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> list[str]:
        """Cut-out objects, uint8 [h, w, 3] RGB of any sizes, and their classes -> their colours.

        All in one call of the image encoder.
        """
        if not cuttings:
            return []
        pixels = self._process(
            list(cuttings), return_tensors="pt", input_data_format="channels_last"
        )
        with torch.no_grad():
            images = self._embed(self._model.get_image_features, **pixels)
            classifiers = torch.stack([self._classifier(name) for name in names])
        similarities = torch.einsum("nd,ncd->nc", images, classifiers)
        return [COLOURS[index] for index in similarities.argmax(1).tolist()]

    def _classifier(self, name: str) -> Tensor:
        if name not in self._classifiers:
            texts = [t.format(colour=colour, name=name) for colour in COLOURS for t in _TEMPLATES]
            # Padded to full length: what is computed has the same shape for any class.
            tokens = self._tokenizer(
                texts,
                padding="max_length",
                truncation=True,
                max_length=self._model.config.text_config.max_position_embeddings,
                return_tensors="pt",
            )
            embeddings = self._embed(self._model.get_text_features, **tokens)
            means = embeddings.reshape(len(COLOURS), len(_TEMPLATES), -1).mean(1)
            self._classifiers[name] = F.normalize(means, dim=-1)
        return self._classifiers[name]

    def _embed(self, encode: Any, **inputs: Tensor) -> Tensor:
        """[N, D] of norm 1, float32 on the CPU."""
        device, dtype = self._model.device, self._model.dtype
        moved = {
            key: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for key, value in inputs.items()
        }
        return F.normalize(encode(**moved).pooler_output.float(), dim=-1).cpu()


def cut_out(image: NDArray[np.uint8], instance: Instance) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] -> the instance's box, gray outside of its mask."""
    left, top, right, bottom = (int(side) for side in instance.box)
    place = slice(top, bottom), slice(left, right)
    return np.where(instance.mask[place][..., None], image[place], np.uint8(_GRAY))


def _load_tokenizer(folder: Path, entries: int) -> Any:
    from transformers import CLIPTokenizer

    # Without files, transformers makes an empty tokenizer and says nothing.
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise MarbleError(f"{folder} has no file tokenizer.json or vocab.json")
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    if len(tokenizer) != entries:
        raise MarbleError(
            f"the tokenizer of {folder} has {len(tokenizer)} tokens, its model {entries}"
        )
    return tokenizer
