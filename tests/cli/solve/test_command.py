from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import typer
from typer.testing import CliRunner

from marblecli.cli.solve.command import solve
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


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        (["--method", "single:geneval"], [0.0, 1.0]),
        (["--method", "marble,floors.geneval=0.8"], [0.2, 0.8]),
        (["--method", "marble,floors.geneval=0.8", "--solver", "cvxpy"], [0.2, 0.8]),
        (["--method", "upgrad"], [0.5, 0.5]),
        # Orthogonal unit gradients: cosines in the ratio of the priorities are their weights.
        (["--priority", "ocr=3"], [0.75, 0.25]),
        (["--priority", "ocr=6", "--priority", "2"], [0.75, 0.25]),
    ],
)
def test_any_balancer_of_a_recipe(gram_file, options, weights):
    document = json.loads(run(gram_file, "--json", *options))
    assert document["simplex_weights"] == pytest.approx(weights, abs=1e-6)


def test_a_priority_asks_for_that_much_more_cosine(gram_file):
    document = json.loads(run(gram_file, "--json", "--priority", "ocr=3"))
    ocr, geneval = document["cosines"]
    assert ocr == pytest.approx(3.0 * geneval)
    assert document["duality_gap"] <= 1e-12


def test_what_if(gram_file):
    arguments = (gram_file, "--priority", "ocr=3", "--what-if", "single:ocr", "--what-if", "marble")
    document = json.loads(run(*arguments, "--json"))
    assert document["method"] == "marble"
    assert document["simplex_weights"] == pytest.approx([0.75, 0.25])
    assert list(document["what_if"]) == ["single:ocr", "marble"]
    assert document["what_if"]["single:ocr"]["cosines"] == [1.0, 0.0]
    assert document["what_if"]["single:ocr"]["duality_gap"] is None
    # Priorities are the main method's own.
    assert document["what_if"]["marble"]["simplex_weights"] == pytest.approx([0.5, 0.5])
    shown = run(*arguments)
    for expected in ("certificate", "compared", "marble (as asked)", "single:ocr", "(0.75)"):
        assert expected in shown


def test_what_cannot_be_combined_is_refused(tmp_path):
    file = tmp_path / "gram.json"
    file.write_text('{"names": ["still", "ocr"], "gram": [[0, 0], [0, 4]]}')
    with pytest.raises(BadInputError, match="single:still: still has no usable gradient"):
        run(file, "--what-if", "single:still")


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
        (["--method", "marbel"], "unknown method 'marbel' .did you mean 'marble'"),
        (["--what-if", "marbel"], "unknown method 'marbel' .did you mean 'marble'"),
        (["--what-if", "single:orc"], "unknown reward 'orc' .did you mean 'ocr'"),
        (["--what-if", "marble,gram=signal"], "doesn't tell the signal from the rest"),
        (
            ["--method", "raw-sum"],
            "raw-sum: it needs the batch's scores, which a Gram doesn't hold",
        ),
        (["--what-if", "noise-aware"], "the signal that many batches share, which a Gram doesn't"),
        (["--solver", "wolf"], "solver: must be 'wolfe'"),
        (["--floor", "orc=0.1"], "--floor orc=0.1: no reward is called 'orc' .did you mean 'ocr'"),
        (["--floor", "ocr=lots"], "--floor ocr=lots: expected NAME=VALUE or one number"),
        (["--floor", "0.5"], "floors must sum to less than 1"),
        (["--floor", "nan"], "finite and at least 0"),
        (["--weight", "0", "--method", "weighted-sum"], "weight above 0"),
        (["--method", "equal", "--floor", "0.1"], "only the method marble takes floors"),
        (["--method", "equal", "--priority", "ocr=2"], "only the method marble takes priorities"),
        (["--priority", "orc=2"], "--priority orc=2: no reward is called 'orc' .did you mean"),
        (["--priority", "ocr=0"], "priorities must be above 0"),
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


@pytest.fixture
def gram_folder(tmp_path):
    """The same rewards at right angles, at odds, and one of them without a gradient."""
    folder = tmp_path / "grams"
    folder.mkdir()
    for name, gram in (
        ("1", [[1.0, 0.0], [0.0, 4.0]]),
        ("2", [[1.0, -0.6], [-0.6, 1.0]]),
        ("3", [[0.0, 0.0], [0.0, 4.0]]),
    ):
        (folder / f"{name}.json").write_text(json.dumps({"names": ["a", "b"], "gram": gram}))
    return folder


def test_a_folder_of_batches(gram_folder):
    document = json.loads(run(gram_folder, "--json", "--what-if", "single:a"))
    first, second, third = document["batches"]
    assert [each["batch"] for each in document["batches"]] == ["1.json", "2.json", "3.json"]
    assert first["simplex_weights"] == pytest.approx([0.5, 0.5])
    assert second["cosines"] == pytest.approx([0.2**0.5, 0.2**0.5])
    assert third["masked"] == ["a"]
    assert third["what_if"]["single:a"]["error"] == "a has no usable gradient in this batch"
    assert document["summary"]["fought_share"] == 0.0
    alone = document["what_if"]["single:a"]
    assert (alone["batches"], alone["fought_share"]) == (2, 0.5)
    assert alone["per_reward"]["b"]["cosine_mean"] == pytest.approx(-0.3)


def test_a_folder_of_batches_for_people(gram_folder):
    shown = run(gram_folder, "--what-if", "single:a")
    for expected in ("1.json", "3.json", "0.5000", "Over all batches", "single:a", "50 %"):
        assert expected in shown


def test_a_run_s_batches_go_on_from_each_other(gram_folder):
    """With a memory, the second batch is combined by what the first one was too."""
    document = json.loads(run(gram_folder, "--json", "--method", "marble,memory=0.5"))
    second = document["batches"][1]
    assert second["worst_cosine"] < 0.2**0.5
    assert second["duality_gap"] is None


def test_a_bad_file_of_a_folder_is_named(gram_folder):
    (gram_folder / "4.json").write_text("[[1, 2], [2, 1]]")
    with pytest.raises(BadInputError, match=r"4\.json: .*no Gram matrix of any gradients"):
        run(gram_folder)


def test_neither_torch_nor_diffusers_is_imported(gram_file):
    code = (
        "import sys; from pathlib import Path; from marblecli.cli.solve.command import solve; "
        "early = {'numpy', 'pydantic', 'rich'} & set(sys.modules); "
        f"solve(Path({str(gram_file)!r}), as_json=True); "
        "assert not {'torch', 'diffusers', 'cvxpy'} & set(sys.modules); "
        "assert 'numpy' not in early, early"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
