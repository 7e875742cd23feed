"""A static site of many runs: models × devices, every cell with its run's evidence.

``index.html`` is the one page of ours with a script, which filters and sorts what is in the page;
its data is in ``leaderboard.json`` as well. Each run has a page of evidence, without a script. No
figure is computed here, and none is averaged: a cell of the overview is of the newest run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import __version__
from orchestrator.analysis.drift.comparison import ReadRun
from orchestrator.analysis.drift.merged import RunFiles, suite_sha256
from orchestrator.analysis.sides.recorded import SideKey
from orchestrator.analysis.table import Speedup, Verdict
from orchestrator.factors import Factors
from orchestrator.frameworks.settings import title_of, unusual
from orchestrator.measurement import Outcome
from orchestrator.report import figures, flat
from orchestrator.report.clean import clean
from orchestrator.report.markup import Markup, element, join
from orchestrator.report.notes import METHOD, SIGNS, codes, place_in_full, totals
from orchestrator.report.page import PageSection, grid, page, row_of, shipped
from orchestrator.runs.records import TrialRecord
from orchestrator.trial import TrialKind

#: Version of leaderboard.json's shape. 1: the first.
JSON_FORMAT = 1
TITLE = "Speed of quantized models"
NEWEST = (
    "Each cell is one comparison of the newest run that has it, with that run's own interval and "
    "verdict, and leads to its evidence. Older runs are counted behind it and stand in the list "
    "below; none is averaged. Two cells are of the same files only where the SHA-256 are the same: "
    "orchestrate merge says so line by line."
)


@dataclass(frozen=True)
class Entry:
    """One comparison of one run. ``page`` is where its evidence stands."""

    run_id: str
    created: str
    suite: str
    row: Speedup
    factors: Factors
    baseline_sha256: str
    treatment_sha256: str
    page: str


def entries_of(run: ReadRun, folder: str) -> tuple[Entry, ...]:
    """Return every comparison of a run of which anything was sent. ``folder`` is the name of its
    folder, under which its page is found."""
    files = RunFiles(run.record)
    sent = [(row, row.factors) for row in run.table.rows if row.factors is not None]
    found = []
    for number, (row, factors) in enumerate(sent, 1):
        both = files.of(row, factors)
        found.append(
            Entry(
                run_id=folder,
                created=run.manifest.created,
                suite=run.record.suite,
                row=row,
                factors=factors,
                baseline_sha256=both.baseline,
                treatment_sha256=both.treatment,
                page=f"runs/{folder}.html#c{number}",
            )
        )
    return tuple(found)


def index(
    entries: Sequence[Entry], runs: Sequence[Mapping[str, Any]], skipped: Sequence[str]
) -> str:
    """The page of all runs; ``skipped`` says which folders are not in it, and why."""
    count = figures.counted(len(runs), "run")
    lead = element(
        "p",
        f"{figures.counted(len(entries), 'comparison')} of {count}. The data: ",
        element("a", "leaderboard.json", href="leaderboard.json"),
        class_="quiet",
    )
    return page(
        TITLE,
        count,
        (lead, _controls(entries)),
        _parts(entries, runs, skipped),
        css=shipped("leaderboard.css"),
        script=shipped("leaderboard.js"),
    )


def to_json(
    entries: Sequence[Entry], runs: Sequence[Mapping[str, Any]], skipped: Sequence[str]
) -> str:
    """Everything in the page, for programs. ASCII only."""
    document = {
        "format": JSON_FORMAT,
        "orchestrate": __version__,
        "method": METHOD,
        "runs": list(runs),
        "skipped": list(skipped),
        "comparisons": [
            {
                **flat.row_to_json(each.row),
                "run_id": each.run_id,
                "created": each.created,
                "suite": each.suite,
                "baseline_sha256": each.baseline_sha256,
                "treatment_sha256": each.treatment_sha256,
                "evidence": each.page,
            }
            for each in entries
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def run_to_json(run: ReadRun, folder: str) -> dict[str, Any]:
    """A run as leaderboard.json lists it."""
    return {
        "run_id": folder,
        "created": run.manifest.created,
        "suite": run.record.suite,
        "suite_sha256": suite_sha256(run),
        "baseline": run.record.baseline,
        "devices": list(run.record.devices),
        "trials": len(run.record.trials),
        "versions": dict(run.manifest.versions),
        "page": f"runs/{folder}.html",
    }


# -- the index ------------------------------------------------------------------------------------


def _controls(entries: Sequence[Entry]) -> Markup:
    """What the script filters by; hidden where there is no script."""
    told = {
        "model": [each.row.model for each in entries],
        "scheme": [each.row.scheme for each in entries],
        "device": [_device(each) for each in entries],
        "verdict": [each.row.verdict.value for each in entries],
    }
    selects = (
        element(
            "label",
            name.capitalize(),
            element(
                "select",
                element("option", "all", value=""),
                *(element("option", clean(v), value=clean(v)) for v in sorted(set(values))),
                data_by=name,
            ),
        )
        for name, values in told.items()
    )
    words = element("label", "Words", element("input", id="words", type="search"))
    count = element("span", "", id="shown", class_="quiet")
    return element("div", words, *selects, count, id="controls", class_="controls", hidden="")


def _parts(
    entries: Sequence[Entry], runs: Sequence[Mapping[str, Any]], skipped: Sequence[str]
) -> Iterable[PageSection]:
    quiet = element("p", NEWEST, class_="quiet")
    yield PageSection("overview", "Models × devices", join([quiet, _overview(entries)]))
    yield PageSection("list", "Every comparison", _list(entries))
    yield PageSection("runs", "Runs", _runs(runs))
    lines = [element("li", clean(line)) for line in skipped]
    listed = element("ul", *lines) if lines else Markup()
    yield PageSection("skipped", "Folders that are not in it", listed)
    yield PageSection("method", "How to read this", element("p", METHOD))


def _device(entry: Entry) -> str:
    return place_in_full(entry.row.device, entry.row.isa)


def _overview(entries: Sequence[Entry]) -> Markup:
    """A row a model, scheme and setting, a column a device and runner."""
    cells: dict[tuple[str, ...], dict[tuple[str, str], list[Entry]]] = {}
    for each in entries:
        words = ", ".join(unusual(each.factors))
        name = (each.row.model, each.row.scheme, each.row.baseline_scheme, words)
        column = (_device(each), each.factors.runner)
        cells.setdefault(name, {}).setdefault(column, []).append(each)
    columns = sorted({column for row in cells.values() for column in row})
    several = len({name[2] for name in cells}) > 1
    head = element(
        "tr",
        *(element("th", name, scope="col") for name in ("Model", "Scheme", "Setting")),
        *(
            element("th", clean(f"{device}, {runner}"), scope="col",
                    data_column_device=clean(device))
            for device, runner in columns
        ),
    )  # fmt: skip
    body = []
    for (model, scheme, baseline, words), found in sorted(cells.items()):
        over = f" over {baseline}" if several else ""
        shown = (_newest(found.get(column, ()), column[0]) for column in columns)
        body.append(
            element(
                "tr",
                element("th", clean(model), scope="row"),
                element("td", clean(scheme + over)),
                element("td", clean(words) or figures.NONE),
                *shown,
                data_model=clean(model),
                data_scheme=clean(scheme),
            )
        )
    table = element("table", element("thead", head), element("tbody", *body), data_sortable="")
    return element("div", table, class_="scroll", tabindex="0")


def _newest(found: Sequence[Entry], device: str) -> Markup:
    held = {"data_column_device": clean(device)}
    if not found:
        return element("td", figures.NONE, data_value="", **held)
    newest = max(found, key=lambda each: (each.created, each.run_id))
    older = len(found) - 1
    more = (element("span", f" +{older}", class_="more"),) if older else ()
    return element(
        "td", _link(newest), *more, data_value=_value(newest.row.speedup), class_="number", **held
    )


def _link(entry: Entry) -> Markup:
    row = entry.row
    said = (
        row.verdict.value
        if row.speedup is None
        else figures.ratio(row.speedup, row.ci_low, row.ci_high)
    )
    inner = element("span", f"{SIGNS[row.verdict]} {said}", class_=row.verdict.value)
    return element("a", inner, href=entry.page)


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


_HEADER = (
    "Model", "Scheme", "Device", "Microarchitecture", "Setting", "Speed-up, 95 % interval", "n",
    "Time, ms", "Size, MB", "Memory, MB", "Accuracy, %", "Findings", "Begun",
)  # fmt: skip


def _list(entries: Sequence[Entry]) -> Markup:
    head = element("tr", *(element("th", name, scope="col") for name in _HEADER))
    table = element(
        "table",
        element("thead", head),
        element("tbody", *map(_line, entries)),
        id="all",
        data_sortable="",
    )
    return element("div", table, class_="scroll", tabindex="0")


def _line(entry: Entry) -> Markup:
    row = entry.row
    numbers = (
        (figures.number(row.treatment_ms), row.treatment_ms),
        (figures.number(row.treatment_size_mb), row.treatment_size_mb),
        (figures.number(row.treatment_memory_mb), row.treatment_memory_mb),
        (_percent(row.treatment_accuracy), row.treatment_accuracy),
    )
    return element(
        "tr",
        element("th", clean(row.model), scope="row"),
        element("td", clean(row.scheme)),
        element("td", clean(_device(entry))),
        element("td", clean(row.microarchitecture) or figures.NONE),
        element("td", clean(f"{title_of(entry.factors)}; {row.runtime_version}")),
        element("td", _link(entry), data_value=_value(row.speedup), class_="number"),
        element("td", str(row.blocks), data_value=str(row.blocks), class_="number"),
        *(element("td", t, data_value=_value(v), class_="number") for t, v in numbers),
        element("td", ", ".join(codes(row)) or figures.NONE),
        element("td", clean(entry.created[:10]), title=clean(entry.run_id)),
        data_model=clean(row.model),
        data_scheme=clean(row.scheme),
        data_device=clean(_device(entry)),
        data_verdict=row.verdict.value,
    )


def _percent(share: float | None) -> str:
    return figures.NONE if share is None else f"{100 * share:.2f}"


def _runs(runs: Sequence[Mapping[str, Any]]) -> Markup:
    return grid(
        ("Run", "Begun", "Suite", "Devices", "Trials", "orchestrate"),
        (
            row_of(
                element("td", element("a", each["run_id"], href=each["page"])),
                clean(each["created"][:10]),
                clean(f"{each['suite']} ({each['suite_sha256'][:8]})"),
                clean(", ".join(each["devices"])),
                str(each["trials"]),
                clean(each["versions"].get("orchestrate", figures.NONE)),
            )
            for each in runs
        ),
    )


# -- a run's evidence -----------------------------------------------------------------------------


def evidence(run: ReadRun, entries: Sequence[Entry]) -> str:
    """The page of one run: each comparison with the processes that it rests on."""
    manifest = run.manifest
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    lead = (
        element("p", element("a", "All runs", href="../index.html")),
        element(
            "p",
            clean(
                f"Begun {manifest.created[:19].replace('T', ' ')} UTC, suite {run.record.suite} "
                f"({suite_sha256(run)[:8]}), {totals(run.table)}. {versions}."
            ),
            class_="quiet",
        ),
    )
    trials = _trials(run.record.trials)
    parts = [
        part
        for number, entry in enumerate(entries, 1)
        for part in _comparison(number, entry, trials)
    ]
    method = PageSection("method", "How to read this", element("p", METHOD))
    return page(
        f"Evidence of run {manifest.run_id}",
        manifest.run_id,
        lead,
        (PageSection("comparisons", "Comparisons", join(parts)), method),
    )


def _trials(records: Iterable[TrialRecord]) -> dict[SideKey, list[TrialRecord]]:
    found: dict[SideKey, list[TrialRecord]] = {}
    for record in records:
        trial = record.trial
        if trial.kind is TrialKind.TIMING:
            key = (trial.device, trial.variant.model, trial.factors, trial.variant.scheme)
            found.setdefault(key, []).append(record)
    return found


def _comparison(
    number: int, entry: Entry, trials: Mapping[SideKey, Sequence[TrialRecord]]
) -> Iterable[Markup]:
    row, factors = entry.row, entry.factors
    name = clean(f"{row.model} {row.scheme} over {row.baseline_scheme}, {_device(entry)}")
    yield element("h3", name, id=f"c{number}")
    word = element(
        "span", f"{SIGNS[row.verdict]} {row.verdict.value}", class_=f"verdict {row.verdict.value}"
    )
    floor = "" if row.noise_floor is None else f", noise floor {row.noise_floor:.4g}"
    shown = "" if row.verdict is Verdict.INVALID else f"{figures.speedup(row)}, "
    yield element("p", word, " ", clean(f"{shown}{row.blocks} blocks{floor}: {row.reason}."))
    yield element("p", clean(f"{title_of(factors)}; {row.runtime_version}; {row.control}"),
                  class_="quiet")  # fmt: skip
    sides = (
        (row.baseline_scheme, entry.baseline_sha256),
        (row.scheme, entry.treatment_sha256),
    )
    for scheme, sha256 in sides:
        yield element("p", clean(f"{scheme}: SHA-256 {sha256 or 'not recorded'}"), class_="quiet")
    records = [
        record
        for scheme, _ in sides
        for record in trials.get((row.device, row.model, factors, scheme), ())
    ]
    records.sort(key=lambda e: (e.trial.block, e.trial.variant.scheme, e.trial.replicate))
    rows = (
        row_of(
            str(record.trial.block + 1),
            clean(record.trial.variant.scheme),
            _median(record),
            record.outcome.value,
            element("td", clean(f"logs/{record.trial.trial_id}.txt"), class_="hash"),
        )
        for record in records
    )
    table = grid(("Block", "Scheme", "Median, ms", "Ended", "Raw log in the run's folder"), rows)
    summary = element("summary", f"The {len(records)} processes that it rests on")
    yield element("details", summary, table)


def _median(record: TrialRecord) -> str:
    measured = record.measurement
    if record.outcome is not Outcome.OK or measured is None or measured.steady is None:
        return figures.NONE
    centre = measured.steady.centre_us
    return figures.number(None if centre is None else centre / 1000)
