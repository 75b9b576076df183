"""Files that ``marble solve`` takes: a Gram matrix, or the gradients themselves."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marblecli.errors import BadInputError, one_of
from marblecli.types import GradientStats, Json

if TYPE_CHECKING:
    from marblecli.types import FloatArray

CHUNK = 2**18
"""Elements of each gradient that are multiplied at a time, in float64."""

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_gradient_stats(path: Path) -> GradientStats:
    """The Gram [K, K] of a file, whatever its form; rewards with a zero gradient aren't usable.

    ``.json`` holds ``{"names": [...], "gram": [[...]]}`` or the bare matrix; ``.csv`` the matrix,
    with names in an optional first row; ``.npy`` the matrix; ``.safetensors`` one gradient a
    reward, or tensors called ``REWARD/PARAMETER``. Rewards without names are reward-1, reward-2...

    Raises BadInputError if the file is missing, of another kind or broken, if its matrix isn't
    square, or if its gradients differ in size or aren't finite.
    """
    if path.suffix not in _READERS:
        raise BadInputError(
            f"{path}: can't read {path.suffix or 'a file without extension'}; "
            f"there are: {one_of(_READERS)}"
        )
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    names, gram = _READERS[path.suffix](path)
    return GradientStats(names=names, gram=gram, usable=np.diag(gram) > 0.0)


def gram_of_chunks(parts: Mapping[str, Sequence[_Tensor]]) -> FloatArray:
    """[K, K] inner products of K gradients, each the concatenation of its parts.

    Chunks of 2^18 elements are multiplied in float64, so that neither memory nor rounding grows
    with the gradients. Raises BadInputError, which names the reward, for NaN or infinity.
    """
    gram = np.zeros((len(parts), len(parts)))
    for tensors in zip(*parts.values(), strict=True):
        for start in range(0, tensors[0].size, CHUNK):
            block = np.stack([tensor.chunk(start) for tensor in tensors])
            for row, name in zip(block, parts, strict=True):
                if not np.isfinite(row).all():
                    raise BadInputError(f"the gradient of {name!r} has NaN or infinite entries")
            gram += block @ block.T
    return gram


@dataclass(frozen=True)
class _Tensor:
    """One tensor of a .safetensors file, read as it is needed."""

    bytes: np.ndarray[Any, np.dtype[np.uint8]]
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def chunk(self, start: int) -> FloatArray:
        """float64 [CHUNK] or what is left, from element ``start``."""
        width = np.dtype(_DTYPES[self.dtype]).itemsize
        raw = self.bytes[start * width : (start + CHUNK) * width].view(_DTYPES[self.dtype])
        if self.dtype == "BF16":  # the upper half of a float32, which NumPy doesn't know
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float64)


def _read_safetensors(path: Path) -> tuple[tuple[str, ...], FloatArray]:
    gradients: dict[str, dict[str, _Tensor]] = {}
    for key, tensor in sorted(_tensors(path).items()):
        reward, _, parameter = key.partition("/")
        if tensor.dtype not in _DTYPES:
            raise BadInputError(
                f"{path}: {key!r} is of type {tensor.dtype}; there are: {one_of(_DTYPES)}"
            )
        gradients.setdefault(reward, {})[parameter] = tensor
    if not gradients:
        raise BadInputError(f"{path}: holds no tensor")
    _check_alike(path, gradients)
    try:
        gram = gram_of_chunks({name: tuple(parts.values()) for name, parts in gradients.items()})
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error
    return tuple(gradients), gram


def _tensors(path: Path) -> dict[str, _Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass  # it checks the header: offsets lie inside the file and fit shapes and types
    except SafetensorError as error:
        raise BadInputError(f"{path}: isn't a safetensors file: {error}") from error
    content = np.memmap(path, dtype=np.uint8, mode="r")
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes())
    return {
        key: _Tensor(
            bytes=content[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]],
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
        )
        for key, entry in header.items()
        if key != "__metadata__"
    }


def _check_alike(path: Path, gradients: Mapping[str, Mapping[str, _Tensor]]) -> None:
    first, *others = gradients
    for other in others:
        different = gradients[first].keys() ^ gradients[other].keys()
        if different:
            parameter = min(different)
            has = first if parameter in gradients[first] else other
            lacks = other if has == first else first
            raise BadInputError(
                f"{path}: gradients of different sizes: "
                f"{f'{has}/{parameter}'.rstrip('/')!r} has no counterpart in {lacks!r}"
            )
        for parameter, tensor in gradients[first].items():
            shape = gradients[other][parameter].shape
            if shape != tensor.shape:
                where = f" in {parameter!r}" if parameter else ""
                raise BadInputError(
                    f"{path}: gradients of different sizes{where}: "
                    f"{first!r} has shape {list(tensor.shape)}, {other!r} {list(shape)}"
                )


def _read_json(path: Path) -> tuple[tuple[str, ...], FloatArray]:
    try:
        content: Json = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInputError(f"{path}: isn't JSON: {error}") from error
    if not isinstance(content, dict):
        return _named(path, content, None)
    if "gram" not in content:
        raise BadInputError(f'{path}: has no "gram"; expected {{"names": [...], "gram": [[...]]}}')
    return _named(path, content["gram"], content.get("names"))


def _read_csv(path: Path) -> tuple[tuple[str, ...], FloatArray]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: isn't a CSV file: {error}") from error
    if rows and not any(_is_number(cell) for cell in rows[0]):
        return _named(path, rows[1:], rows[0])
    return _named(path, rows, None)


def _read_npy(path: Path) -> tuple[tuple[str, ...], FloatArray]:
    try:
        content = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise BadInputError(f"{path}: isn't a .npy file of numbers: {error}") from error
    return _named(path, content, None)


_READERS: Mapping[str, Callable[[Path], tuple[tuple[str, ...], FloatArray]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".npy": _read_npy,
    ".safetensors": _read_safetensors,
}


def _named(path: Path, matrix: Json, names: Json) -> tuple[tuple[str, ...], FloatArray]:
    try:
        gram = np.asarray(matrix, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise BadInputError(
            f"{path}: the Gram matrix must be rows of numbers, all of the same length"
        ) from error
    if gram.size == 0:
        raise BadInputError(f"{path}: the Gram matrix is empty")
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
        raise BadInputError(
            f"{path}: the Gram matrix isn't square: its shape is {list(gram.shape)}"
        )
    if names is None:
        names = [f"reward-{number}" for number in range(1, len(gram) + 1)]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInputError(f'{path}: "names" must be a list of strings')
    if len(set(names)) != len(gram) or len(names) != len(gram):
        raise BadInputError(
            f"{path}: {len(gram)} rewards need {len(gram)} different names, not {names}"
        )
    return tuple(names), gram


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
