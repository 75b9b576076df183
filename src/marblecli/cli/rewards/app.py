"""``marble rewards``: the commands for rewards, one file each."""

from __future__ import annotations

import typer

from marblecli.cli.examples import examples
from marblecli.cli.rewards.check import check
from marblecli.cli.rewards.download import download
from marblecli.cli.rewards.list import list_rewards
from marblecli.cli.rewards.new import new
from marblecli.cli.rewards.serve import serve

rewards_app = typer.Typer(
    help="The rewards that are installed, and how to add one.", no_args_is_help=True
)
rewards_app.command("list", epilog=examples("rewards list"))(list_rewards)
rewards_app.command("check", epilog=examples("rewards check"))(check)
rewards_app.command("new", epilog=examples("rewards new"))(new)
rewards_app.command("download", epilog=examples("rewards download"))(download)
rewards_app.command("serve", epilog=examples("rewards serve"))(serve)
