"""The table as a reader meets it: sections, columns, cells and notes, put together once.

Every format sets type from this and decides nothing: which sections there are, what a column is
called and holds, and what stands below. A column that some run has and another has not
(``Column.there``) appears where a row has it, in every format that has columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.table import (
    AccuracyComparison,
    Distribution,
    FigureComparison,
    FigureVerdict,
    Speedup,
    SpeedupTable,
    Tail,
    Verdict,
)
from orchestrator.figures import Comparison
from orchestrator.report import accuracy, figures, published, same_bytes, tails
from orchestrator.report import sweep as sweeps
from orchestrator.report.clean import clean
from orchestrator.report.notes import (
    SIGNS,
    Explanation,
    SectionKey,
    by_model,
    circumstances,
    codes,
    conditions,
    device_title,
    explanations,
    floors_of,
    method,
    problem,
    section_label,
    section_labels,
    section_of,
    sections,
    setting,
    totals,
    weights,
)

#: The signs of the verdicts on figures other than time.
FIGURE_SIGNS = {
    FigureVerdict.BETTER: SIGNS[Verdict.FASTER],
    FigureVerdict.WORSE: SIGNS[Verdict.SLOWER],
    FigureVerdict.INDISTINGUISHABLE: SIGNS[Verdict.INDISTINGUISHABLE],
    FigureVerdict.INVALID: SIGNS[Verdict.INVALID],
}

ACROSS_METHOD = (
    "Across runners: two files of one network are compared, the first runner's baseline with what "
    "another runner measured in the same rounds. Runtime, kernels, weights and the making of the "
    "file differ together; what quantizing does is in each runner's own table, where each speed-up "
    "is over the baseline of that runner."
)

FIGURES_METHOD = (
    "Figures other than time: medians over the blocks compared. Gain: the ratio of a positive "
    "amount, above 1 where the scheme is the better one, or the difference of a share, above 0 "
    "where it is; interval, noise floor and Holm's correction as for speed-ups, over the "
    "comparisons of one figure."
)


ALONE_METHOD = (
    "Time: Hodges-Lehmann centre over blocks of the medians of the first process of each, with its "
    "95 % interval. n: processes. There is one scheme, so that no speed-up can be told."
)


@dataclass(frozen=True)
class Column:
    """A column of the table: its name in layouts, its header and unit, and the text of its cells.

    ``right``: the text is a single number, set flush right. ``there`` says of which rows it has
    something to show; None: of every row.
    """

    name: str
    header: str
    unit: str
    cell: Callable[[Speedup], str]
    right: bool = False
    there: Callable[[Speedup], bool] | None = None

    @property
    def title(self) -> str:
        """``Time, ms``."""
        return f"{self.header}, {self.unit}" if self.unit else self.header

    def shown(self, rows: Sequence[Speedup]) -> bool:
        """Whether some of ``rows`` has something to show in it."""
        return self.there is None or any(map(self.there, rows))


COLUMNS: Mapping[str, Column] = {
    column.name: column
    for column in (
        Column("speedup", "Speed-up, 95 % interval", "", figures.speedup),
        Column("precision", "±", "", figures.precision, right=True),
        Column("verdict", "Verdict", "", lambda row: row.verdict.value),
        Column("time", "Time", "ms", lambda row: figures.change(row.baseline_ms, row.treatment_ms)),
        Column(
            "size",
            "Size",
            "MB",
            lambda row: figures.change(row.baseline_size_mb, row.treatment_size_mb),
        ),
        Column(
            "memory",
            "Memory",
            "MB",
            lambda row: figures.change(row.baseline_memory_mb, row.treatment_memory_mb),
        ),
        Column(
            "accuracy",
            "Accuracy",
            "%",
            accuracy.beside_speed,
            there=lambda row: bool(row.accuracy_verdict),
        ),
        Column(
            "energy",
            "Energy",
            "mJ",
            lambda row: figures.change(row.baseline_energy_mj, row.treatment_energy_mj),
            there=lambda row: bool(row.baseline_energy_mj or row.treatment_energy_mj),
        ),
        Column(
            "co2",
            "CO₂",
            "µg",
            lambda row: figures.change(row.baseline_co2_ug, row.treatment_co2_ug),
            there=lambda row: bool(row.baseline_co2_ug or row.treatment_co2_ug),
        ),
        Column("blocks", "n", "", lambda row: str(row.blocks), right=True),
        Column("findings", "Findings", "", lambda row: ", ".join(codes(row))),
    )
}


@dataclass(frozen=True)
class Section:
    """A device under one setting of the factors: rows that may be read beside each other.

    ``setting``, ``conditions`` and ``circumstances`` say under what they were measured; ``floors``
    is a line a model. ``measured`` is False where nothing was sent to the device.
    """

    key: SectionKey
    label: str
    title: str
    setting: str
    conditions: tuple[str, ...]
    circumstances: tuple[str, ...]
    rows: tuple[Speedup, ...]
    floors: tuple[str, ...]
    measured: bool

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything that says under what they were measured, the setting first."""
        return (self.setting, *self.conditions, *self.circumstances)

    @property
    def models(self) -> Mapping[str, Sequence[Speedup]]:
        """The rows by model, in the order of the table."""
        return by_model(self.rows)

    def columns(self, names: Sequence[str]) -> tuple[Column, ...]:
        """Return, of the columns of these names, those that some row has something in."""
        return tuple(COLUMNS[name] for name in names if COLUMNS[name].shown(self.rows))


