"""All that a prompt's embedding depends on, as one name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from marblecli.models.architectures import Architecture, is_folder
from marblecli.models.options import resolved
from marblecli.models.supported import examine_model
from marblecli.settings import ModelSettings


def embedding_identity(settings: ModelSettings, seed: int) -> str:
    """A name for all that a prompt's embedding depends on; ``seed`` is that of random weights.

    The model's name, revision and configurations, its family's options and ``dtype``; of a folder
    also the sizes and times of the encoders' files. A hub repository that is changed under the same
    name isn't noticed without ``revision``.
    """
    examined = examine_model(settings)
    architecture = examined.architecture
    known = architecture if isinstance(architecture, Architecture) else None
    parts = {
        "model": settings.pretrained,
        "revision": settings.revision,
        "configurations": dict(known.parts) if known else None,
        "family": examined.family.spec.name,
        "options": dict(resolved(examined.family, settings).options),
        "dtype": settings.dtype,
        "random": seed if settings.random_weights else None,
        "files": _files(Path(settings.pretrained)) if is_folder(settings) else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the tokenizers' and text encoders' files."""
    found = (*folder.glob("tokenizer*/*"), *folder.glob("text_encoder*/*"))
    stats = ((str(file.relative_to(folder)), file.stat()) for file in sorted(found))
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
