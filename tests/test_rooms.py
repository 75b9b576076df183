"""The house's rules: which room may import what, who writes files, what starts without torch."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import marblecli

SOURCE = Path(marblecli.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

GROUND = {"types", "errors", "settings", "seeding"}
BATCHES = {"maths", "methods", "conflicts"}
MAY_IMPORT = {
    "__init__": set(),
    "__main__": {"cli"},
    "types": set(),
    "errors": set(),
    "settings": set(),
    "seeding": set(),
    "maths": GROUND,
    "methods": GROUND | {"maths"},
    "conflicts": GROUND | {"maths", "methods"},
    "rewards": GROUND,
    "runs": GROUND,
    "engine": GROUND,
    "models": GROUND | {"engine"},
    "planning": GROUND | {"engine", "models", "train"},
    "train": GROUND | BATCHES | {"rewards", "engine", "models"},
    "report": GROUND | BATCHES | {"runs", "engine"},
    "cli": GROUND
    | BATCHES
    | {"rewards", "runs", "engine", "models", "planning", "train", "report"},
}
"""By room or ground file; a room may always import itself."""

MODEL_LIBRARIES = {"accelerate", "diffusers", "peft", "transformers"}
UNSAFE = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
WRITES = {
    "dump",
    "makedirs",
    "mkdir",
    "open",
    "rmdir",
    "rmtree",
    "save",
    "save_file",
    "save_pretrained",
    "savez",
    "tofile",
    "touch",
    "unlink",
    "write_bytes",
    "write_text",
}

TESTED_BY = {
    "__main__.py": "cli/test_launch.py",
    "cli/eval.py": "cli/test_evaluation.py",
    "cli/inspecting.py": "cli/test_inspect_conflicts.py",
    "cli/solving.py": "cli/test_solve.py",
    "cli/train.py": "cli/test_training.py",
    "rewards/__init__.py": "rewards/test_spec.py",
    "settings.py": "runs/test_recipe.py",
}
"""Modules whose test has another name."""
WITHOUT_TEST = {"types.py"}
"""Dataclasses without behaviour."""


def room(module: Path) -> str:
    return module.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything imported anywhere in the tree, also late or for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def own_rooms(tree: ast.AST) -> set[str]:
    parts = (name.split(".") for name in imported(tree))
    return {part[1] for part in parts if part[0] == "marblecli"}


def libraries(tree: ast.AST) -> set[str]:
    return {name.split(".")[0] for name in imported(tree)}


def writing_calls(tree: ast.AST) -> set[str]:
    """Names of the calls by which files are opened, made or removed."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    calls = (node.func for node in nodes if not _in_memory(node))
    names = {call.id if isinstance(call, ast.Name) else _method(call) for call in calls}
    return names & WRITES


def _in_memory(call: ast.Call) -> bool:
    """Whether the call's file is a ``BytesIO(...)``, or one that is named ``buffer``."""
    file = call.args[0] if call.args else None
    made = isinstance(file, ast.Call) and isinstance(file.func, ast.Name)
    return (made and file.func.id == "BytesIO") or (
        isinstance(file, ast.Name) and file.id == "buffer"
    )


def _method(call: ast.expr) -> str:
    if not isinstance(call, ast.Attribute):
        return ""
    # RunStore is how the commands reach the files.
    ours = isinstance(call.value, ast.Name) and call.value.id == "RunStore"
    return "" if ours else call.attr


def parse(module: Path) -> ast.AST:
    return ast.parse(module.read_text(encoding="utf-8"))


each_module = pytest.mark.parametrize(
    "module", MODULES, ids=[str(module.relative_to(SOURCE)) for module in MODULES]
)


@each_module
def test_a_room_imports_only_what_stands_below_it(module: Path) -> None:
    here = room(module)
    assert own_rooms(parse(module)) - {here} <= MAY_IMPORT[here]


@each_module
def test_only_the_lower_rooms_know_the_model_libraries(module: Path) -> None:
    if room(module) not in {"train", "engine", "models"}:
        assert not libraries(parse(module)) & MODEL_LIBRARIES


@each_module
def test_only_runs_writes_files(module: Path) -> None:
    if room(module) not in {"runs", "report"}:
        assert not writing_calls(parse(module))


@each_module
def test_nothing_that_runs_code_on_reading_is_imported(module: Path) -> None:
    assert not libraries(parse(module)) & UNSAFE


@each_module
def test_every_module_has_its_test(module: Path) -> None:
    place = module.relative_to(SOURCE)
    empty = place.name == "__init__.py" and len(parse(module).body) <= 1
    if empty or place.as_posix() in WITHOUT_TEST:
        return
    test = TESTED_BY.get(place.as_posix(), place.with_name(f"test_{place.name}").as_posix())
    assert (TESTS / test).is_file(), f"{place} wants tests/{test}"


def test_exceptions_from_the_naming_are_needed() -> None:
    for place in map(Path, TESTED_BY):
        assert (SOURCE / place).is_file()
        assert not (TESTS / place.with_name(f"test_{place.name}")).exists()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from marblecli.models.policies import Policies", "models"),
        ("import marblecli.cli.main", "cli"),
        ("from marblecli import runs", "runs"),
        ("def late():\n    import marblecli.maths.gram", "maths"),
    ],
)
def test_imports_are_seen_in_every_form(code: str, found: str) -> None:
    assert own_rooms(ast.parse(code)) == {found}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open('a', 'w')", {"open"}),
        ("path.open('w')", {"open"}),
        ("Path('a').mkdir()", {"mkdir"}),
        ("torch.save(weights, path)", {"save"}),
        ("RunStore.open(path)", set()),
        ("Image.open(BytesIO(data))", set()),
        ("image.save(buffer, format='png')", set()),
        ("image.save(path, buffer)", {"save"}),
        ("text.replace('a', 'b')", set()),
    ],
)
def test_writing_is_seen_in_every_form(code: str, found: set[str]) -> None:
    assert writing_calls(ast.parse(code)) == found


RunAndTell = Callable[..., tuple[str, set[str]]]
HEAVY = MODEL_LIBRARIES | {"torch"}


def test_help_loads_no_numbers_at_all(run_and_tell: RunAndTell) -> None:
    assert not run_and_tell("--help")[1] & (HEAVY | {"numpy", "scipy", "cvxpy", "pydantic"})


def test_solve_loads_no_torch(run_and_tell: RunAndTell, tmp_path: Path) -> None:
    gram = tmp_path / "gram.json"
    gram.write_text('{"names": ["ocr", "geneval"], "gram": [[1.0, -0.2], [-0.2, 4.0]]}')
    assert not run_and_tell("solve", gram)[1] & HEAVY


def test_inspect_conflicts_loads_no_torch(run_and_tell: RunAndTell, tmp_path: Path) -> None:
    record = {
        "step": 1,
        "rewards": ["ocr", "geneval"],
        "valid": [4, 8],
        "norms": [1.0, 2.0],
        "gram": [[1.0, -0.2], [-0.2, 4.0]],
        "simplex_weights": [0.5, 0.5],
        "coefficients": [0.75, 0.375],
        "cosines": {"applied": [0.67, 0.67]},
    }
    (tmp_path / "conflicts.jsonl").write_text(json.dumps(record) + "\n")
    assert not run_and_tell("inspect-conflicts", str(tmp_path))[1] & HEAVY


def test_listing_rewards_loads_no_torch(run_and_tell: RunAndTell) -> None:
    assert not run_and_tell("rewards", "list")[1] & HEAVY
