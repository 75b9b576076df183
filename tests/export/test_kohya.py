from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from marblecli.errors import MarbleError
from marblecli.export.kohya import KohyaFormat
from marblecli.export.subject import Subject
from marblecli.runs.exports import ExportWriter
from support.published import converted, published_weights

FORMAT = KohyaFormat()
ODD = ("attn.to_k", "attn.to_add_out", "norm_out.linear", "norm1_context.linear", "ff.net.2")
"""One of three, one that a block lacks, and two whose halves are swapped."""
PUBLISHED = re.compile(
    r"lora_unet_(joint_blocks_\d+_(x|context)_block_(attn2?_(qkv|proj)|mlp_fc[12]"
    r"|adaLN_modulation_1)|final_layer_(linear|adaLN_modulation_1)|context_embedder)"
    r"\.(lora_down\.weight|lora_up\.weight|alpha)"
)
"""The names that sd-scripts gives the modules of its ``networks/lora_sd3.py``."""


def written(subject: Subject, folder: Path) -> Path:
    path = folder / FORMAT.file(subject)
    FORMAT.write(subject, path, ExportWriter())
    return path


def merged(tensors: dict[str, Tensor], published: dict[str, Tensor]) -> dict[str, Tensor]:
    """As sd-scripts merges: every module's weight plus alpha / rank up down."""
    found = {}
    for name, weight in published.items():
        found[name] = weight.double()
        stem = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
        if f"{stem}.alpha" in tensors:
            down, up = (tensors.pop(f"{stem}.lora_{way}.weight") for way in ("down", "up"))
            scale = float(tensors.pop(f"{stem}.alpha")) / len(down)
            found[name] = found[name] + scale * up.double() @ down.double()
    assert not tensors
    return found


@pytest.mark.parametrize("targets", [None, ODD, ("attn.to_q", "attn.to_k", "attn.to_v")])
@pytest.mark.parametrize(("rank", "alpha"), [(16, 32.0), (4, 4.0)])
def test_sd_scripts_merges_what_the_run_has(
    subject_of: Callable[..., Subject], tmp_path: Path,
    targets: tuple[str, ...] | None, rank: int, alpha: float,
) -> None:  # fmt: skip
    chosen = {} if targets is None else {"targets": targets}
    subject = subject_of(rank, alpha, **chosen)
    path = written(subject, tmp_path)
    tensors = load_file(path)
    assert all(PUBLISHED.fullmatch(key) for key in tensors)
    assert FORMAT.check(subject, path) < 1e-5

    config = subject.architecture.parts["transformer"]
    base = {name: p.detach() for name, p in subject.base.named_parameters()}
    published = published_weights(base, subject.family.native_layers(config))
    whole = converted(merged(tensors, published), config)
    for layer in subject.lora.layers:
        change = whole[f"{layer}.weight"] - base[f"{layer}.weight"].double()
        torch.testing.assert_close(change, subject.change(layer), atol=1e-5, rtol=1e-5)


def test_three_adapters_are_one_of_three_times_the_rank(
    subject_of: Callable[..., Subject], tmp_path: Path
) -> None:
    subject = subject_of(2, 6.0, targets=("attn.to_q", "attn.to_k", "attn.to_v"))
    tensors = load_file(written(subject, tmp_path))
    stem = "lora_unet_joint_blocks_0_x_block_attn_qkv"
    assert float(tensors[f"{stem}.alpha"]) == 18.0
    down, up = tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"]
    width = len(subject.lora.layers["transformer_blocks.0.attn.to_q"].b)
    assert (len(down), up.shape) == (6, (3 * width, 6))
    for place, letter in enumerate("qkv"):
        layer = subject.lora.layers[f"transformer_blocks.0.attn.to_{letter}"]
        rows, columns = slice(place * width, (place + 1) * width), slice(2 * place, 2 * place + 2)
        assert torch.equal(down[columns], layer.a)
        assert torch.equal(up[rows, columns], layer.b)
        up[rows, columns] = 0
    assert not up.any()


def test_what_sd_scripts_cannot_load_is_refused(
    subject_of: Callable[..., Subject], full_subject: Subject
) -> None:
    assert "have no DoRA" in (FORMAT.refusal(subject_of(dora=True)) or "")
    assert "trained all weights" in (FORMAT.refusal(full_subject) or "")
    assert FORMAT.refusal(subject_of()) is None


def test_a_wrong_alpha_or_key_fails_the_check(
    subject_of: Callable[..., Subject], tmp_path: Path
) -> None:
    subject = subject_of()
    path = written(subject, tmp_path)
    tensors = load_file(path)
    stem = "lora_unet_joint_blocks_1_x_block_attn_qkv"
    save_file(tensors | {f"{stem}.alpha": torch.tensor(6.0)}, path)
    with pytest.raises(MarbleError, match="sd-scripts changes transformer_blocks"):
        FORMAT.check(subject, path)
    save_file(tensors | {"lora_unet_x.alpha": torch.tensor(6.0)}, path)
    with pytest.raises(MarbleError, match=r"doesn't know the key lora_unet_x\.alpha"):
        FORMAT.check(subject, path)
