"""Which reports differ between two revisions of the code, over all stored runs.

``python -m benchmarks.report_difference BEFORE [AFTER]`` (default: the working tree) writes every
format of ``report``, ``explain`` and ``compare`` of each run with the code of both revisions and
prints what differs, line by line. The runs are those below ``results`` and ``tests/data``, those
below ``--runs DIR`` (as often as you like), and a few that are made here, in which every factor
varies: those cannot be measured on one machine. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.large_journal import SPEEDUPS, write_groups
from orchestrator.runs.journal import FILE_NAME
from orchestrator.trial import Factors, Group

ROOT = Path(__file__).resolve().parent.parent
FORMATS = {
    "report": ("text", "csv", "json", "markdown", "latex", "html"),
    "explain": ("text", "json", "markdown", "html"),
}
_SHOWN = 40  # lines of one difference
_LONG = 300  # characters of one line: a page has its drawings in few lines

_LITERT = Factors("litert", "any", "xnnpack", 1, 1, "native")
_TORCH = Factors("torch", "torch", "none", 1, 1, "native")
#: Run → what its settings start from, and the levels of each factor that it varies.
_MADE: Mapping[str, tuple[Factors, Mapping[str, Sequence[Any]]]] = {
    "one-setting": (_LITERT, {}),
    "binary": (replace(_LITERT, runner="benchmark_model", runtime=""), {"threads": (1, 2)}),
    "ladder": (
        _LITERT,
        {
            "isa": ("native", "skylake-avx512", "haswell"),
            "runtime": ("ai-edge-litert==2.3.0", "tflite-runtime==2.14.0"),
            "delegate": ("xnnpack", "none"),
            "threads": (1, 4),
        },
    ),
    "inputs": (_LITERT, {"batch": (1, 8), "input_size": (0, 128)}),
    "engines": (
        _TORCH,
        {"engine": ("default", "x86"), "processor": ("cpu", "cuda"), "threads": (1, 2)},
    ),
}

#: Runs inside the tree of a revision: arguments for the command line → files.
_CHILD = """
import contextlib, io, json, sys
from orchestrator.cli import main
for argv, path in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(argv)
        except SystemExit as exc:
            code = exc.code
    open(path, "w").write(said.getvalue() + f"exit code {int(code or 0)}\\n")
"""


def stored_runs(folders: Sequence[Path]) -> list[Path]:
    """Every run below the folders."""
    return sorted({path.parent for folder in folders for path in folder.rglob(FILE_NAME)})


def make_runs(folder: Path) -> list[Path]:
    """The runs in which factors vary; the same each time."""
    made = []
    for number, (name, (start, levels)) in enumerate(_MADE.items()):
        settings = [
            replace(start, **dict(zip(levels, values, strict=True)))
            for values in itertools.product(*levels.values())
        ]
        groups = [
            Group("here", model, factors, tuple(SPEEDUPS), "float32")
            for model in ("model00", "model01")
            for factors in settings
        ]
        made.append(folder / f"20200101T00000{number}Z-{name}")
        write_groups(made[-1], groups)
    return made


def tree_of(revision: str | None, folder: Path) -> Path:
    """The code of a revision, in a folder of its own; None is the working tree."""
    if revision is None:
        return ROOT
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", revision], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def write_reports(tree: Path, runs: Sequence[Path], folder: Path) -> None:
    """Every format of every run, made by the code in ``tree``, as files in ``folder``."""
    folder.mkdir(parents=True)
    asked = [
        ([command, str(run), "--format", shape], folder / f"{run.name}.{command}.{shape}")
        for run in runs
        for command, shapes in FORMATS.items()
        for shape in shapes
    ]
    for one, other in itertools.pairwise(runs):
        argv = ["compare", str(one), str(other)]
        asked += [
            ([*argv, *more], folder / f"{one.name}.compare.{other.name}{''.join(more)}")
            for more in ([], ["--json"])
        ]
    # before the agent had a folder of its own it stood at the top
    path = os.pathsep.join((str(tree), str(tree / "agents")))
    subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps([(argv, str(file)) for argv, file in asked]).encode(),
        cwd=tree,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "160", "NO_COLOR": "1"},
        check=True,
    )


def differences(before: Path, after: Path) -> Iterator[tuple[str, list[str]]]:
    """Each file that is not the same in both folders, with the lines that differ."""
    for name in sorted({path.name for folder in (before, after) for path in folder.iterdir()}):
        old, new = (
            path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            for path in (before / name, after / name)
        )
        if old != new:
            lines = difflib.unified_diff(old, new, "before", "after", n=0, lineterm="")
            yield name, [line if len(line) <= _LONG else f"{line[:_LONG]}…" for line in lines]


def main(argv: Sequence[str] | None = None) -> int:
    """Print what differs; 1 where anything does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", metavar="BEFORE", help="a revision of git")
    parser.add_argument("after", metavar="AFTER", nargs="?", help="default: the working tree")
    parser.add_argument("--runs", metavar="DIR", type=Path, action="append", default=[])
    parser.add_argument("--keep", metavar="DIR", type=Path, help="leave all reports there")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="report-difference.") as temporary:
        here = Path(temporary)
        folders = [ROOT / "results", ROOT / "tests" / "data", *arguments.runs]
        runs = [run.resolve() for run in stored_runs(folders)] + make_runs(here / "made")
        written = [(arguments.keep or here) / name for name in ("before", "after")]
        for revision, folder in zip((arguments.before, arguments.after), written, strict=True):
            write_reports(tree_of(revision, here / "trees" / folder.name), runs, folder)
        found = list(differences(*written))
        count = sum(1 for _ in written[0].iterdir())
    for name, lines in found:
        print(f"== {name}: {len(lines)} lines")
        print("\n".join(lines[:_SHOWN]))
    print(f"{len(found)} of {count} reports of {len(runs)} runs differ")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
