"""Plugins of other packages: found by their entry points; broken ones are recorded, not raised.

One entry-point group serves every kind of thing that a package can add. A plugin implements the
hook of each kind that it has, and ``register`` takes one declaration after the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Generic, Protocol, TypeVar

import pluggy
from pydantic import BaseModel, ConfigDict

ENTRY_POINT_GROUP = "marble"

hookspec = pluggy.HookspecMarker("marble")
hookimpl = pluggy.HookimplMarker("marble")


class NoOptions(BaseModel):
    """The options of a thing that has none; the base class of those that have.

    Unknown keys are refused, so that a user's typing errors are found.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Hooks:
    """The hooks that a plugin may implement; it needs at least one."""

    @hookspec
    def marble_register_rewards(self, register: Callable[[Any], None]) -> None:
        """Call ``register`` once for each reward. Must be quick and load no weights."""

    @hookspec
    def marble_register_methods(self, register: Callable[[Any], None]) -> None:
        """Call ``register`` once for each balance method. Must be quick and import no torch."""


_HOOKS = tuple(name for name in vars(Hooks) if name.startswith("marble_"))


class Named(Protocol):
    """What plugins register: something with a name."""

    @property
    def name(self) -> str:
        """What users type."""


T = TypeVar("T", bound=Named)


@dataclass(frozen=True)
class Installed(Generic[T]):
    """A declaration and the distribution that registered it."""

    spec: T
    distribution: str
    version: str
    module: str = ""
    """What its entry point names."""


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that couldn't be used; nothing that it registers is."""

    entry_point: str
    distribution: str
    message: str

    def __str__(self) -> str:
        return f"plugin {self.entry_point!r} of {self.distribution} failed: {self.message}"


@dataclass(frozen=True)
class NameClash(Generic[T]):
    """A name that several distributions registered; unusable until one of them is removed."""

    kind: str
    """``reward`` or ``method``."""
    name: str
    claimants: tuple[Installed[T], ...]

    def __str__(self) -> str:
        who = " and ".join(f"{one.distribution} {one.version}" for one in self.claimants)
        return f"{self.kind} {self.name!r} is registered by {who}: uninstall all but one of them"


def troubles_json(
    clashes: Sequence[NameClash[T]], failures: Sequence[PluginFailure]
) -> dict[str, Any]:
    """What can't be used and why, for the list commands' JSON."""
    return {
        "clashes": [
            {"name": clash.name, "distributions": [one.distribution for one in clash.claimants]}
            for clash in clashes
        ],
        "failures": [
            {
                "entry_point": failure.entry_point,
                "distribution": failure.distribution,
                "message": failure.message,
            }
            for failure in failures
        ],
    }


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of thing that plugins register."""

    name: str
    """As users read it: ``reward``, ``method``."""
    hook: str
    """The name of its hook."""
    check: Callable[[Any], T]
    """Returns a declaration that keeps the contract; raises for any other."""


@dataclass(frozen=True)
class Discovered(Generic[T]):
    """Everything of one kind that is installed."""

    things: Mapping[str, Installed[T]]
    """By name, in order."""
    failures: tuple[PluginFailure, ...]
    clashes: tuple[NameClash[T], ...]


def discover(kind: Kind[T], own: tuple[Installed[T], ...] = ()) -> Discovered[T]:
    """Ask every installed plugin for its things of one kind; ``own`` are those that we bring."""
    found: dict[str, list[Installed[T]]] = defaultdict(list)
    for thing in own:
        found[thing.spec.name].append(thing)
    failures = []
    for entry in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        distribution, version = _origin(entry)
        try:
            specs = load_plugin(entry, kind)
        # A plugin's code may raise anything, and mustn't take the others down with it.
        except Exception as error:  # noqa: BLE001 - recorded, and shown by the list commands
            failures.append(PluginFailure(entry.name, distribution, one_line(error)))
            continue
        for spec in specs:
            found[spec.name].append(Installed(spec, distribution, version, entry.value))
    return Discovered(
        things={name: one[0] for name, one in sorted(found.items()) if len(one) == 1},
        failures=tuple(failures),
        clashes=tuple(
            NameClash(kind.name, name, tuple(many)) for name, many in found.items() if len(many) > 1
        ),
    )


def load_plugin(entry: metadata.EntryPoint, kind: Kind[T]) -> list[T]:
    """Import one plugin and collect what it registers of a kind; raises whatever is wrong with it.

    A plugin that has only other kinds gives nothing.
    """
    # A manager for each plugin: what one does in its hook can't reach the others'.
    manager = pluggy.PluginManager("marble")
    manager.add_hookspecs(Hooks)
    plugin = entry.load()
    manager.register(plugin)
    manager.check_pending()
    if not manager.get_hookcallers(plugin):
        raise TypeError(f"it has no hook marked with @hookimpl: {' or '.join(_HOOKS)}")
    specs: list[Any] = []
    getattr(manager.hook, kind.hook)(register=specs.append)
    checked = [kind.check(spec) for spec in specs]
    twice = [name for name, count in Counter(spec.name for spec in checked).items() if count > 1]
    if twice:
        raise ValueError(f"it registers {twice[0]!r} twice")
    return checked


def check_schema(what: str, schema: Any, taken: frozenset[str]) -> None:
    """Raise if ``schema`` is no pydantic model that refuses unknown keys, or uses keys ``taken``.

    ``what`` names the thing whose options it describes, as in ``reward 'brightness'``.
    """
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise TypeError(f"{what}: options is a pydantic model, got {schema!r}")
    if own := sorted(taken & schema.model_fields.keys()):
        raise ValueError(f"{what}: the options {', '.join(own)} are marble's own")
    if schema.model_config.get("extra") not in ("forbid", "allow"):
        # pydantic's default drops unknown keys, and with them a user's typing errors.
        raise ValueError(f"{what}: options must forbid extra keys; derive from NoOptions")


def one_line(error: BaseException) -> str:
    """The error's type and message without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _origin(entry: metadata.EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")
