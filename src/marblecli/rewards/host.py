"""The plugin host: which rewards are installed, from which distribution, and what failed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from marblecli import plugins
from marblecli.errors import (
    BadInputError,
    MarbleError,
    Problem,
    did_you_mean,
    one_of,
    validation_problems,
)
from marblecli.plugins import (
    Installed,
    Kind,
    NameClash,
    PluginFailure,
    check_schema,
    one_line,
)
from marblecli.rewards.hub import MissingFilesError
from marblecli.rewards.known import install_command, package_of
from marblecli.rewards.places import describe_fault
from marblecli.rewards.spec import ImageLayout, RewardSpec, Scorer
from marblecli.settings import OWN_REWARD_KEYS

_NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


InstalledReward = Installed[RewardSpec]
"""A reward and the distribution that registered it."""


@dataclass(frozen=True)
class RewardCatalog:
    """What is installed. Listing it loads no weights."""

    rewards: Mapping[str, InstalledReward]
    failures: tuple[PluginFailure, ...] = ()
    clashes: tuple[NameClash[RewardSpec], ...] = ()

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
            raise MarbleError(
                f"reward {name!r} failed to load: {describe_fault(error, spec.build)}"
            ) from error
        if not callable(scorer):
            raise MarbleError(f"reward {name!r} built {scorer!r}, which can't be called")
        return scorer

    def _why_not(self, name: str) -> str:
        kind = name.partition("_")[0]
        for clash in self.clashes:
            if clash.name == kind:
                return str(clash)
        # A plugin's message names the reward whose declaration is wrong.
        if causes := [str(one) for one in self.failures if f"reward {kind!r}" in one.message]:
            return f"reward {kind!r} can't be used: {'; '.join(causes)}"
        if (package := package_of(kind)) and not self.failures:
            return (
                f"{kind!r} is in the package {package}, which isn't installed; install it with: "
                f"{install_command(package)}"
            )
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
    found = plugins.discover(REWARDS)
    return RewardCatalog(found.things, found.failures, found.clashes)


def load_plugin(entry: metadata.EntryPoint) -> list[RewardSpec]:
    """Import one plugin and collect its rewards; raises whatever is wrong with it."""
    return plugins.load_plugin(entry, REWARDS)


def check_spec(spec: Any) -> RewardSpec:
    """The declaration; raises if it breaks the contract of :mod:`marblecli.rewards.spec`."""
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
    check_schema(f"reward {spec.name!r}", spec.options, OWN_REWARD_KEYS)
    return spec


REWARDS = Kind("reward", "marble_register_rewards", check_spec)
