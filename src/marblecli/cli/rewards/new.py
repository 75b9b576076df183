"""``marble rewards new NAME``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(help="The reward's name, as recipes will call it.")],
    folder: Annotated[
        Path, typer.Option("--in", help="Where to make the package's folder.")
    ] = Path(),
) -> None:
    """Write a package marble-reward-NAME with a reward that works, its tests and its licence."""
    import shlex

    from marblecli.errors import BadInputError
    from marblecli.report.render import out
    from marblecli.rewards.host import discover
    from marblecli.runs.reward_package import write_reward_package

    taken = discover().rewards.get(name)
    if taken is not None:
        raise BadInputError(
            f"a reward {name!r} is installed already, from {taken.distribution}; choose another "
            "name"
        )
    package = write_reward_package(folder, name)
    out.print(f"wrote {package}", highlight=False, soft_wrap=True)
    place = shlex.quote(str(package))
    for command in (
        f"pip install -e {place}",
        f"marble rewards check {name}",
        f"python -m pytest {place}",
        f"marble train RECIPE --set rewards.{name}={{}}",
    ):
        out.print(f"next: {command}", highlight=False, soft_wrap=True)
