"""Whether the quick form of a suite says what the full one says, on one machine.

``python -m benchmarks.quick_suites --inventory FILE [--suite NAME]`` runs each suite that has a
quick form (``NAME-quick`` beside ``NAME``), the quick one first, and holds every verdict of the
quick run against the full one's; ``--runs QUICK FULL`` compares two runs that are there. A verdict
of the quick run *stands* where the full run has the same; it *tells less* where it is
``indistinguishable`` or ``invalid`` and the full run knows more; it is *not confirmed* where the
full run cannot tell; it is *contradicted* where the full run says the opposite. Exit code 1 where
one is contradicted or not confirmed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.analysis import Speedup, Verdict, analyse
from orchestrator.config import shipped_suites
from orchestrator.frameworks.settings import title_of
from orchestrator.runs.directory import RunDirectory, list_runs

_QUICK = "-quick"
_CERTAIN = (Verdict.FASTER, Verdict.SLOWER)
STANDS, LESS, MISSING = "stands", "tells less", "not in the full run"
NOT_CONFIRMED, CONTRADICTED = "not confirmed", "contradicted"


def standing(quick: Verdict, full: Verdict | None) -> str:
    """Return what the full run's verdict makes of the quick one's; None: it has no such row."""
    if full is None:
        return MISSING
    if quick not in _CERTAIN:
        return STANDS if quick is full else LESS
    if quick is full:
        return STANDS
    return CONTRADICTED if full in _CERTAIN else NOT_CONFIRMED


def rows_of(run: RunDirectory) -> Mapping[tuple[str, ...], Speedup]:
    """Return a run's rows by device, model, scheme and setting."""
    return {
        (row.device, row.model, row.scheme, title_of(row.factors)): row
        for row in analyse(run.read()).rows
        if row.factors is not None
    }


def compare(quick: RunDirectory, full: RunDirectory) -> Counter[str]:
    """Print what becomes of each verdict of the quick run, and count them."""
    known, found = rows_of(full), Counter[str]()
    for key, row in rows_of(quick).items():
        other = known.get(key)
        said = standing(row.verdict, None if other is None else other.verdict)
        found[said] += 1
        print(f"{said:>18}  {' '.join(key[:3])} ({key[3]}): {_told(row)}; full: {_told(other)}")
    return found


def _told(row: Speedup | None) -> str:
    if row is None:
        return "nothing"
    if row.speedup is None:
        return row.verdict.value
    interval = "" if row.ci_low is None else f" [{row.ci_low:.3f}, {row.ci_high:.3f}]"
    return f"{row.verdict.value} {row.speedup:.3f}{interval}, n = {row.blocks}"


def run(suite: str, inventory: Path, results: Path) -> RunDirectory:
    """Run a suite. Raises CalledProcessError where it did not end well."""
    command = [sys.executable, "-m", "orchestrator", "run", "--inventory", str(inventory)]
    subprocess.run([*command, "--suite", suite, "--results", str(results)], check=True)
    return list_runs(results)[-1]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare two runs, or run and compare every suite that has a quick form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inventory", type=Path)
    parser.add_argument("--suite", metavar="NAME", help="only this one")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--runs", nargs=2, metavar=("QUICK", "FULL"))
    told = parser.parse_args(argv)
    found = Counter[str]()
    if told.runs:
        found += compare(*(RunDirectory.find(told.results, name) for name in told.runs))
    elif told.inventory is None:
        parser.error("name an --inventory to run the suites on, or two --runs")
    else:
        shipped = shipped_suites()
        pairs = [name for name in shipped if f"{name}{_QUICK}" in shipped]
        for name in pairs if told.suite is None else [told.suite]:
            print(f"== {name}")
            quick, full = (
                run(each, told.inventory, told.results) for each in (f"{name}{_QUICK}", name)
            )
            found += compare(quick, full)
    print(
        ", ".join(f"{count} {said}" for said, count in found.most_common()) or "nothing to compare"
    )
    return 1 if found[CONTRADICTED] or found[NOT_CONFIRMED] else 0


if __name__ == "__main__":
    sys.exit(main())
