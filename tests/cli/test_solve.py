from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import typer
from typer.testing import CliRunner

from marblecli.cli.solve import solve
from marblecli.errors import BadInputError

app = typer.Typer()
app.command()(solve)


def run(*arguments):
    """The command's stdout; what it raises is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def gram_file(tmp_path):
    """Orthogonal gradients of norms 1 and 2."""
    file = tmp_path / "gram.json"
    file.write_text(json.dumps({"names": ["ocr", "geneval"], "gram": [[1.0, 0.0], [0.0, 4.0]]}))
    return file


def test_json_worked_by_hand(gram_file):
    document = json.loads(run(gram_file, "--json"))
    assert document["names"] == ["ocr", "geneval"]
    assert document["method"] == "marble"
    assert document["simplex_weights"] == pytest.approx([0.5, 0.5])
    assert document["coefficients"] == pytest.approx([0.75, 0.375])
    assert document["cosines"] == pytest.approx([0.5**0.5, 0.5**0.5])
    assert document["worst_cosine"] == pytest.approx(0.5**0.5)
    assert document["kkt_residual"] <= 1e-12
    assert document["duality_gap"] <= 1e-12
    assert document["masked"] == []


def test_the_table_shows_every_reward_and_the_certificate(gram_file):
    shown = run(gram_file)
    for expected in ("ocr", "geneval", "0.7500", "0.3750", "+0.707", "KKT residual", "duality gap"):
        assert expected in shown


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        (["--method", "equal"], [0.5, 0.5]),
        (["--method", "weighted-sum"], [1 / 3, 2 / 3]),
        (["--method", "weighted-sum", "--weight", "ocr=2"], [0.5, 0.5]),
        (["--floor", "geneval=0.8"], [0.2, 0.8]),
        (["--floor", "0.1"], [0.5, 0.5]),
        (["--floor", "ocr=0.6", "--floor", "geneval=0.1"], [0.6, 0.4]),
        (["--solver", "cvxpy"], [0.5, 0.5]),
    ],
)
def test_methods_floors_and_weights(gram_file, options, weights):
    document = json.loads(run(gram_file, "--json", *options))
    assert document["simplex_weights"] == pytest.approx(weights, abs=1e-6)


def test_gradients_and_their_gram_solve_alike(tmp_path):
    rng = np.random.default_rng(0)
    gradients = {name: rng.normal(size=50) for name in "abc"}
    stacked = np.stack(list(gradients.values()))
    safetensors.numpy.save_file(gradients, tmp_path / "gradients.safetensors")
    np.save(tmp_path / "gram.npy", stacked @ stacked.T)
    from_gradients = json.loads(run(tmp_path / "gradients.safetensors", "--json"))
    from_gram = json.loads(run(tmp_path / "gram.npy", "--json"))
    assert from_gradients["names"] == ["a", "b", "c"]
    assert from_gradients["coefficients"] == pytest.approx(from_gram["coefficients"])


def test_a_zero_gradient_is_masked_and_named(tmp_path):
    file = tmp_path / "gram.json"
    file.write_text('{"names": ["still", "ocr"], "gram": [[0, 0], [0, 4]]}')
    document = json.loads(run(file, "--json"))
    assert document["masked"] == ["still"]
    assert document["simplex_weights"] == [0.0, 1.0]
    assert document["cosines"] == [None, 1.0]
    assert "left out, because the gradient is zero: still" in run(file)


def test_opposite_gradients_leave_no_direction(tmp_path):
    file = tmp_path / "gram.json"
    file.write_text("[[1, -1], [-1, 1]]")
    document = json.loads(run(file, "--json"))
    assert document["cosines"] == [None, None]
    assert document["worst_cosine"] is None
    assert "no direction helps every reward" in run(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "marbel"], "unknown balance method 'marbel' .did you mean 'marble'"),
        (["--solver", "wolf"], "unknown solver 'wolf'"),
        (["--floor", "orc=0.1"], "--floor orc=0.1: no reward is called 'orc' .did you mean 'ocr'"),
        (["--floor", "ocr=lots"], "--floor ocr=lots: expected NAME=VALUE or one number"),
        (["--floor", "0.5"], "floors must sum to less than 1"),
        (["--floor", "nan"], "finite and at least 0"),
        (["--weight", "0", "--method", "weighted-sum"], "weight above 0"),
        (["--method", "equal", "--floor", "0.1"], "only the method marble takes floors"),
    ],
)
def test_bad_options_get_one_line(gram_file, options, message):
    with pytest.raises(BadInputError, match=message) as caught:
        run(gram_file, *options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[1, 0]]", "isn't square"),
        ("[[1, NaN], [NaN, 1]]", "has nan in row 1, column 2"),
        ("[[1, 0.5], [0, 1]]", "isn't symmetric"),
        ("[[1, 2], [2, 1]]", "no Gram matrix of any gradients"),
        ("[[0, 0], [0, 0]]", "every gradient is zero: reward-1, reward-2"),
    ],
)
def test_bad_matrices_get_one_line_that_names_the_file(tmp_path, content, message):
    file = tmp_path / "gram.json"
    file.write_text(content)
    with pytest.raises(BadInputError, match=message) as caught:
        run(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_neither_torch_nor_diffusers_is_imported(gram_file):
    code = (
        "import sys; from pathlib import Path; from marblecli.cli.solve import solve; "
        "early = {'numpy', 'pydantic', 'rich'} & set(sys.modules); "
        f"solve(Path({str(gram_file)!r}), as_json=True); "
        "assert not {'torch', 'diffusers', 'cvxpy'} & set(sys.modules); "
        "assert 'numpy' not in early, early"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
