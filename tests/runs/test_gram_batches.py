from __future__ import annotations

import json

import numpy as np
import pytest

from marblecli.errors import BadInputError
from marblecli.runs import gradient_files
from marblecli.runs.gram_batches import SUFFIXES, is_many, read_gram_batches

LINE = {
    "step": 12,
    "rewards": ["ocr", "aes"],
    "valid": [4, 8],
    "norms": [1.0, 0.0],
    "gram": [[1.0, 0.0], [0.0, 0.0]],
    "simplex_weights": [1.0, 0.0],
    "coefficients": [1.0, 0.0],
    "cosines": {},
}


def test_one_file_is_one_batch(tmp_path):
    file = tmp_path / "gram.json"
    file.write_text("[[4.0]]")
    (batch,) = read_gram_batches(file)
    assert (batch.name, batch.step, batch.stats.gram.tolist()) == ("gram.json", 1, [[4.0]])
    assert not is_many(file)


def test_a_folder_is_read_in_order_of_names_and_other_files_are_left(tmp_path):
    np.save(tmp_path / "b.npy", np.eye(2))
    (tmp_path / "a.csv").write_text("ocr,aes\n2,0\n0,2\n")
    (tmp_path / "notes.txt").write_text("no Gram")
    batches = read_gram_batches(tmp_path)
    assert [(batch.name, batch.step) for batch in batches] == [("a.csv", 1), ("b.npy", 2)]
    assert batches[0].stats.names == ("ocr", "aes")
    assert is_many(tmp_path)


@pytest.mark.parametrize("of_run", [True, False])
def test_a_run_s_measured_batches(tmp_path, of_run):
    file = tmp_path / "conflicts.jsonl"
    file.write_text(json.dumps(LINE) + "\n")
    target = tmp_path if of_run else file
    (batch,) = read_gram_batches(target)
    assert (batch.name, batch.step) == ("step 12", 12)
    assert batch.stats.usable.tolist() == [True, False]
    assert is_many(target)


def test_a_folder_without_any_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"holds no conflicts\.jsonl and no Gram"):
        read_gram_batches(tmp_path)


def test_a_broken_file_of_a_folder_is_named(tmp_path):
    (tmp_path / "good.json").write_text("[[1.0]]")
    (tmp_path / "odd.json").write_text("[[1.0, 2.0]]")
    with pytest.raises(BadInputError, match=r"odd\.json: .*isn't square"):
        read_gram_batches(tmp_path)


def test_a_folder_is_searched_for_all_that_can_be_read():
    assert set(SUFFIXES) == set(gradient_files._READERS)
