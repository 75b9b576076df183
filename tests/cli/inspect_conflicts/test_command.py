from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from marblecli.cli.inspect_conflicts.command import inspect_conflicts
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


def halved_line(step, rng):
    """Two halves of 300 elements that share opposite gradients, and noise four times as long."""
    true = np.zeros((2, 300))
    true[:, 0] = (1.0, -1.0)
    first, second = (true + 4.0 * rng.normal(size=(2, 300)) / np.sqrt(300) for _ in range(2))
    whole = first + second
    gram = whole @ whole.T
    zero = np.zeros((2, 2)).tolist()
    return {
        **line(step, [0.4, 0.4]),
        "norms": np.sqrt(np.diag(gram)).tolist(),
        "gram": gram.tolist(),
        "signal_cosines": {"applied": [0.3, 0.3]},
        "parts": {
            "first": (first @ first.T).tolist(),
            "second": (second @ second.T).tolist(),
            "cross": (first @ second.T).tolist(),
            "pull": zero,
            "signal_pull": zero,
        },
        "slices": {
            "source scenes": {
                "norms": np.sqrt(np.diag(first @ first.T)).tolist(),
                "products": (first @ whole.T).tolist(),
            }
        },
        "fresh": {
            "norms": [2.0, 2.0],
            "products": [[1.0, 0.0], [0.0, 1.0]],
            "signal_norms": [2.0, 2.0],
            "signal_products": [[1.0, 0.0], [0.0, 1.0]],
            "cross": zero,
            "cosines": {"applied": [0.2, -0.1]},
            "signal_cosines": {"applied": [0.1, -0.2]},
        },
    }


def write(run_dir, *lines):
    text = "".join(json.dumps(each) + "\n" for each in lines)
    (run_dir / "conflicts.jsonl").write_text(text)
    return run_dir


@pytest.fixture
def run_dir(tmp_path):
    return write(tmp_path, line(1, [0.4, 0.4]), line(2, [0.2, -0.2]))


@pytest.fixture
def halved_run(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "recipe.toml").write_text('[rewards.ocr]\n[balance]\nmethod = "equal"\n')
    return write(tmp_path, *(halved_line(step, rng) for step in range(1, 41)))


def test_the_heading_says_whether_steps_are_missing(tmp_path, run_dir):
    assert "2 measured batches (steps 1 to 2), 0 of them in halves" in run(run_dir)
    (other := tmp_path / "other").mkdir()
    sparse = write(other, line(1, [0.4, 0.4]), line(6, [0.2, -0.2]))
    assert "2 measured batches (steps 1 to 6; the steps between them reuse coefficients)" in run(
        sparse
    )


def test_json_worked_by_hand(run_dir):
    document = json.loads(run(run_dir, "--json"))
    assert document["batches"] == 2
    assert document["rewards"] == ["ocr", "geneval"]
    assert list(document["directions"]) == ["applied", "update", "weighted-sum", "equal", "marble"]
    applied = document["directions"]["applied"]
    assert applied["fought_share"] == 0.5
    assert applied["worst_cosine_mean"] == pytest.approx(0.1)
    geneval = applied["per_reward"]["geneval"]
    assert (geneval["fought_share"], geneval["cosine_worst"]) == (0.5, -0.2)
    assert geneval["cosine_mean"] == pytest.approx(0.1)
    missing = document["directions"]["update"]["per_reward"]["geneval"]
    assert (missing["fought_share"], missing["cosine_mean"]) == (None, None)
    assert document["directions"]["weighted-sum"]["fought_share"] == 1.0


def test_old_records_have_no_numbers_where_nothing_was_measured(run_dir):
    document = json.loads(run(run_dir, "--json"))
    assert document["held_out"]["marble"]["batches"] == 0
    assert document["reliability"]["ocr"] == {"split_half_cosine": None, "interval": None}
    (pair,) = document["pairs"]
    assert pair["verdict"] == "not measured"
    assert pair["corrected_cosine"] is None
    shown = run(run_dir)
    assert shown.startswith("2 batches are too few to tell whether rewards conflict (6 are")
    assert "It is not known whether the step" in shown
    assert "held-out half" not in shown.split("On the batch")[0]
    assert "measure.fresh_every" in shown


