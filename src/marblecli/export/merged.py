"""A whole pipeline folder, which every tool that runs diffusers' folders takes."""

from __future__ import annotations

from pathlib import Path

from marblecli.export.format import ExportFormat
from marblecli.export.load_check import check_weights
from marblecli.export.subject import Subject, Writer
from marblecli.export.whole import changed_weights, network_of
from marblecli.models.diffusers_files import load_pipeline_again


class MergedFormat(ExportFormat):
    """diffusers' ``save_pretrained`` of the base's pipeline with the trained network in it."""

    name = "merged"

    def file(self, subject: Subject) -> str:  # noqa: ARG002, the same for all
        return "merged"

    def write(self, subject: Subject, path: Path, writer: Writer) -> None:
        pipeline = subject.pipeline
        pipeline.transformer = network_of(subject, pipeline.transformer)
        writer.pretrained(path, pipeline)

    def check(self, subject: Subject, path: Path) -> float:
        loaded = load_pipeline_again(subject.family, path, subject.pipeline).transformer
        wanted = changed_weights(subject)
        return check_weights(loaded.named_parameters(), wanted, subject.dtype, "diffusers")
