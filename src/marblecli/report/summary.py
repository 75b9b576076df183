"""What every reward did between two evaluations: a table, and a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from marblecli.report.sentences import counted, listed
from marblecli.types import RewardChange

_CAPTIONS = {
    "train": "fresh noise on training prompts; interval over noise",
    "held-out": "prompts never trained on; interval over prompts",
}


def changes_table(split: str, changes: Sequence[RewardChange]) -> Table:
    """One row a reward: start, end, and the paired change with its 95 % bootstrap interval."""
    table = Table(title=f"{split} prompts", caption=_CAPTIONS.get(split))
    table.add_column("reward")
    for column in ("start", "end", "change", "95 % interval", "images"):
        table.add_column(column, justify="right")
    for change in changes:
        if change.failure:
            table.add_row(change.reward, "failed", "", "", "", "0")
            continue
        table.add_row(
            change.reward,
            f"{change.start:.3f}",
            f"{change.end:.3f}",
            _coloured(change),
            change.no_interval or f"{change.low:+.3f} … {change.high:+.3f}",
            str(change.images),
        )
    return table


def verdict(split: str, changes: Sequence[RewardChange]) -> str:
    """Which rewards rose and fell on the prompts of ``split``, by their 95 % intervals."""
    rose = [_named(change) for change in changes if change.low > 0]
    fell = [_named(change) for change in changes if change.high < 0]
    failed = [change.reward for change in changes if change.failure]
    rest = len(changes) - len(rose) - len(fell) - len(failed)
    clauses = [f"{listed(rose)} rose"] if rose else []
    clauses += [f"{listed(fell)} fell"] if fell else []
    if rest:
        others = " other" if clauses else ""
        clauses.append(
            f"the {'change' if rest == 1 else 'changes'} of {rest}{others} "
            f"{'reward' if rest == 1 else 'rewards'} {'is' if rest == 1 else 'are'} not significant"
        )
    clauses += [f"{counted(len(failed), 'reward', 'rewards')} failed"] if failed else []
    return f"On {split} prompts, {listed(clauses or ['no reward applies'])}"


def _named(change: RewardChange) -> str:
    return f"{change.reward} ({change.end - change.start:+.3f})"


def _coloured(change: RewardChange) -> str:
    """Green or red only where the interval excludes zero."""
    text = f"{change.end - change.start:+.3f}"
    if change.low > 0:
        return f"[green]{text}[/green]"
    return f"[red]{text}[/red]" if change.high < 0 else text
