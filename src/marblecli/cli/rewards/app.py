"""``marble rewards``: the commands for rewards, one file each."""

from __future__ import annotations

import typer

from marblecli.cli.rewards.check import check
from marblecli.cli.rewards.download import download
from marblecli.cli.rewards.list import list_rewards
from marblecli.cli.rewards.new import new
from marblecli.cli.rewards.serve import serve

rewards_app = typer.Typer(
    help="The rewards that are installed, and how to add one.", no_args_is_help=True
)
rewards_app.command("list")(list_rewards)
rewards_app.command("check")(check)
rewards_app.command("new")(new)
rewards_app.command("download")(download)
rewards_app.command("serve")(serve)
