"""Measure every open CUDA figure of docs/performance.md: ``python benchmarks/gpu_check``.

The parts run one after the other, each in a process of its own with a time limit, and write their
figures to ``--out``. A part that is done isn't measured again. At the end the table is printed, in
Markdown. Nothing is downloaded: all weights are random.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
from pathlib import Path

# Run as a folder, Python looks for modules inside of it; they are to be found as a package, beside
# the other benchmarks.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console

from gpu_check.parts import PARTS, part_named
from gpu_check.results import Result, read_result
from gpu_check.running import Order, measure_here, run_parts
from gpu_check.table import page
from marblecli.errors import MarbleError
from marblecli.models.quiet import quiet_libraries


def main() -> int:
    """Run what the command line asks for; returns the exit code."""
    options = _parser().parse_args()
    if options.here:
        return _here(options)
    if options.table:
        _show(page(_results(options.out)))
        return 0
    if not options.rehearse and not _cuda():
        _tell("there is no CUDA device here; --rehearse runs everything at a small size on the CPU")
        return 2
    parts = [part for part in PARTS if not options.only or part.name in options.only]
    order = Order(options.out, options.rehearse, options.again, options.within)
    good = run_parts(parts, order, _tell)
    _show(page(_results(options.out)))
    return 0 if good else 1


def _here(options: argparse.Namespace) -> int:
    faulthandler.enable()
    quiet_libraries()
    try:
        measure_here(part_named(options.here), options.out, options.rehearse)
    except MarbleError as error:
        _tell(str(error))
        return 1
    return 0


def _results(folder: Path) -> list[Result]:
    found = (read_result(folder, part.name) for part in PARTS)
    return [result for result in found if result is not None]


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _tell(line: str) -> None:
    """Progress; standard output has the table alone."""
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


def _show(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    minutes = sum(part.limit for part in PARTS) / 60
    parser = argparse.ArgumentParser(
        prog="python benchmarks/gpu_check",
        description="Every open CUDA figure of docs/performance.md, "
        f"in at most {minutes:.0f} minutes of one card.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check"), help="for the results")
    parser.add_argument("--only", action="append", choices=names, metavar="PART", help=str(names))
    parser.add_argument("--again", action="store_true", help="also measure what is done")
    parser.add_argument("--within", type=float, help="seconds; begin no part that may take longer")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU")
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--here", choices=names, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
