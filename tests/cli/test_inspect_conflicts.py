from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from marblecli.cli.inspect_conflicts import inspect_conflicts
from marblecli.errors import BadInputError

app = typer.Typer()
app.command()(inspect_conflicts)


def run(*arguments):
    """The command's stdout; what it raises is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def line(step, applied):
    """Gradients (1, 0) and (-3, 3): see the hand-worked cosines in tests/maths."""
    return {
        "step": step,
        "rewards": ["ocr", "geneval"],
        "valid": [8, 8],
        "norms": [1.0, float(np.sqrt(18.0))],
        "gram": [[1.0, -3.0], [-3.0, 18.0]],
        "simplex_weights": [0.5, 0.5],
        "coefficients": [1.0, 0.2],
        "cosines": {"applied": applied, "update": [0.1, None], "weighted-sum": [-0.5, 0.9]},
    }


def write(run_dir, *lines):
    text = "".join(json.dumps(each) + "\n" for each in lines)
    (run_dir / "conflicts.jsonl").write_text(text)
    return run_dir


@pytest.fixture
def run_dir(tmp_path):
    return write(tmp_path, line(1, [0.4, 0.4]), line(2, [0.2, -0.2]))


def test_json_worked_by_hand(run_dir):
    document = json.loads(run(run_dir, "--json"))
    assert document["batches"] == 2
    assert document["rewards"] == ["ocr", "geneval"]
    assert list(document["directions"]) == ["applied", "update", "weighted-sum"]
    applied = document["directions"]["applied"]
    assert applied["fought_share"] == 0.5
    assert applied["worst_cosine_mean"] == pytest.approx(0.1)
    assert applied["per_reward"]["geneval"] == pytest.approx(
        {"fought_share": 0.5, "cosine_mean": 0.1}
    )
    assert document["directions"]["update"]["per_reward"]["geneval"] == {
        "fought_share": None,
        "cosine_mean": None,
    }
    assert document["directions"]["weighted-sum"]["fought_share"] == 1.0


def test_pairs_in_json(run_dir):
    (pair,) = json.loads(run(run_dir, "--json"))["pairs"]
    assert (pair["first"], pair["second"], pair["batches"]) == ("ocr", "geneval", 2)
    assert pair["cosine_mean"] == pytest.approx(-(0.5**0.5))
    assert pair["fought_share"] == 1.0


def test_other_balancers_are_judged_on_the_stored_grams(run_dir):
    arguments = ("--json", "--balancer", "marble", "--balancer", "weighted-sum")
    directions = json.loads(run(run_dir, *arguments))["directions"]
    assert list(directions) == ["applied", "update", "weighted-sum", "marble"]
    assert directions["marble"]["fought_share"] == 0.0
    # Two unit gradients at 135 degrees: their sum is at 67.5 degrees from both.
    assert directions["marble"]["worst_cosine_mean"] == pytest.approx(np.cos(np.radians(67.5)))


def test_tables_for_people(run_dir):
    shown = run(run_dir)
    for expected in ("applied", "update", "weighted-sum", "ocr - geneval", "-0.707", "50 %"):
        assert expected in shown
    assert "by theorem" in shown
    assert "left out" not in shown


def test_a_long_run_shows_its_last_batches_and_says_so(tmp_path):
    write(tmp_path, *(line(step, [0.4, 0.4]) for step in range(1001, 1031)))
    short, whole = run(tmp_path), run(tmp_path, "--all")
    assert "10 earlier batches left out; --all shows them." in short
    assert "1010" not in short
    assert "1011" in short
    assert "1001" in whole
    assert "left out" not in whole


def test_an_unknown_balancer_gets_the_nearest_name(run_dir):
    with pytest.raises(BadInputError, match=r"unknown balancer 'equall' \(did you mean 'equal'"):
        run(run_dir, "--balancer", "equall")


def test_what_is_no_run_directory_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"has no conflicts\.jsonl"):
        run(tmp_path)
    with pytest.raises(BadInputError, match="is no run directory"):
        run(tmp_path / "absent")


def test_neither_torch_nor_diffusers_is_imported(run_dir):
    code = (
        "import sys; from pathlib import Path; "
        "from marblecli.cli.inspect_conflicts import inspect_conflicts; "
        "early = {'numpy', 'pydantic', 'rich'} & set(sys.modules); "
        f"inspect_conflicts(Path({str(run_dir)!r}), as_json=True); "
        "assert not {'torch', 'diffusers', 'cvxpy'} & set(sys.modules); "
        "assert 'numpy' not in early, early"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
