from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
import typer.core
import typer.main

from marblecli.cli.examples import EXAMPLES, examples
from marblecli.cli.main import app

Marble = Callable[..., Any]


def commands(context: typer.Context) -> Iterator[tuple[str, Any]]:
    """(path without ``marble``, command) of every command."""
    if not isinstance(context.command, typer.core.TyperGroup):
        yield context.command_path.removeprefix("marble "), context.command
        return
    for name, below in context.command.commands.items():
        yield from commands(typer.Context(below, info_name=name, parent=context))


COMMANDS = dict(commands(typer.Context(typer.main.get_command(app), info_name="marble")))


def test_every_command_has_examples() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_ends_with_them_by_either_option(name: str, marble: Marble) -> None:
    short, long = (marble(*name.split(), option) for option in ("-h", "--help"))
    assert (short.code, short.out) == (0, long.out)
    end = " ".join(short.out.partition("Examples:")[2].split())
    for example in EXAMPLES[name]:
        assert example in end
        assert example in examples(name)


@pytest.mark.parametrize(
    "example", [line for lines in EXAMPLES.values() for line in lines], ids=str
)
def test_an_example_names_options_that_there_are(example: str) -> None:
    _, *words = shlex.split(example)
    name = next(name for name in COMMANDS if words[: len(name.split())] == name.split())
    # Raises for an option that isn't there, and for values that it can't have.
    COMMANDS[name].make_context(name, words[len(name.split()) :])
