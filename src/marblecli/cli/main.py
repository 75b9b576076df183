"""The ``marble`` command. Only typer is imported here: each command imports what it needs."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from marblecli.cli.eval.command import evaluate
from marblecli.cli.examples import examples
from marblecli.cli.export.command import export
from marblecli.cli.inspect_conflicts.command import inspect_conflicts
from marblecli.cli.lab.command import lab
from marblecli.cli.methods import methods_app
from marblecli.cli.report.command import report
from marblecli.cli.resume import resume
from marblecli.cli.rewards.app import rewards_app
from marblecli.cli.sample.command import sample
from marblecli.cli.solve.command import solve
from marblecli.cli.train.command import train
from marblecli.errors import LostProcessError, MarbleError

_TRACEBACK = "MARBLE_TRACEBACK"

app = typer.Typer(
    name="marble",
    help="Fine-tune Stable Diffusion 3.5 on several rewards at once.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command("train", epilog=examples("train"))(train)
app.command("resume", epilog=examples("resume"))(resume)
app.command("eval", epilog=examples("eval"))(evaluate)
app.command("sample", epilog=examples("sample"))(sample)
app.command("export", epilog=examples("export"))(export)
app.command("solve", epilog=examples("solve"))(solve)
app.command("inspect-conflicts", epilog=examples("inspect-conflicts"))(inspect_conflicts)
app.command("report", epilog=examples("report"))(report)
app.command("lab", epilog=examples("lab"))(lab)
app.add_typer(rewards_app, name="rewards")
app.add_typer(methods_app, name="methods")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"marble {version('marblecli')}")
        raise typer.Exit


def _set_traceback(wanted: bool) -> None:
    if wanted:
        # The processes that are started for a run inherit it; see marblecli.rewards.places.
        os.environ[_TRACEBACK] = "1"


@app.callback()
def _marble(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    whole_traceback: Annotated[
        bool,
        typer.Option(
            "--traceback",
            callback=_set_traceback,
            help="Show the whole traceback of a plugin's faults and of errors.",
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Run the command line. An error for the user is printed on stderr, and sets the exit code."""
    try:
        app()
    except MarbleError as error:
        if os.environ.get(_TRACEBACK):
            traceback.print_exc()
        if not _told_by_launcher(error):
            for line in str(error).splitlines():
                sys.stderr.write(f"marble: {line}\n")
        raise SystemExit(error.exit_code) from None


def _told_by_launcher(error: MarbleError) -> bool:
    """Whether the error is left to the launcher of several processes, which is told of it here.

    Launchers (ours, torchrun's and accelerate's) read errors from a file whose format is torch's.
    Only the first process also prints its error itself, unless another process has to say why.
    """
    if "TORCHELASTIC_ERROR_FILE" not in os.environ:
        return False
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(error)
    return os.environ.get("RANK", "0") != "0" or isinstance(error, LostProcessError)
