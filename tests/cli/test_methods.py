"""``marble methods``, and a stranger's method from installation to its conflicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Marble = Callable[..., Any]
InstallPlugin = Callable[..., None]

LOUDEST = """
from marblecli.methods import MethodSpec, NoOptions, hookimpl, unit_mixture

class Options(NoOptions):
    sharpness: float = 1.0

def build(options):
    def loudest(statistics, state):
        weights = statistics.norms ** options.sharpness
        seen = 0 if state is None else state["seen"]
        return unit_mixture(weights / weights.sum(), statistics.norms), {"seen": seen + 1}
    return loudest

@hookimpl
def marble_register_methods(register):
    register(MethodSpec("loudest", "by the gradients' lengths", build, Options))
"""


def test_the_list_has_every_method_with_its_options_and_origin(marble: Marble) -> None:
    shown = marble("methods", "list")
    assert shown.code == 0
    for word in ("marble-published", "torchjd:cagrad", "priorities", "a loss of its own"):
        assert word in shown.out
    document = json.loads(marble("methods", "list", "--json").out)
    by_name = {method["name"]: method for method in document["methods"]}
    assert by_name["marble"]["options"] == ["solver", "priorities", "floors"]
    assert by_name["marble-published"]["needs"]["rows"] == "head"
    assert by_name["torchjd:upgrad"]["aliases"] == ["upgrad"]


def test_checking_a_method(marble: Marble) -> None:
    assert "keeps the contract" in marble("methods", "check", "marble").out
    shown = marble("methods", "check", "marbel")
    assert (shown.code, shown.out) == (2, "")
    assert "did you mean 'marble'" in shown.err


def test_a_package_of_one_file_trains_by_name_and_is_judged(
    marble: Marble,
    install_plugin: InstallPlugin,
    train_tiny: Callable[..., Path],
    tmp_path: Path,
) -> None:
    install_plugin("marble-method-loudest", LOUDEST)
    assert "marble-method-loudest 1.0" in marble("methods", "list").out
    assert marble("methods", "check", "loudest", "--set", "sharpness=2").code == 0

    run_dir = train_tiny(tmp_path / "run", "balance.method=loudest", "balance.sharpness=2")
    lines = [json.loads(line) for line in (run_dir / "conflicts.jsonl").read_text().splitlines()]
    for line in lines:
        squares = [norm**2 for norm in line["norms"]]
        assert line["simplex_weights"] == [square / sum(squares) for square in squares]
    assert "sharpness = 2" in (run_dir / "recipe.toml").read_text()

    judged = json.loads(
        marble("inspect-conflicts", run_dir, "--method", "loudest,sharpness=3", "--json").out
    )
    assert "loudest,sharpness=3" in judged["directions"]
    gram = tmp_path / "gram.json"
    gram.write_text('{"names": ["ocr", "geneval"], "gram": [[1.0, -0.2], [-0.2, 4.0]]}')
    solved = json.loads(marble("solve", gram, "--method", "loudest", "--json").out)
    assert solved["simplex_weights"] == [1 / 3, 2 / 3]


def test_a_strangers_option_is_checked_before_anything_loads(
    marble: Marble, install_plugin: InstallPlugin, recipe: Path
) -> None:
    install_plugin("marble-method-loudest", LOUDEST)
    shown = marble(
        "train", recipe, "--dry-run", "--set", "balance.method=loudest", "--set", "balance.sharp=1"
    )
    assert shown.code == 2
    assert "balance.sharp: unknown key (did you mean 'sharpness'?)" in shown.err
