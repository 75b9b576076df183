"""All export formats by name."""

from __future__ import annotations

from marblecli.export.comfyui import ComfyUIFormat
from marblecli.export.difference import DifferenceFormat
from marblecli.export.diffusers_format import DiffusersFormat
from marblecli.export.format import ExportFormat
from marblecli.export.kohya import KohyaFormat
from marblecli.export.merged import MergedFormat

FORMATS: dict[str, ExportFormat] = {
    each.name: each
    for each in (
        DiffusersFormat(),
        ComfyUIFormat(),
        KohyaFormat(),
        MergedFormat(),
        DifferenceFormat(),
    )
}
"""In the order in which they are written and shown."""
