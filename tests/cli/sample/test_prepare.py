from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from marblecli.cli.sample.prepare import SampleRequest, prepare
from marblecli.cli.target import TargetOptions
from marblecli.errors import BadInputError, RecipeError


@pytest.fixture
def request_(finished_run: Path) -> SampleRequest:
    return SampleRequest(
        target=str(finished_run),
        texts=("a cat",),
        prompt_file=None,
        seeds=(),
        images=1,
        steps=None,
        size=None,
        guidance=1.0,
        negative="",
        with_base=False,
        options=TargetOptions(),
    )


def test_what_isnt_said_is_the_recipes(request_: SampleRequest) -> None:
    job = prepare(request_)
    assert (job.steps, job.width, job.height, job.seeds) == (2, 32, 32, (0,))


def test_prompts_come_from_both_places_and_each_is_drawn_once(
    request_: SampleRequest, tmp_path: Path
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("a dog\na cat\n")
    job = prepare(replace(request_, texts=(" a cat ", "a bird"), prompt_file=file))
    assert job.prompts == ("a cat", "a bird", "a dog")


@pytest.mark.parametrize(
    ("seeds", "images", "wanted"),
    [((), 3, (0, 1, 2)), ((5,), 2, (5, 6)), ((5, 1, 5), 1, (5, 1))],
)
def test_seeds_count_up_from_one_or_are_listed(
    request_: SampleRequest, seeds: tuple[int, ...], images: int, wanted: tuple[int, ...]
) -> None:
    assert prepare(replace(request_, seeds=seeds, images=images)).seeds == wanted


def test_a_larger_image_makes_the_batch_smaller(request_: SampleRequest) -> None:
    size = prepare(request_).recipe.sampling.batch_size
    assert size == 6
    wide = prepare(replace(request_, size="32x16"))
    assert (wide.width, wide.height) == (32, 16)
    assert wide.recipe.sampling.batch_size == 12


def test_all_faults_of_the_options_are_told_at_once(request_: SampleRequest) -> None:
    bad = replace(
        request_, texts=(), size="big", seeds=(1, 2), images=2, negative="blur", target="nowhere"
    )
    with pytest.raises(BadInputError) as error:
        prepare(bad)
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    for line, words in zip(lines, ("--prompts", "512x768", "--images", "--guidance"), strict=True):
        assert words in line


def test_an_empty_prompt_is_refused(request_: SampleRequest) -> None:
    with pytest.raises(BadInputError, match="a prompt is empty"):
        prepare(replace(request_, texts=("a cat", " ")))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("40x40", r"--size: must be a multiple of 8 and at most 32 .* got 40; the nearest"),
        ("32x20", r"--size: the height must be a multiple of 8 .* got 20"),
        ("4096x4096", r"--size: .*4096"),
    ],
)
def test_a_size_that_the_model_cant_draw_is_refused_before_it_loads(
    request_: SampleRequest, size: str, message: str
) -> None:
    with pytest.raises((BadInputError, RecipeError), match=message):
        prepare(replace(request_, size=size))


def test_a_prompt_that_is_certainly_cut_off_is_told(
    request_: SampleRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(request_)
    assert not capfd.readouterr().err
    prepare(replace(request_, texts=("word " * 300,)))
    assert "300 words" in capfd.readouterr().err
