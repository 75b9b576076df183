from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from marblecli.models.architectures import UnreadableConfigError, folder_architecture
from marblecli.models.configurations import Architecture, Source, folder_source, shipped_parts
from marblecli.models.sd3.family import SD3

TINY = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("vae/config.json", None, "No such file"),
        ("vae/config.json", "{", "isn't JSON"),
        ("transformer/config.json", "[]", "holds no table"),
    ],
)
def test_a_part_that_cant_be_read_is_named(
    tmp_path: Path, file: str, text: str | None, reason: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(UnreadableConfigError, match=reason) as caught:
        folder_architecture(folder)
    assert file in str(caught.value)


def test_a_source_is_any_function_from_file_to_text() -> None:
    files = {"a/config.json": '{"size": 1}', "b/config.json": '{"size": 2}'}
    source = Source("someone/made", files.__getitem__)
    index = {"a": ["library", "Class"], "b": [None, None]}
    found = source.architecture(index, {"a": "a/config.json", "b": "b/config.json"})
    assert found == Architecture("someone/made", index, {"a": {"size": 1}})
    # A part that the index says nothing of is taken to be there.
    assert source.architecture({}, {"b": "b/config.json"}).parts == {"b": {"size": 2}}


def test_files_are_shown_where_a_user_finds_them(tmp_path: Path) -> None:
    assert Architecture(str(tmp_path), {}, {}).place("a.json") == str(tmp_path / "a.json")
    assert Architecture("a/b", {}, {}).place("a.json") == "a.json of a/b"


def test_what_isnt_text_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableConfigError, match="isn't text"):
        folder_source(tmp_path).config("a.json")


def test_a_models_own_configuration_comes_before_the_common_one() -> None:
    parts = shipped_parts("marblecli.models.sd3", "sd3.5-large", SD3.spec.parts)
    assert parts["transformer"]["num_layers"] == 38
    assert parts["vae"]["latent_channels"] == 16
    assert parts.keys() == SD3.spec.parts.keys()
