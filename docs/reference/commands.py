"""docs/cli.md: every command with its arguments and options, as ``--help`` has them.

They are read from the command objects, so nothing depends on the width of a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator

import typer
import typer.core
import typer.main

from marblecli.cli.examples import EXAMPLES
from marblecli.cli.main import app
from reference.markdown import code, fragment, page, prose, table

_INTRO = """
`marble COMMAND -h` shows the same in a terminal. `--json`, where a command has it, prints one JSON
document on stdout and nothing else there. `marble --traceback COMMAND ...` shows the whole
traceback of a plugin's faults and of errors. `marble --install-completion` lets the shell complete
commands and options by the Tab key; start a new shell afterwards. Exit codes: 0 done, 1 a run
failed, 2 bad input or recipe, 130 interrupted after its checkpoint was saved."""


def commands_page() -> str:
    """The page as Markdown."""
    root = typer.Context(typer.main.get_command(app), info_name="marble")
    contexts = list(commands(root))
    rows = [(_link(context), prose(_help(context))) for context in contexts]
    sections = [_section(context) for context in contexts]
    return page("# Commands", prose(_INTRO), table(("command", "what it does"), rows), *sections)


def commands(context: typer.Context) -> Iterator[typer.Context]:
    """The contexts of all commands below this one; groups only stand for their commands."""
    command = context.command
    if not isinstance(command, typer.core.TyperGroup):
        yield context
        return
    for name, below in command.commands.items():
        if not below.hidden:
            yield from commands(typer.Context(below, info_name=name, parent=context))


def _help(context: typer.Context) -> str:
    return context.command.help or ""


def _link(context: typer.Context) -> str:
    return f"[`{context.command_path}`]({fragment(context.command_path)})"


def _section(context: typer.Context) -> str:
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    parts = [f"## `{context.command_path}`", prose(_help(context)), f"```\n{usage}\n```"]
    parts += [_parameters(context, "argument"), _parameters(context, "option")]
    parts.append(_examples(context))
    return "\n\n".join(filter(None, parts))


def _examples(context: typer.Context) -> str:
    lines = EXAMPLES.get(context.command_path.removeprefix("marble "), ())
    return "\n".join(("```sh", *lines, "```")) if lines else ""


def _parameters(context: typer.Context, kind: str) -> str:
    """Arguments or options as a table, ``--help`` itself left out."""
    params = [p for p in context.command.params if p.param_type_name == kind]
    records = [record for p in params if (record := p.get_help_record(context)) is not None]
    rows = [(code(name), prose(text)) for name, text in records]
    return table((kind, ""), rows) if rows else ""
