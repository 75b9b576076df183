"""A new reward package on the disk: complete, installable, and with tests that pass as it is."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from string import Template

from marblecli.errors import BadInputError, MarbleError
from marblecli.runs.atomic import explaining_failure, replacing

PREFIX = "marble-reward-"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "plugin.py": "src/{module}/__init__.py",
    "scorer.py": "src/{module}/scorer.py",
    "py.typed": "src/{module}/py.typed",
    "test_contract.py": "tests/test_contract.py",
    "test_scorer.py": "tests/test_scorer.py",
}
"""The file that each template becomes. Templates end with .txt: no tool takes them for code."""


def write_reward_package(folder: Path, name: str) -> Path:
    """Write ``folder``/marble-reward-NAME, complete or not at all, and return its path.

    Raises BadInputError for a name that a reward can't have, and for a folder that exists already.
    """
    _check_name(name)
    package = folder / (PREFIX + name)
    if package.exists():
        raise BadInputError(f"{package} exists already: choose another name, or another --in")
    module = (PREFIX + name).replace("-", "_")
    texts = {
        target.format(module=module): Template(_template(source)).substitute(
            name=name, module=module, package=PREFIX + name
        )
        for source, target in _FILES.items()
    }
    with explaining_failure(package, "choose another --in"):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(package) as draft:
            for target, text in {**texts, "LICENSE": _licence()}.items():
                path = draft / target
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    return package


def _check_name(name: str) -> None:
    if name.startswith(PREFIX) and len(name) > len(PREFIX):
        raise BadInputError(f"give the reward's name alone: {name.removeprefix(PREFIX)}")
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f"{name!r} is no reward name: lower-case letters, digits and single dashes, a letter "
            "first"
        )


def _template(name: str) -> str:
    return (files("marblecli.runs") / "templates" / "reward" / f"{name}.txt").read_text("utf-8")


def _licence() -> str:
    """Apache-2.0, as marble itself ships it."""
    text = distribution("marblecli").read_text("licenses/LICENSE")
    if text is None:
        raise MarbleError("marblecli is installed without its licence: install it anew")
    return text