@dataclass(frozen=True)
class Grid:
    """A small table of plain cells with a title; ``problems`` and ``notes`` are lines below it."""

    title: str
    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grids:
    """Grids of one kind: ``name`` is short, for labels; ``method`` says how to read them."""

    name: str
    title: str
    grids: tuple[Grid, ...]
    method: str


@dataclass(frozen=True)
class View:
    """Everything that a report shows of a table, in the order in which it shows it."""

    baseline: str
    run_id: str
    totals: str
    weights: str
    empty: str
    sections: tuple[Section, ...]
    alone: tuple[Grid, ...]
    across: tuple[Grid, ...]
    accuracy: tuple[Grid, ...]
    same_bytes: tuple[Grid, ...]
    figures: tuple[Grid, ...]
    tails: tuple[Grid, ...]
    sweeps: tuple[Grid, ...]
    published: tuple[str, ...]
    explanations: tuple[Explanation, ...]
    problems: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]
    method: str

    @property
    def grids(self) -> tuple[Grids, ...]:
        """The small tables, in the order in which they are shown; those that are not empty."""
        kinds = (
            Grids("alone", "Times without a comparison", self.alone, ALONE_METHOD),
            Grids("across", "Across runners", self.across, ACROSS_METHOD),
            Grids("accuracy", "Accuracy", self.accuracy, accuracy.METHOD),
            Grids("same-bytes", "Same bytes", self.same_bytes, same_bytes.METHOD),
            Grids("figures", "Other figures", self.figures, FIGURES_METHOD),
            Grids("tails", "Tail latency", self.tails, tails.METHOD),
            Grids("sweep", "Latency against a factor, in figures", self.sweeps, sweeps.METHOD),
        )
        return tuple(each for each in kinds if each.grids)

    @property
    def lists(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The lists of plain lines below the table, each with its title; those that are not empty.

        Findings are left out: formats refer to them by code or number.
        """
        lost = tuple(f"{name}: {why}" for name, why in self.lost)
        found = (("Trials that did not end ok", self.problems), ("Devices lost", lost))
        return tuple((title, lines) for title, lines in found if lines)


NOTHING = "Nothing was compared: no scheme other than the baseline was planned."


def view_of(table: SpeedupTable) -> View:
    """What a report of ``table`` shows. Computes no figure."""
    beside = published.lines(table.rows)
    return View(
        baseline=table.baseline,
        run_id=table.run_id,
        totals=totals(table),
        weights=weights(table),
        empty="" if table.rows or table.figures or table.accuracy else NOTHING,
        sections=_sections(table),
        alone=_alone(table),
        across=_across(table),
        accuracy=_accuracy(table),
        same_bytes=_same_bytes(table),
        figures=_figures(table),
        tails=_tails(table),
        sweeps=tuple(
            Grid(
                sweeps.title(sweep),
                tuple(sweeps.header(sweep)),
                tuple(sweeps.cells(sweep)),
                tuple(sweeps.problems(sweep)),
            )
            for sweep in table.sweeps
        ),
        published=tuple(beside),
        explanations=tuple(explanations(table)),
        problems=tuple(map(problem, table.problems)),
        lost=tuple((clean(name), clean(why)) for name, why in table.lost.items()),
        method=method(table),
    )


def _sections(table: SpeedupTable) -> tuple[Section, ...]:
    labels = section_labels(table.rows)
    return tuple(
        Section(
            key=key,
            label=labels[key],
            title=clean(device_title(rows)),
            setting=setting(rows),
            conditions=tuple(conditions(rows)),
            circumstances=tuple(circumstances(rows)),
            rows=tuple(rows),
            floors=tuple(floors_of(table, key)),
            measured=key.factors is not None,
        )
        for key, rows in sections(table.rows).items()
    )


def _across(table: SpeedupTable) -> tuple[Grid, ...]:
    """A grid for each setting of the first runner beside one of another."""
    places: dict[tuple[SectionKey, SectionKey], list[Speedup]] = {}
    for each in table.across:
        row = each.row
        if row.factors is not None:
            key = (
                SectionKey(row.device, each.baseline_factors),
                SectionKey(row.device, row.factors),
            )
            places.setdefault(key, []).append(row)
    return tuple(
        Grid(
            title=clean(
                f"Across runners: {section_label(second)}, beside the {table.baseline} of "
                f"{section_label(first)}"
            ),
            header=("Model", "Scheme", "Speed-up, 95 % interval", "Time, ms", "Size, MB", "n"),
            cells=tuple(_across_cells(row) for row in rows),
            problems=tuple(
                clean(f"{row.model} {row.scheme}: {row.reason}")
                for row in rows
                if row.verdict is Verdict.INVALID
            ),
        )
        for (first, second), rows in places.items()
    )


def _across_cells(row: Speedup) -> tuple[str, ...]:
    return (
        clean(row.model),
        clean(row.scheme),
        f"{SIGNS[row.verdict]} {figures.speedup(row)}",
        figures.change(row.baseline_ms, row.treatment_ms),
        figures.change(row.baseline_size_mb, row.treatment_size_mb),
        str(row.blocks),
    )


def _alone(table: SpeedupTable) -> tuple[Grid, ...]:
    """The times of models of which nothing was compared, a grid a device and setting."""
    compared = {(section_of(row), row.model) for row in table.rows}
    places: dict[SectionKey, list[Distribution]] = {}
    for found in table.distributions:
        key = SectionKey(found.device, found.factors)
        if (key, found.model) not in compared:
            places.setdefault(key, []).append(found)
    return tuple(
        Grid(
            title=clean(f"Times without a comparison: {section_label(key)}"),
            header=("Model", "Scheme", "Time, ms", "95 % interval", "Inputs", "n"),
            cells=tuple(
                (
                    clean(each.model),
                    clean(each.scheme),
                    figures.number(each.centre_ms),
                    figures.NONE
                    if each.low_ms is None
                    else f"[{figures.number(each.low_ms)}, {figures.number(each.high_ms)}]",
                    clean(each.inputs) or figures.NONE,
                    str(len(each.centres_ms)),
                )
                for each in found
            ),
        )
        for key, found in places.items()
    )


def _accuracy(table: SpeedupTable) -> tuple[Grid, ...]:
    """What each scheme gets wrong, and how alike it answers: two grids a device and setting."""
    places: dict[SectionKey, list[AccuracyComparison]] = {}
    for row in table.accuracy:
        places.setdefault(SectionKey(row.device, row.factors), []).append(row)
    found = []
    for key, rows in places.items():
        where = section_label(key)
        judged = [row for row in rows if row.verdict]
        if judged:
            found.append(
                Grid(
                    title=clean(f"Accuracy: {where}"),
                    header=accuracy.HEADER,
                    cells=tuple(map(accuracy.cells, judged)),
                    problems=tuple(
                        clean(each) for row in judged for each in accuracy.problems(row)
                    ),
                    notes=tuple(clean(each) for row in judged for each in accuracy.notes(row)),
                )
            )
        header, cells = accuracy.agreement(rows)
        found.append(Grid(clean(f"Agreement with the baseline: {where}"), header, cells))
    return tuple(grid for grid in found if grid.cells)


def _same_bytes(table: SpeedupTable) -> tuple[Grid, ...]:
    cells = tuple(same_bytes.cells(table.same_bytes))
    return (Grid("Same bytes, file by file", same_bytes.HEADER, cells),) if cells else ()


def _figures(table: SpeedupTable) -> tuple[Grid, ...]:
    """A grid a device and setting, a line a figure of a scheme."""
    places: dict[SectionKey, list[FigureComparison]] = {}
    for row in table.figures:
        places.setdefault(SectionKey(row.device, row.factors), []).append(row)
    return tuple(
        Grid(
            title=clean(f"Other figures: {section_label(key)}"),
            header=("Model", "Scheme", "Figure", "Amount", "Gain, 95 % interval", "Verdict", "n"),
            cells=tuple(_figure_cells(row) for row in rows),
            problems=tuple(
                clean(f"{row.model} {row.scheme}, {row.figure.label}: {row.reason}")
                for row in rows
                if row.verdict is FigureVerdict.INVALID
            ),
        )
        for key, rows in places.items()
    )


def _tails(table: SpeedupTable) -> tuple[Grid, ...]:
    """A grid a device and setting, a line a percentile of a scheme."""
    places: dict[SectionKey, list[Tail]] = {}
    for each in table.tails:
        places.setdefault(SectionKey(each.device, each.factors), []).append(each)
    return tuple(
        Grid(
            title=clean(f"Tail latency: {section_label(key)}"),
            header=tails.HEADER,
            cells=tuple(map(tails.cells, found)),
            problems=tuple(tails.problems(found)),
        )
        for key, found in places.items()
    )


def _figure_cells(row: FigureComparison) -> tuple[str, ...]:
    ratio = row.figure.comparison is Comparison.RATIO
    gain = (figures.ratio if ratio else figures.difference)(row.gain, row.low, row.high)
    return (
        clean(row.model),
        clean(row.scheme),
        # a figure that a program of the user's found brings its own words
        clean(f"{row.figure.label}, {row.figure.unit}"),
        figures.change(row.baseline, row.treatment),
        gain,
        f"{FIGURE_SIGNS[row.verdict]} {row.verdict.value}",
        str(row.blocks),
    )
