from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

InstallPlugin = Callable[..., None]

RUN_AND_TELL = """
import json, sys
from marblecli.cli.main import main
sys.argv = ["marble", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallPlugin:
    """Install a distribution with one plugin module, for this test only."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(distribution: str, code: str, version: str = "1.0") -> None:
        module = "plugin_" + distribution.replace("-", "_")
        (site / f"{module}.py").write_text(code)
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(f"[marble]\n{distribution} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline of the real classes with random weights, as a folder."""
    import torch
    from diffusers import SD3Transformer2DModel

    from marble_reward_shapes.tiny_sd3.architecture import build_pipeline

    folder = tmp_path_factory.mktemp("tiny") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = build_pipeline()
        config = {**pipeline.transformer.config, "num_layers": 2, "attention_head_dim": 8}
        pipeline.register_modules(
            transformer=SD3Transformer2DModel.from_config({**config, "caption_projection_dim": 32})
        )
    pipeline.vae.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def run_and_tell() -> Callable[..., tuple[str, set[str]]]:
    """(arguments of marble) -> stdout, and the packages that the command's process loaded."""

    def run(*arguments: object, cwd: Path | None = None) -> tuple[str, set[str]]:
        result = subprocess.run(
            [sys.executable, "-c", RUN_AND_TELL, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=cwd,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout, set(json.loads(result.stdout.splitlines()[-1]))

    return run