def test_pairs_in_json(run_dir):
    (pair,) = json.loads(run(run_dir, "--json"))["pairs"]
    assert (pair["first"], pair["second"], pair["batches"]) == ("ocr", "geneval", 2)
    assert pair["cosine_mean"] == pytest.approx(-(0.5**0.5))
    assert pair["fought_share"] == 1.0


def test_other_methods_are_judged_on_the_stored_grams(run_dir):
    arguments = ("--json", "--method", "marble", "--method", "weighted-sum")
    directions = json.loads(run(run_dir, *arguments, "--method", "single:ocr"))["directions"]
    assert list(directions) == ["applied", "update", "weighted-sum", "marble", "single:ocr"]
    assert directions["marble"]["fought_share"] == 0.0
    # Two unit gradients at 135 degrees: their sum is at 67.5 degrees from both.
    assert directions["marble"]["worst_cosine_mean"] == pytest.approx(np.cos(np.radians(67.5)))
    alone = directions["single:ocr"]["per_reward"]
    assert alone["ocr"]["cosine_mean"] == pytest.approx(1.0)
    assert alone["geneval"]["cosine_mean"] == pytest.approx(-(0.5**0.5))


def test_a_true_conflict_is_found_on_data_that_no_method_saw(halved_run):
    document = json.loads(run(halved_run, "--json"))
    (pair,) = document["pairs"]
    assert pair["verdict"] == "conflict"
    low, high = pair["intervals"]["corrected_cosine"]
    assert low <= -1.0 <= high < -0.6
    assert pair["cosine_mean"] > -0.4
    for reliability in document["reliability"].values():
        low, high = reliability["interval"]
        # Signal 1 and noise 16, squared: the halves' cosine is 1 / 17.
        assert low <= 1 / 17 <= high
    assert list(document["held_out"]) == ["applied", "update", "weighted-sum", "marble"]
    assert document["held_out"]["applied"]["batches"] == 40
    fresh = document["fresh"]["signal"]["applied"]["per_reward"]["geneval"]
    assert fresh["cosine_mean"] == pytest.approx(-0.2)
    assert document["signal"]["applied"]["per_reward"]["ocr"]["cosine_mean"] == pytest.approx(0.3)
    assert list(document["slices"]) == ["source scenes"]


def test_tables_for_people(run_dir):
    shown = run(run_dir)
    for expected in ("applied", "update", "weighted-sum", "ocr - geneval", "-0.707", "50 %"):
        assert expected in shown
    assert "by theorem" in shown
    assert "nothing is significant" in shown
    assert "left out" not in shown


def test_tables_of_all_that_was_measured(halved_run):
    shown = " ".join(run(halved_run).split())
    for expected in (
        "applied is the step, by the method equal, and update is what AdamW made of it",
        "by chance 75 %",
        "held-out half",
        "split halves",
        "1 conflicts (ocr with",
    ):
        assert expected in shown
    assert "source scenes" not in shown
    details = " ".join(run(halved_run, "--details").split())  # titles are as wide as their tables
    for expected in (
        "source scenes",
        "the whole gradient of fresh images",
        "20 earlier batches are left out",
    ):
        assert expected in details


def test_the_verdict_comes_first(halved_run):
    """Of 40 batches only fresh images count, whose recorded cosine with geneval is -.2."""
    shown = " ".join(run(halved_run).split())
    first = (
        "The only pair of rewards conflicts: ocr with geneval; on its own batches the step "
        "conflicts with no reward, AdamW's update with no reward; on fresh images the step "
        "conflicts with geneval."
    )
    assert shown.startswith(
        f"{first} On data that it wasn't solved on (the fresh images of 40 batches), the step "
        "(equal) conflicts with geneval (mean cosine -0.200, 95 % interval -0.20 to -0.20). It "
        "agrees with ocr. What to do: "
    )
    verdict = json.loads(run(halved_run, "--json"))["verdict"]
    assert verdict["sentences"][0] == first
    assert (verdict["judged_by"], verdict["conflicting"]) == ("fresh-signal", ["geneval"])


