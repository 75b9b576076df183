"""``marble rewards serve NAME``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from marblecli.cli.rewards.options import Overrides, parse_options

if TYPE_CHECKING:
    from marblecli.settings import RewardSettings


def serve(
    name: Annotated[str, typer.Argument(help="An installed reward.")],
    overrides: Overrides = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets any machine connect.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8400,
    device: Annotated[str, typer.Option(help="Where to load it: cpu, cuda, ...")] = "cpu",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images of one call.", show_default="a request's")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds of one call.")] = 600.0,
) -> None:
    """Serve an installed reward over HTTP, for the reward ``http`` of marble-reward-remote."""
    from contextlib import suppress

    from marblecli.report.render import log, out
    from marblecli.rewards.activate import activate
    from marblecli.rewards.host import discover
    from marblecli.rewards.serve import RewardServer

    own = {"device": device, "batch_size": batch_size, "timeout": timeout}
    settings = _settings(name, {**own, **parse_options(overrides or [])})
    with log.status(f"loading {name}"):
        reward = activate(discover(), name, settings, "cpu")
    with RewardServer(reward, host, port) as server:
        out.print(f"serving {name} at {server.url}; stop with Ctrl-C", soft_wrap=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def _settings(name: str, table: dict[str, Any]) -> RewardSettings:
    from pydantic import ValidationError

    from marblecli.errors import BadInputError, validation_problems
    from marblecli.settings import RewardSettings

    try:
        return RewardSettings.model_validate(table)
    except ValidationError as error:
        problems = validation_problems(error, RewardSettings, f"rewards.{name}.")
        raise BadInputError("\n".join(str(problem) for problem in problems)) from error
