"""The house's rules: which room may import what, who writes files, what starts without torch."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import marblecli
import marblecli.errors
import marblecli.rewards
import marblecli.rewards.testing
from marblecli.methods.host import own_methods

SOURCE = Path(marblecli.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
PLUGINS = TESTS.parent / "plugins"
PLUGIN_MODULES = sorted(PLUGINS.glob("*/src/**/*.py"))

GROUND = {"types", "errors", "settings", "seeding", "plugins", "progress"}
BATCHES = {"maths", "methods", "conflicts"}
MAY_IMPORT = {
    "__init__": set(),
    "__main__": {"cli"},
    "types": set(),
    "errors": set(),
    "settings": set(),
    "plugins": set(),
    "seeding": set(),
    "progress": {"errors"},
    "maths": GROUND,
    "methods": GROUND | {"maths"},
    "conflicts": GROUND | {"maths", "methods"},
    "rewards": GROUND,
    "pictures": GROUND,
    "runs": GROUND | {"methods", "conflicts", "pictures"},
    "engine": GROUND,
    "models": GROUND | {"engine"},
    "planning": GROUND | {"methods", "engine", "models", "train"},
    "train": GROUND | BATCHES | {"rewards", "engine", "models"},
    "export": GROUND | {"maths", "engine", "models"},
    "report": GROUND | BATCHES | {"engine", "pictures"},
    "lab": GROUND | BATCHES | {"runs", "report"},
    "cli": GROUND
    | BATCHES
    | {"rewards", "runs", "engine", "models", "planning", "train", "export", "report", "pictures"}
    | {"lab"},
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
    "cli/eval/command.py": "cli/eval/test_run.py",
    "cli/eval/prepare.py": "cli/eval/test_run.py",
    "cli/export/command.py": "cli/export/test_run.py",
    "export/format.py": "export/test_formats.py",
    "models/diffusers_files.py": "export/test_diffusers_format.py",
    "cli/inspect_conflicts/run.py": "cli/inspect_conflicts/test_command.py",
    "cli/report/command.py": "cli/report/test_write.py",
    "cli/sample/command.py": "cli/sample/test_run.py",
    "cli/solve/run.py": "cli/solve/test_command.py",
    "cli/train/command.py": "cli/train/test_run.py",
    "train/gradients/plain.py": "train/gradients/test_reward_gradients.py",
    "train/gradients/micro_step.py": "train/gradients/test_reward_gradients.py",
    "maths/qp/cvxpy_solvers.py": "maths/qp/test_solvers.py",
    "maths/qp/exact.py": "maths/qp/test_solvers.py",
    "maths/qp/faces.py": "maths/qp/test_solvers.py",
    "maths/qp/pivoting.py": "maths/qp/test_solvers.py",
    "maths/qp/problem.py": "maths/qp/test_solvers.py",
    "maths/qp/wolfe.py": "maths/qp/test_solvers.py",
    "methods/__init__.py": "methods/test_host.py",
    "methods/builtin.py": "methods/test_host.py",
    "methods/equal.py": "methods/test_schedule.py",
    "methods/gdpo.py": "methods/test_advantage_sum.py",
    "methods/marble.py": "methods/test_schedule.py",
    "methods/method.py": "methods/test_testing.py",
    "methods/raw_sum.py": "methods/test_advantage_sum.py",
    "methods/sequential.py": "methods/test_schedule.py",
    "methods/single.py": "methods/test_schedule.py",
    "methods/weighted_sum.py": "methods/test_schedule.py",
    "rewards/__init__.py": "rewards/test_spec.py",
    "settings/__init__.py": "runs/test_recipe.py",
    "settings/balance.py": "runs/test_recipe.py",
    "settings/model.py": "runs/test_recipe.py",
    "settings/recipe.py": "runs/test_recipe.py",
    "settings/rewards.py": "runs/test_recipe.py",
    "settings/table.py": "runs/test_recipe.py",
    "settings/training.py": "runs/test_recipe.py",
}
"""Modules whose test has another name."""
WITHOUT_TEST = {
    "cli/options.py",
    "models/dtypes.py",
    "models/licence.py",
    "models/native.py",
    "train/recorder.py",
}
"""Tables and protocols without behaviour."""


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
    # Run is how the commands read a run's files.
    ours = isinstance(call.value, ast.Name) and call.value.id == "Run"
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
def test_only_models_knows_the_model_libraries(module: Path) -> None:
    """But for accelerate, which starts processes, makes modules without weights, and has the
    trackers that a run is recorded by; and for transformers' schedules of the learning rate."""
    allowed = {"models": MODEL_LIBRARIES, "engine": {"accelerate"}, "train": {"accelerate"}}
    if module == SOURCE / "runs" / "tracking.py":
        allowed["runs"] = {"accelerate"}
    if module == SOURCE / "engine" / "optimizer.py":
        allowed["engine"] = {"accelerate", "transformers"}
    used = libraries(parse(module)) & MODEL_LIBRARIES
    assert used <= allowed.get(room(module), set())


