"""Which balance methods are installed, from which distribution, and what failed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, get_args, get_type_hints

from marblecli.errors import BadInputError, did_you_mean, one_of
from marblecli.methods.builtin import marble_register_methods
from marblecli.methods.method import MethodSpec, Needs
from marblecli.plugins import (
    Installed,
    Kind,
    NameClash,
    PluginFailure,
    check_schema,
    discover,
)
from marblecli.settings import OWN_BALANCE_KEYS

_DISTRIBUTION = "marblecli"
_NAME = re.compile(r"[A-Za-z0-9]+([-:][A-Za-z0-9]+)*")


@dataclass(frozen=True)
class MethodCatalog:
    """What is installed."""

    methods: Mapping[str, Installed[MethodSpec]]
    failures: tuple[PluginFailure, ...] = ()
    clashes: tuple[NameClash[MethodSpec], ...] = ()

    def get(self, name: str) -> MethodSpec:
        """The method of that name, or of that alias. Raises BadInputError, which lists them."""
        for installed in self.methods.values():
            if name in (installed.spec.name, *installed.spec.aliases):
                return installed.spec
        for clash in self.clashes:
            if clash.name == name:
                raise BadInputError(str(clash))
        why = f"unknown method {name!r}{did_you_mean(name, self.names())}"
        why += f"; there are: {one_of(self.names())}"
        raise BadInputError("; ".join([why, *map(str, self.failures)]))

    def names(self) -> tuple[str, ...]:
        """Every name, aliases included."""
        specs = [installed.spec for installed in self.methods.values()]
        return tuple(name for spec in specs for name in (spec.name, *spec.aliases))

    def with_option(self, key: str) -> tuple[MethodSpec, ...]:
        """The methods that have an option of that name."""
        specs = [installed.spec for installed in self.methods.values()]
        return tuple(spec for spec in specs if key in spec.options.model_fields)


@cache
def own_methods() -> tuple[Installed[MethodSpec], ...]:
    """The methods that come with marble."""
    specs: list[MethodSpec] = []
    marble_register_methods(specs.append)
    version = metadata.version(_DISTRIBUTION)
    return tuple(Installed(check_spec(spec), _DISTRIBUTION, version) for spec in specs)


def discover_methods() -> MethodCatalog:
    """Ours and those of every installed plugin; a broken plugin is recorded."""
    found = discover(METHODS, own_methods())
    return MethodCatalog(found.things, found.failures, found.clashes)


def find_method(name: str) -> MethodSpec:
    """The method of that name or alias; plugins are loaded only if it isn't one of ours.

    Raises BadInputError, which lists the methods.
    """
    own = MethodCatalog({one.spec.name: one for one in own_methods()})
    return own.get(name) if name in own.names() else discover_methods().get(name)


def check_spec(spec: Any) -> MethodSpec:
    """The declaration; raises if it breaks the contract of :mod:`marblecli.methods.method`."""
    if not isinstance(spec, MethodSpec):
        raise TypeError(f"it registers {spec!r}, which is no MethodSpec")
    for name in (spec.name, *spec.aliases):
        if not _NAME.fullmatch(name):
            raise ValueError(f"method {name!r}: a name is letters, digits, dashes and colons")
    rows = get_args(get_type_hints(Needs)["rows"])
    if spec.needs.rows not in rows:
        raise ValueError(
            f"method {spec.name!r}: needs.rows is one of {one_of(rows)}, got {spec.needs.rows!r}"
        )
    if spec.needs.signal and not spec.needs.parts:
        raise ValueError(f"method {spec.name!r}: needs.signal goes with needs.parts")
    check_schema(f"method {spec.name!r}", spec.options, OWN_BALANCE_KEYS)
    if spec.shorthand and spec.shorthand not in spec.options.model_fields:
        raise ValueError(f"method {spec.name!r}: it has no option {spec.shorthand!r}")
    return spec


METHODS = Kind("method", "marble_register_methods", check_spec)
