"""The plugin host: which rewards are installed, from which distribution, and what failed."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any, get_args

import pluggy
from pydantic import BaseModel, ValidationError

from marblecli.errors import (
    BadInputError,
    MarbleError,
    Problem,
    did_you_mean,
    one_of,
    validation_problems,
)
from marblecli.rewards.hub import MissingFilesError
from marblecli.rewards.spec import (
    ENTRY_POINT_GROUP,
    ImageLayout,
    RewardHooks,
    RewardSpec,
    Scorer,
)
from marblecli.settings import OWN_REWARD_KEYS

_NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


@dataclass(frozen=True)
class InstalledReward:
    """A reward and the distribution that registered it."""

    spec: RewardSpec
    distribution: str
    version: str
    module: str = ""
    """What its entry point names."""


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that couldn't be used; none of its rewards is."""

    entry_point: str
    distribution: str
    message: str

    def __str__(self) -> str:
        return f"plugin {self.entry_point!r} of {self.distribution} failed: {self.message}"


@dataclass(frozen=True)
class NameClash:
    """A name that several distributions registered; unusable until one of them is removed."""

    name: str
    claimants: tuple[InstalledReward, ...]

    def __str__(self) -> str:
        who = " and ".join(f"{one.distribution} {one.version}" for one in self.claimants)
        return f"reward {self.name!r} is registered by {who}: uninstall all but one of them"


@dataclass(frozen=True)
class RewardCatalog:
    """What is installed. Listing it loads no weights."""

    rewards: Mapping[str, InstalledReward]
    failures: tuple[PluginFailure, ...] = ()
    clashes: tuple[NameClash, ...] = ()

    def get(self, name: str) -> InstalledReward:
        """The reward of that name. Raises BadInputError if there is none that can be used.

        ``NAME_LABEL`` is the reward ``NAME`` under a name of its own, so that a recipe can use one
        reward several times.
        """
        kind, underscore, label = name.partition("_")
        if kind not in self.rewards or (underscore and not _NAME.fullmatch(label)):
            raise BadInputError(self._why_not(name))
        found = self.rewards[kind]
        return replace(found, spec=replace(found.spec, name=name)) if label else found

    def check_options(self, name: str, options: Mapping[str, Any]) -> list[Problem]:
        """What is wrong with the recipe's table ``[rewards.NAME]``."""
        try:
            schema = self.get(name).spec.options
        except BadInputError as error:
            return [Problem(f"rewards.{name}", str(error))]
        try:
            schema.model_validate(dict(options))
        except ValidationError as error:
            return validation_problems(error, schema, f"rewards.{name}.")
        return []

    def validate(self, name: str, options: Mapping[str, Any]) -> BaseModel:
        """The options as the plugin wants them. Raises BadInputError, one line a problem."""
        problems = self.check_options(name, options)
        if problems:
            raise BadInputError("\n".join(str(problem) for problem in problems))
        return self.get(name).spec.options.model_validate(dict(options))

    def build(self, name: str, options: Mapping[str, Any], device: str) -> Scorer:
        """Load the reward's weights and make its scorer.

        Raises BadInputError for an unknown reward or wrong options, and MarbleError if the plugin
        can't load.
        """
        spec = self.get(name).spec
        validated = self.validate(name, options)
        try:
            scorer = spec.build(validated, device)
        except MissingFilesError as error:
            raise MarbleError(
                f"reward {name!r}: {error}; {download_advice(name, options)}"
            ) from error
        except OSError as error:
            advice = f"; {download_advice(name, options)}" if spec.files(validated) else ""
            raise MarbleError(
                f"reward {name!r} failed to load: {one_line(error)}{advice}"
            ) from error
        except (ImportError, RuntimeError, ValueError) as error:
            raise MarbleError(f"reward {name!r} failed to load: {one_line(error)}") from error
        if not callable(scorer):
            raise MarbleError(f"reward {name!r} built {scorer!r}, which can't be called")
        return scorer

    def _why_not(self, name: str) -> str:
        for clash in self.clashes:
            if clash.name == name.partition("_")[0]:
                return str(clash)
        why = f"unknown reward {name!r}{did_you_mean(name, self.rewards)}"
        why += f"; installed: {one_of(self.rewards)}; see `marble rewards list`"
        return "; ".join([why, *(str(failure) for failure in self.failures)])


