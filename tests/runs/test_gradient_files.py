from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from marblecli.errors import BadInputError
from marblecli.runs import gradient_files
from marblecli.runs.gradient_files import read_gradient_stats

GRAM = [[1.0, -0.5], [-0.5, 4.0]]


def test_json_with_names(tmp_path):
    file = tmp_path / "gram.json"
    file.write_text(json.dumps({"names": ["ocr", "geneval"], "gram": GRAM, "more": 1}))
    stats = read_gradient_stats(file)
    assert stats.names == ("ocr", "geneval")
    assert stats.gram.tolist() == GRAM
    assert stats.usable.tolist() == [True, True]


def test_every_bare_matrix_reads_the_same(tmp_path):
    (tmp_path / "gram.json").write_text(json.dumps(GRAM))
    (tmp_path / "gram.csv").write_text("1,-0.5\n -0.5, 4.0 \n\n")
    np.save(tmp_path / "gram.npy", np.array(GRAM, dtype=np.float32))
    for name in ("gram.json", "gram.csv", "gram.npy"):
        stats = read_gradient_stats(tmp_path / name)
        assert stats.names == ("reward-1", "reward-2")
        assert stats.gram.tolist() == GRAM


def test_csv_with_a_row_of_names(tmp_path):
    file = tmp_path / "gram.csv"
    file.write_text("ocr, geneval\n1,-0.5\n-0.5,4\n")
    stats = read_gradient_stats(file)
    assert stats.names == ("ocr", "geneval")
    assert stats.gram.tolist() == GRAM


def test_a_zero_gradient_is_not_usable(tmp_path):
    file = tmp_path / "gram.json"
    file.write_text("[[0, 0], [0, 4]]")
    assert read_gradient_stats(file).usable.tolist() == [False, True]


def gradients(count=3, size=1000, seed=0):
    rng = np.random.default_rng(seed)
    return {f"r{k}": rng.normal(size=size).astype(np.float32) for k in range(count)}


def expected_gram(tensors):
    stacked = np.stack([np.asarray(tensor, dtype=np.float64).ravel() for tensor in tensors])
    return stacked @ stacked.T


@pytest.mark.parametrize("chunk", [7, 1000, 2**18])
def test_one_tensor_a_reward_whatever_the_chunk(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(gradient_files, "CHUNK", chunk)
    file = tmp_path / "gradients.safetensors"
    tensors = gradients()
    safetensors.numpy.save_file(tensors, file)
    stats = read_gradient_stats(file)
    assert stats.names == ("r0", "r1", "r2")
    np.testing.assert_allclose(stats.gram, expected_gram(tensors.values()), rtol=1e-13, atol=1e-11)


def test_parameters_of_a_reward_are_joined_by_name(tmp_path):
    file = tmp_path / "gradients.safetensors"
    parts = {
        "a/down": np.array([[1.0, 2.0]]),
        "a/up/0": np.array([3.0]),
        "b/down": np.array([[0.0, 1.0]]),
        "b/up/0": np.array([-1.0]),
    }
    safetensors.numpy.save_file(parts, file, metadata={"format": "np"})
    stats = read_gradient_stats(file)
    assert stats.names == ("a", "b")
    assert stats.gram.tolist() == [[14.0, -1.0], [-1.0, 2.0]]


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str
)
def test_every_float_type_is_read_exactly(tmp_path, dtype):
    file = tmp_path / "gradients.safetensors"
    tensors = {name: torch.from_numpy(values).to(dtype) for name, values in gradients().items()}
    safetensors.torch.save_file(tensors, file)
    expected = expected_gram([tensor.double().numpy() for tensor in tensors.values()])
    np.testing.assert_allclose(read_gradient_stats(file).gram, expected, rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_named(tmp_path, bad):
    file = tmp_path / "gradients.safetensors"
    tensors = gradients()
    tensors["r1"][123] = bad
    safetensors.numpy.save_file(tensors, file)
    with pytest.raises(BadInputError, match="the gradient of 'r1' has NaN or infinite entries"):
        read_gradient_stats(file)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"a": np.zeros(3), "b": np.zeros(4)},
            r"different sizes: 'a' has shape \[3\], 'b' \[4\]",
        ),
        (
            {"a/p": np.zeros(3), "b/p": np.zeros((3, 1))},
            r"different sizes in 'p': 'a' has shape \[3\], 'b' \[3, 1\]",
        ),
        (
            {"a/p": np.zeros(3), "a/q": np.zeros(1), "b/p": np.zeros(3)},
            "different sizes: 'a/q' has no counterpart in 'b'",
        ),
        ({"a": np.zeros(3, dtype=np.int64)}, "'a' is of type I64; there are: BF16, F16, F32, F64"),
        ({}, "holds no tensor"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(tmp_path, tensors, message):
    file = tmp_path / "gradients.safetensors"
    safetensors.numpy.save_file(tensors, file)
    with pytest.raises(BadInputError, match=message):
        read_gradient_stats(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gram.json", "[[1, 2]]", r"isn't square: its shape is \[1, 2\]"),
        ("gram.json", "[[1, 2], [3]]", "rows of numbers, all of the same length"),
        ("gram.json", '[["x"]]', "rows of numbers"),
        ("gram.json", "[1, 2]", "isn't square"),
        ("gram.json", "[]", "empty"),
        ("gram.json", "[[1, 2]", "isn't JSON"),
        ("gram.json", '{"names": ["a"]}', 'has no "gram"'),
        ("gram.json", '{"names": ["a"], "gram": [[1, 0], [0, 1]]}', "2 different names"),
        ("gram.json", '{"names": ["a", "a"], "gram": [[1, 0], [0, 1]]}', "2 different names"),
        ("gram.json", '{"names": [1], "gram": [[1]]}', "must be a list of strings"),
        ("gram.csv", "a,b\n1,2\n", "isn't square"),
        ("gram.csv", "", "empty"),
        ("gram.npy", "no array", r"isn't a \.npy file of numbers"),
        ("gram.safetensors", "no tensors", "isn't a safetensors file"),
        ("gram.txt", "1", "can't read .txt; there are: .csv, .json, .npy, .safetensors"),
    ],
)
def test_files_that_cannot_be_used_get_one_line_that_names_them(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(BadInputError, match=message) as caught:
        read_gradient_stats(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_arrays_are_refused(tmp_path):
    file = tmp_path / "gram.npy"
    np.save(file, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(BadInputError, match=r"isn't a \.npy file of numbers"):
        read_gradient_stats(file)


@pytest.mark.parametrize("name", ["gram.json", "gradients.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(BadInputError, match="no such file"):
        read_gradient_stats(tmp_path / name)
