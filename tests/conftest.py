from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.bits import pytest_collection_modifyitems

__all__ = ["pytest_collection_modifyitems"]

InstallPlugin = Callable[..., None]

# Consoles are made when they are first imported, by whatever test that is: all are made this wide.
os.environ["COLUMNS"] = "200"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Or the workers' threads are more than there are cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

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


HUB_REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB_FILES = {"config.json": b'{"size": 1}', "model.safetensors": b"w" * 5000, "README.md": b"x"}


class _Hub(BaseHTTPRequestHandler):
    """Just what a snapshot needs of the hub's interface, for one repository."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {path}")
        if path == f"/api/models/someone/weights/tree/{HUB_REVISION}":
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": _digest(data)}
                for name, data in HUB_FILES.items()
            ]
            self._answer(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
            return
        data = HUB_FILES.get(path.removeprefix(f"/someone/weights/resolve/{HUB_REVISION}/"))
        if data is None:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            self._answer(200, data, {"ETag": f'"{_digest(data)}"', "X-Repo-Commit": HUB_REVISION})

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, with nothing in it; and a hub that nobody can reach."""
    from huggingface_hub import constants

    from marblecli.models.architectures import forget_hub_answers

    forget_hub_answers()
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture
def hub(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub with one repository; what it was asked for."""
    from huggingface_hub import constants

    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"asked": asked}))
    endpoint = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield asked
    server.shutdown()
    server.server_close()