def download_advice(name: str, options: Mapping[str, Any]) -> str:
    """How to get the files that the reward, with these options, reads from the hub."""
    words = ["marble", "rewards", "download", name]
    for key, value in options.items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return (
        f"run `{shlex.join(words)}` where there is a network, or set its option to a local folder"
    )


def discover() -> RewardCatalog:
    """Load every installed plugin of the entry-point group; a broken one is recorded."""
    found: dict[str, list[InstalledReward]] = defaultdict(list)
    failures = []
    for entry in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        distribution, version = _origin(entry)
        try:
            specs = load_plugin(entry)
        # A plugin's code may raise anything, and mustn't take the others down with it.
        except Exception as error:  # noqa: BLE001
            failures.append(PluginFailure(entry.name, distribution, one_line(error)))
            continue
        for spec in specs:
            found[spec.name].append(InstalledReward(spec, distribution, version, entry.value))
    return RewardCatalog(
        rewards={name: one[0] for name, one in sorted(found.items()) if len(one) == 1},
        failures=tuple(failures),
        clashes=tuple(NameClash(n, tuple(many)) for n, many in found.items() if len(many) > 1),
    )


def _origin(entry: metadata.EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")


def load_plugin(entry: metadata.EntryPoint) -> list[RewardSpec]:
    """Import one plugin and collect what it registers; raises whatever is wrong with it."""
    # A manager for each plugin: what one does in its hook can't reach the others'.
    manager = pluggy.PluginManager("marble")
    manager.add_hookspecs(RewardHooks)
    plugin = entry.load()
    manager.register(plugin)
    manager.check_pending()
    if not manager.get_hookcallers(plugin):
        raise TypeError("it has no hook marble_register_rewards marked with @hookimpl")
    specs: list[RewardSpec] = []
    manager.hook.marble_register_rewards(register=specs.append)
    for spec in specs:
        check_spec(spec)
    twice = [name for name, count in Counter(spec.name for spec in specs).items() if count > 1]
    if twice:
        raise ValueError(f"it registers {twice[0]!r} twice")
    return specs


def check_spec(spec: Any) -> None:
    """Raise if a declaration breaks the contract of :mod:`marblecli.rewards.spec`."""
    if not isinstance(spec, RewardSpec):
        raise TypeError(f"it registers {spec!r}, which is no RewardSpec")
    layouts, (low, high) = get_args(ImageLayout), spec.range
    if not _NAME.fullmatch(spec.name):
        raise ValueError(f"reward {spec.name!r}: a name is letters, digits and dashes")
    if spec.images not in layouts:
        raise ValueError(
            f"reward {spec.name!r}: images is one of {one_of(layouts)}, got {spec.images!r}"
        )
    if not low < high:
        raise ValueError(f"reward {spec.name!r}: range must rise, got {spec.range}")
    _check_schema(spec.name, spec.options)


def _check_schema(name: str, schema: Any) -> None:
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise TypeError(f"reward {name!r}: options is a pydantic model, got {schema!r}")
    taken = OWN_REWARD_KEYS & schema.model_fields.keys()
    if taken:
        raise ValueError(f"reward {name!r}: the options {one_of(taken)} are marble's own")
    if schema.model_config.get("extra") not in ("forbid", "allow"):
        # pydantic's default drops unknown keys, and with them a user's typing errors.
        raise ValueError(f"reward {name!r}: options must forbid extra keys; derive from NoOptions")


def one_line(error: BaseException) -> str:
    """The error's type and message without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