def test_the_guide_tells_the_same_rules() -> None:
    """CONTRIBUTING has them as a table, of the rooms alone."""
    guide = (TESTS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = (line.split("|") for line in guide.splitlines() if line.startswith("| `"))
    told = {row[1].strip(" `/"): row[3] for row in rows if row[1].strip().endswith("/`")}
    rooms = MAY_IMPORT.keys() - GROUND - {"__init__", "__main__"}
    assert told.keys() == rooms
    assert told.pop("cli").strip() == "all"
    for name, allowed in told.items():
        assert set(re.findall(r"`(\w+)`", allowed)) == MAY_IMPORT[name] - GROUND


def test_a_family_is_known_in_its_own_folder_only() -> None:
    """The registry lists the families; nothing else of the program imports one."""
    families = {folder.name for folder in (SOURCE / "models").iterdir() if folder.is_dir()}
    families -= {"__pycache__"}
    for module in MODULES:
        place = module.relative_to(SOURCE)
        listed = place.as_posix() == "models/registry.py"
        if listed or place.parts[:2] in {("models", name) for name in families}:
            continue
        for name in imported(parse(module)):
            parts = name.split(".")
            assert not (parts[:2] == ["marblecli", "models"] and set(parts[2:3]) & families)


@each_module
def test_only_runs_writes_files(module: Path) -> None:
    if room(module) != "runs":
        assert not writing_calls(parse(module))


PLUGINS_MAY_IMPORT = {
    "marblecli.errors": vars(marblecli.errors).keys(),
    "marblecli.rewards": set(marblecli.rewards.__all__),
    "marblecli.rewards.testing": set(marblecli.rewards.testing.__all__),
}
"""By module, the names that a plugin may take from it."""


def outside_the_contract(tree: ast.AST) -> set[str]:
    """What a plugin imports of marblecli and isn't promised to plugins."""
    places = (name.rpartition(".") for name in imported(tree))
    return {
        f"{module}.{name}".strip(".")
        for module, _, name in places
        if f"{module}.{name}".strip(".").split(".")[0] == "marblecli"
        and name not in PLUGINS_MAY_IMPORT.get(module, ())
    }


@pytest.mark.parametrize(
    "module", PLUGIN_MODULES, ids=[str(module.relative_to(PLUGINS)) for module in PLUGIN_MODULES]
)
def test_plugins_import_only_what_they_are_promised(module: Path) -> None:
    assert not outside_the_contract(parse(module))


def test_a_new_plugin_imports_only_what_it_is_promised() -> None:
    template = SOURCE / "runs" / "templates" / "reward" / "plugin.py.txt"
    imports = [line for line in template.read_text().splitlines() if line.startswith("from marble")]
    assert len(imports) == 1
    assert not outside_the_contract(ast.parse(imports[0]))


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from marblecli.rewards import RewardSpec", set()),
        ("from marblecli.rewards.testing import check_reward", set()),
        ("from marblecli.errors import BadInputError", set()),
        ("import numpy", set()),
        ("from marblecli.rewards import host", {"marblecli.rewards.host"}),
        ("from marblecli.rewards.spec import Register", {"marblecli.rewards.spec.Register"}),
        ("def late():\n    import marblecli.runs.prompts", {"marblecli.runs.prompts"}),
        ("import marblecli", {"marblecli"}),
        ("from marblecli import runs", {"marblecli.runs"}),
    ],
)
def test_what_isnt_promised_is_seen_in_every_form(code: str, found: set[str]) -> None:
    assert outside_the_contract(ast.parse(code)) == found


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
        ("Run.open(path)", set()),
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
    loaded = run_and_tell("inspect-conflicts", str(tmp_path))[1]
    assert not loaded & (HEAVY | {"scipy", "cvxpy", "jinja2", "matplotlib"})


def test_listing_methods_loads_no_torch(run_and_tell: RunAndTell) -> None:
    assert not run_and_tell("methods", "list")[1] & HEAVY


METHOD_NAMES = {name for one in own_methods() for name in (one.spec.name, *one.spec.aliases)}


def compared_names(tree: ast.AST) -> set[str]:
    """Text constants that something is compared with, or looked up among."""
    sides = [
        side
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
    ]
    patterns = [node.value for node in ast.walk(tree) if isinstance(node, ast.MatchValue)]
    constants = (part for side in (*sides, *patterns) for part in ast.walk(side))
    return {
        part.value
        for part in constants
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


@each_module
def test_no_method_is_told_by_its_name_outside_its_file(module: Path) -> None:
    if module.parent.name != "methods":
        assert not compared_names(parse(module)) & METHOD_NAMES


@pytest.mark.parametrize(
    "code",
    [
        "if name == 'marble': pass",
        "if method in ('equal', 'x'): pass",
        "kind = [m for m in ms if m.name != 'single']",
        "match name:\n    case 'upgrad': pass",
    ],
)
def test_comparisons_with_a_name_are_seen_in_every_form(code: str) -> None:
    assert compared_names(ast.parse(code)) & METHOD_NAMES


def test_listing_rewards_loads_no_torch(run_and_tell: RunAndTell) -> None:
    assert not run_and_tell("rewards", "list")[1] & HEAVY
