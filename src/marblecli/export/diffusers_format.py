"""diffusers: an adapter that ``load_lora_weights`` takes, or the whole network's folder."""

from __future__ import annotations

from pathlib import Path

from marblecli.export.format import ExportFormat
from marblecli.export.load_check import check_changes, check_weights
from marblecli.export.subject import Subject, Writer
from marblecli.export.whole import changed_weights, network_of
from marblecli.models.diffusers_files import (
    WEIGHTS_FILE,
    fused_changes,
    load_network,
    save_adapter,
)

_TOLERANCE = 1e-5
"""Float32 products of a high rank differ by this much in another order."""


class DiffusersFormat(ExportFormat):
    """In LoRA mode diffusers' own writer, with rank, alpha and targets in the metadata.

    In full mode the network's folder, for ``from_pretrained`` of its class.
    """

    name = "diffusers"

    def file(self, subject: Subject) -> str:
        return "transformer" if subject.full else WEIGHTS_FILE

    def write(self, subject: Subject, path: Path, writer: Writer) -> None:
        if subject.adapter is None:
            writer.pretrained(path, network_of(subject, subject.base))
        else:
            save_adapter(subject.family, path, subject.adapter, subject.described_base())

    def check(self, subject: Subject, path: Path) -> float:
        if subject.adapter is None:
            loaded = load_network(subject.family, path).named_parameters()
            return check_weights(loaded, changed_weights(subject), subject.dtype, "diffusers")
        base = subject.base_weight if subject.adapter.dora else None
        found = fused_changes(subject.family, subject.architecture, path, base)
        return check_changes(subject, found, _TOLERANCE, "diffusers")
