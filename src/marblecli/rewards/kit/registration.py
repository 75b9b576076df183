"""Register a plugin alone in a new process: how long it takes, and what it loads and opens.

``python -m marblecli.rewards.kit.registration MODULE`` prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from marblecli.errors import MarbleError
from marblecli.rewards.host import load_plugin
from marblecli.rewards.spec import ENTRY_POINT_GROUP

HEAVY = frozenset(
    {
        "accelerate",
        "cv2",
        "diffusers",
        "jax",
        "onnxruntime",
        "open_clip",
        "peft",
        "scipy",
        "sklearn",
        "tensorflow",
        "timm",
        "torch",
        "torchvision",
        "transformers",
    }
)
"""Libraries that take long to import, or take a lot of memory."""
_WEIGHTS = frozenset({".bin", ".ckpt", ".gguf", ".onnx", ".pt", ".pth", ".safetensors"})
_TIMEOUT = 120.0


@dataclass(frozen=True)
class Registration:
    """What one plugin does while it is registered, without what marble itself had loaded."""

    seconds: float
    heavy: tuple[str, ...]
    """The libraries of ``HEAVY`` that it imported."""
    weights: tuple[str, ...]
    """Files of weights that it opened."""
    hosts: tuple[str, ...]
    """The hosts that it tried to connect to."""


def register_alone(module: str) -> Registration:
    """Import and register the plugin in a new process. Raises MarbleError if that fails."""
    # The new process has to find the same packages as this one.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(  # noqa: S603 - runs this module with the name of an entry point
            [sys.executable, "-m", __spec__.name, module],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MarbleError(f"{module} isn't registered after {_TIMEOUT:g} s") from error
    if done.returncode != 0:
        raise MarbleError(f"{module}: {(done.stderr.splitlines() or ['no reason given'])[-1]}")
    # The plugin may have printed lines before.
    found = json.loads(done.stdout.splitlines()[-1])
    return Registration(found["seconds"], *(tuple(found[k]) for k in ("heavy", "weights", "hosts")))


def _register_here(module: str) -> Registration:
    weights: list[str] = []
    hosts: list[str] = []
    loaded = set(sys.modules)
    sys.addaudithook(_watch(weights, hosts))
    started = time.perf_counter()
    load_plugin(EntryPoint(name=module, value=module, group=ENTRY_POINT_GROUP))
    seconds = time.perf_counter() - started
    heavy = HEAVY & (sys.modules.keys() - loaded)
    return Registration(seconds, tuple(sorted(heavy)), tuple(weights), tuple(hosts))


def _watch(weights: list[str], hosts: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and Path(str(arguments[0])).suffix in _WEIGHTS:
            weights.append(str(arguments[0]))
        elif event == "socket.connect":
            hosts.append(str(arguments[1]))
        elif event == "socket.getaddrinfo":
            hosts.append(str(arguments[0]))

    return hook


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_register_here(sys.argv[1]))) + "\n")
