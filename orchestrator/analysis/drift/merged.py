"""Several runs in one table: what may stand side by side, and what has to be said of it. Pure.

A column is a device in one run. On one line stand comparisons of the same two files, by hash, under
the same numbers of threads, batch and the like: what differs in those is kept apart. Whatever else
two columns do not share (runner, runtime, suite) is said with the line. Nothing is averaged: a
device in several runs has a column for each, and the drift between them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.analysis.drift.comparison import (
    ComparedRow,
    ReadRun,
    RunComparison,
    compare_runs,
)
from orchestrator.analysis.sides.recorded import Change, SideKey, changes, of_suite
from orchestrator.analysis.table import Speedup
from orchestrator.errors import UsageError
from orchestrator.factors import FACTORS, Factors
from orchestrator.runs.machines import tells_which, unlike
from orchestrator.runs.records import RunRecord
from orchestrator.trial import TrialKind

#: Of two columns whose suites differ, so many of the keys that do are named.
MOST_NAMED = 6
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Origin:
    """A run as its columns name it. ``suite_sha256`` is that of the suite as it was measured,
    written as JSON with sorted keys."""

    run_id: str
    created: str
    suite: str
    suite_sha256: str
    baseline: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Column:
    """A device in one run. ``origin`` is the number of its run; ``machine`` counts the different
    machines that go by one name, from 1; ``setting`` names the factors that are words and that the
    run varied on the device, with their levels."""

    origin: int
    device: str
    machine: int
    microarchitecture: str
    isa: str
    setting: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Files:
    """The SHA-256 of the baseline's file and of the treatment's; empty where it was not
    recorded."""

    baseline: str
    treatment: str


@dataclass(frozen=True)
class Unlike:
    """What the columns of a line do not share: each value with the numbers of its columns."""

    what: str
    values: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Line:
    """One model and scheme over one baseline, the same two files in every column that has it.

    ``numbers`` are the factors that are numbers. ``cells`` has a comparison for each column, None
    where there is none. ``unlike`` is what has to be read with it, and ``apart`` says why another
    line of the same name is not this one.
    """

    model: str
    scheme: str
    baseline: str
    numbers: tuple[tuple[str, int], ...]
    files: Files
    cells: tuple[Speedup | None, ...]
    unlike: tuple[Unlike, ...] = ()
    apart: tuple[str, ...] = ()

    @property
    def standing(self) -> str:
        """``alone`` in one column, ``agreed`` where nothing differs, else ``annotated``."""
        if sum(cell is not None for cell in self.cells) < 2:
            return "alone"
        return "annotated" if self.unlike else "agreed"


@dataclass(frozen=True)
class Repeat:
    """One device in two runs. ``rows`` are the comparisons that both have, with their drift;
    ``by_name_alone``: nothing that was recorded tells that it is one machine."""

    device: str
    first: int
    second: int
    rows: tuple[ComparedRow, ...]
    conditions: tuple[Change, ...]
    by_name_alone: bool
    why_not: str = ""


@dataclass(frozen=True)
class MergedTable:
    """Several runs side by side. ``missing`` says what was planned and never sent to a device,
    ``machines`` which machines share a name."""

    origins: tuple[Origin, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    repeats: tuple[Repeat, ...]
    missing: tuple[str, ...]
    machines: tuple[str, ...]


def merge(runs: Sequence[ReadRun]) -> MergedTable:
    """Return the table of all ``runs``, in the order in which they are given.

    Raises UsageError where two of them are one run, JournalError as ``analyse``.
    """
    _refuse_twice(runs)
    machines = _Machines.of(runs)
    files = [RunFiles(run.record) for run in runs]
    placed: dict[Column, dict[_Name, Speedup]] = {}
    for number, run in enumerate(runs):
        for row in run.table.rows:
            if row.factors is not None:
                column = _column(number, run, row, row.factors, machines)
                name = _Name.of(row, row.factors, files[number].of(row, row.factors))
                placed.setdefault(column, {})[name] = row
    order = {name: place for place, name in enumerate(machines.numbers)}
    columns = sorted(placed, key=lambda c: (order[c.device, c.machine], c.origin))
    names = dict.fromkeys(name for column in placed for name in placed[column])
    lines = [_line(name, [placed[column].get(name) for column in columns]) for name in names]
    models = list(dict.fromkeys(line.model for line in lines))
    schemes = list(dict.fromkeys(line.scheme for line in lines))
    lines.sort(key=lambda e: (models.index(e.model), e.numbers, schemes.index(e.scheme)))
    return MergedTable(
        origins=tuple(map(_origin, runs)),
        columns=tuple(columns),
        lines=tuple(_kept_apart(_annotated(line, columns, runs), lines) for line in lines),
        repeats=tuple(_repeats(runs, machines, files)),
        missing=tuple(_missing(runs)),
        machines=machines.words,
    )


def suite_sha256(run: ReadRun) -> str:
    """The hash of the suite as it was measured."""
    text = json.dumps(run.manifest.suite, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_twice(runs: Sequence[ReadRun]) -> None:
    ids = [run.record.run_id for run in runs]
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise UsageError(
            f"two of the folders say that they are run {', '.join(twice)}: a run stands in a table "
            f"once; name one of them"
        )


def _origin(run: ReadRun) -> Origin:
    manifest = run.manifest
    return Origin(
        run_id=run.record.run_id,
        created=manifest.created,
        suite=run.record.suite,
        suite_sha256=suite_sha256(run),
        baseline=run.record.baseline,
        versions=dict(manifest.versions),
    )


@dataclass
class _Machines:
    """Which machine each device of each run is. ``numbers`` has them in the order in which they
    are first met, so that the columns of one stand side by side."""

    of_run: dict[tuple[int, str], int] = field(default_factory=dict)
    numbers: dict[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, runs: Sequence[ReadRun]) -> _Machines:
        found = cls()
        for number, run in enumerate(runs):
            rows = (row.device for row in run.table.rows)
            for device in dict.fromkeys((*run.record.devices, *rows)):
                found._meet(number, run.record, device)
        return found

    def _meet(self, number: int, run: RunRecord, device: str) -> None:
        facts = run.facts.get(device, {})
        known = [(n, f) for (name, n), f in self.numbers.items() if name == device]
        for machine, told in known:
            if not unlike(told, facts):
                self.of_run[number, device] = machine
                return
        machine = len(known) + 1
        self.numbers[device, machine] = facts
        self.of_run[number, device] = machine
        if known:
            why = "; ".join(unlike(known[0][1], facts))
            self.said.append(
                f"{device} in {run.run_id} is another machine than before ({why}): no repeat of it"
            )

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.said)


@dataclass(frozen=True)
class _Name:
    """What stands on one line: what differs in one of these is not the same thing measured."""

    model: str
    scheme: str
    baseline: str
    numbers: tuple[tuple[str, int], ...]
    files: Files

    @classmethod
    def of(cls, row: Speedup, factors: Factors, files: Files) -> _Name:
        numbers = tuple(
            (each.name, int(each.of(factors)))
            for each in FACTORS
            if each.is_number and row.level(each.name) != ""
        )
        return cls(row.model, row.scheme, row.baseline_scheme, numbers, files)


#: What says how a comparison was run, beside the numbers. What ran is said by the runtime itself.
_WORDS = tuple(e for e in FACTORS if not e.is_number and e.name not in ("runtime", "isa"))


def _column(
    number: int, run: ReadRun, row: Speedup, factors: Factors, machines: _Machines
) -> Column:
    own = [r for r in run.table.rows if r.device == row.device and r.factors is not None]
    # the runtime that was asked for is a column's, too, where a run asked for several
    words = [e for e in FACTORS if not e.is_number and e.name != "isa"]
    setting = tuple(
        (each.name, str(each.of(factors)))
        for each in words
        if len({r.level(each.name) for r in own}) > 1
    )
    return Column(
        origin=number,
        device=row.device,
        machine=machines.of_run[number, row.device],
        microarchitecture=row.microarchitecture,
        isa=row.isa,
        setting=setting,
    )


class RunFiles:
    """Which files each comparison of a run is of."""

    def __init__(self, run: RunRecord) -> None:
        self._run = run
        self._ran: dict[SideKey, set[str]] = {}
        for record in run.trials:
            trial = record.trial
            if trial.kind is TrialKind.TIMING and record.artifact_sha256:
                key = (trial.device, trial.variant.model, trial.factors, trial.variant.scheme)
                self._ran.setdefault(key, set()).add(record.artifact_sha256)

    def of(self, row: Speedup, factors: Factors) -> Files:
        """The files of both sides."""
        return Files(*(self._file(row, factors, s) for s in (row.baseline_scheme, row.scheme)))

    def _file(self, row: Speedup, factors: Factors, scheme: str) -> str:
        """What ran, by hash, or else would have run; several where a run says that several did."""
        ran = self._ran.get((row.device, row.model, factors, scheme)) or {
            artifact.sha256
            for variant, artifact in self._run.artifacts.items()
            if (variant.model, variant.scheme, variant.export)
            == (row.model, scheme, factors.export)
        }
        return " ".join(sorted(ran))


def _line(name: _Name, cells: Sequence[Speedup | None]) -> Line:
    return Line(name.model, name.scheme, name.baseline, name.numbers, name.files, tuple(cells))


# -- what has to be said --------------------------------------------------------------------------


def _annotated(line: Line, columns: Sequence[Column], runs: Sequence[ReadRun]) -> Line:
    there = [(n, cell) for n, cell in enumerate(line.cells) if cell is not None]
    if len(there) < 2:
        return line
    told: dict[str, list[tuple[int, str]]] = {}
    for number, cell in there:
        for each in _WORDS:
            told.setdefault(each.label, []).append((number, str(cell.level(each.name))))
        told.setdefault("runtime", []).append((number, cell.runtime_version or NOT_RECORDED))
        told.setdefault("inputs", []).append((number, cell.inputs or NOT_RECORDED))
        duet = "in duets" if cell.duet else "one at a time"
        told.setdefault("trials", []).append((number, duet))
    found = [_unlike(what, values) for what, values in told.items()]
    found.append(_unlike_suites(there, columns, runs))
    if "" in (line.files.baseline, line.files.treatment):
        numbers = tuple(number for number, _ in there)
        found.append(Unlike("files", ((f"{NOT_RECORDED}, may differ", numbers),)))
    return replace(line, unlike=tuple(each for each in found if each is not None))


def _unlike(what: str, told: Iterable[tuple[int, str]]) -> Unlike | None:
    values: dict[str, list[int]] = {}
    for number, value in told:
        values.setdefault(value, []).append(number)
    # where nobody recorded it, nothing says that it differs
    if len(values) < 2:
        return None
    return Unlike(what, tuple((value or "none", tuple(n)) for value, n in values.items()))


def _unlike_suites(
    there: Sequence[tuple[int, Speedup]], columns: Sequence[Column], runs: Sequence[ReadRun]
) -> Unlike | None:
    """Name what differs in their suites, where their hashes do; each is held against the first."""
    first = runs[columns[there[0][0]].origin]
    told = []
    for number, _ in there:
        run = runs[columns[number].origin]
        digest = suite_sha256(run)
        words = f"{run.record.suite or 'unnamed'} {digest[:8]}"
        if digest != suite_sha256(first):
            keys = [each.name for each in changes(of_suite(first.manifest), of_suite(run.manifest))]
            more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
            words += f" (differs in {', '.join(keys[:MOST_NAMED])}{more})"
        told.append((number, words))
    return _unlike("suite", told)


def _kept_apart(line: Line, lines: Iterable[Line]) -> Line:
    """Say why another line of the same name is not this one."""
    why = []
    for other in lines:
        if other.files == line.files or (other.model, other.scheme, other.numbers, other.baseline) \
                != (line.model, line.scheme, line.numbers, line.baseline):  # fmt: skip
            continue
        parts = [
            f"{whose} file is {_short(mine)} here and {_short(theirs)} there"
            for whose, mine, theirs in (
                ("the baseline's", line.files.baseline, other.files.baseline),
                ("the scheme's", line.files.treatment, other.files.treatment),
            )
            if mine != theirs
        ]
        why.append(" and ".join(parts))
    return replace(line, apart=tuple(dict.fromkeys(why)))


def _short(sha256: str) -> str:
    return " and ".join(each[:12] for each in sha256.split()) or NOT_RECORDED


def _missing(runs: Sequence[ReadRun]) -> Iterable[str]:
    for run in runs:
        left: dict[tuple[str, str], list[str]] = {}
        for row in run.table.rows:
            if row.factors is None:
                models = left.setdefault((row.device, row.reason), [])
                if row.model not in models:
                    models.append(row.model)
        for (device, reason), models in left.items():
            yield f"{run.record.run_id}, {device}: {', '.join(models)}: {reason}"


# -- the same device again ------------------------------------------------------------------------


def _repeats(
    runs: Sequence[ReadRun], machines: _Machines, files: Sequence[RunFiles]
) -> Iterable[Repeat]:
    """Hold every later run of a device against the first one that has it."""
    compared: dict[tuple[int, int], RunComparison | str] = {}
    for device, machine in machines.numbers:
        on = [n for n in range(len(runs)) if machines.of_run.get((n, device)) == machine]
        measured = [n for n in on if any(t.trial.device == device for t in runs[n].record.trials)]
        for other in measured[1:]:
            pair = (measured[0], other)
            if pair not in compared:
                try:
                    compared[pair] = compare_runs(runs[pair[0]], runs[pair[1]])
                except UsageError as exc:
                    compared[pair] = str(exc)
            found = compared[pair]
            told = [tells_which(runs[n].record.facts.get(device, {})) for n in pair]
            alone = not all(told)
            if isinstance(found, str):
                yield Repeat(device, *pair, (), (), alone, found)
                continue
            yield Repeat(
                device,
                *pair,
                tuple(_of_same_files(row, runs, files, pair) for row in found.rows
                      if row.device == device),
                found.conditions.get(device, ()),
                alone,
            )  # fmt: skip


def _of_same_files(
    row: ComparedRow, runs: Sequence[ReadRun], files: Sequence[RunFiles], pair: tuple[int, int]
) -> ComparedRow:
    """The row; without its figures where the two runs measured different files."""
    found = {
        files[number].of(cell, row.factors)
        for number in pair
        for cell in runs[number].table.rows
        if (cell.device, cell.model, cell.scheme, cell.factors)
        == (row.device, row.model, row.scheme, row.factors)
    }
    if len(found) == 1:
        return row
    return replace(
        row, drifts=(), reason="the files are not the same, so that no drift can be told"
    )