def test_a_reward_that_scored_nothing_is_a_row_that_says_so(tmp_path):
    failed = {
        **line(1, [0.4, None]),
        "valid": [8, 0],
        "norms": [1.0, 0.0],
        "gram": [[1.0, 0.0], [0.0, 0.0]],
    }
    write(tmp_path, failed, {**failed, "step": 2})
    shown = run(tmp_path)
    assert "│ geneval (scored no image) │" in shown
    assert "geneval scored no image of any batch: the reward failed" in shown
    assert json.loads(run(tmp_path, "--json"))["without_images"] == ["geneval"]


def test_the_former_name_of_an_option_is_still_read(run_dir):
    found = [run(run_dir, option, "single:ocr", "--json") for option in ("--method", "--balancer")]
    assert found[0] == found[1]


def test_an_option_that_does_nothing_says_so_and_is_hidden(run_dir):
    result = CliRunner().invoke(app, [str(run_dir), "--no-train", "--json"])
    assert result.stderr == "--no-train has no effect and is no longer needed: nothing is trained\n"
    assert json.loads(result.stdout)["batches"] == 2
    assert "--no-train" not in run("--help")


def test_a_long_run_shows_its_last_batches_and_says_so(tmp_path):
    write(tmp_path, *(line(step, [0.4, 0.4]) for step in range(1001, 1031)))
    short, whole = run(tmp_path, "--details"), run(tmp_path, "--all")
    assert "10 earlier batches are left out; --all shows them." in short
    assert "1010 " not in short
    assert "1011 " in short
    assert "1001 " in whole
    assert "left out" not in whole


def test_a_page(halved_run, tmp_path):
    run(halved_run, "--html")
    page = (halved_run / "conflicts.html").read_text(encoding="utf-8")
    assert "Which rewards conflict" in page
    other = tmp_path / "other.html"
    assert json.loads(run(halved_run, "--html", other, "--json"))["batches"] == 40
    assert other.read_text(encoding="utf-8") == page


def test_a_recipe_that_is_not_understood_costs_only_its_row(halved_run):
    (halved_run / "recipe.toml").write_text('[balance]\nmethod = "of-tomorrow"\n')
    document = json.loads(run(halved_run, "--json"))
    assert document["held_out"]["applied"]["batches"] == 0
    assert document["held_out"]["marble"]["batches"] == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "equall"], r"unknown method 'equall' \(did you mean 'equal'"),
        (["--balancer", "single:orc"], r"unknown reward 'orc' \(did you mean 'ocr'"),
        (["page.html"], "only --html takes a second file"),
        (["--out", "kept"], "--out is for a recipe"),
        (["--batches", "3"], "--batches is for a recipe"),
        (["--html", "absent/page.html"], "no such folder: absent"),
    ],
)
def test_bad_options_get_one_line(run_dir, options, message):
    with pytest.raises(BadInputError, match=message) as caught:
        run(run_dir, *options)
    assert "\n" not in str(caught.value)


def test_what_is_no_run_directory_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"has no conflicts\.jsonl"):
        run(tmp_path)
    with pytest.raises(BadInputError, match="is no run directory"):
        run(tmp_path / "absent")


def test_neither_torch_nor_diffusers_is_imported(run_dir):
    code = (
        "import sys; from pathlib import Path; "
        "from marblecli.cli.inspect_conflicts.command import inspect_conflicts; "
        "early = {'numpy', 'pydantic', 'rich'} & set(sys.modules); "
        f"inspect_conflicts(Path({str(run_dir)!r}), html=True, as_json=True); "
        "assert not {'torch', 'diffusers', 'cvxpy', 'scipy'} & set(sys.modules); "
        "assert 'numpy' not in early, early"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_run_without_parts_has_its_gradients_to_show(train_tiny, marble, tmp_path):
    run_dir = train_tiny(tmp_path / "run", "measure.parts=false", "measure.slices_every=1")
    records = [json.loads(line) for line in (run_dir / "conflicts.jsonl").read_text().splitlines()]
    assert not any(record["parts"] or record["slices"] for record in records)
    shown = marble("inspect-conflicts", run_dir, "--html", tmp_path / "page.html", "--details")
    assert shown.code == 0, shown.err
    assert "shapes-colour" in shown.out
    assert (tmp_path / "page.html").stat().st_size > 1000
