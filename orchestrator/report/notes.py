"""What stands below a table, whatever the format: findings, problems, lost devices, totals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.analysis.table import (
    AccuracyComparison,
    FailedTrials,
    FigureComparison,
    Speedup,
    SpeedupTable,
    Verdict,
)
from orchestrator.factors import ABSENT, FACTORS, Factor, Factors
from orchestrator.frameworks.settings import level_of, taken, title_of
from orchestrator.isa.levels import capped
from orchestrator.measurement import Finding, Outcome
from orchestrator.report.clean import clean
from orchestrator.report.figures import counted, noise_floor

_Row: TypeAlias = "Speedup | AccuracyComparison | FigureComparison"

METHOD = (
    "n: blocks in which both sides ended ok. Speed-up: baseline time ÷ treatment time, one process "
    "a sample, paired within randomised blocks; Hodges-Lehmann estimate and exact signed-rank 95 % "
    "interval of the log ratio. Noise floor: the same for the baseline against itself (A/A). "
    "Faster or slower: the interval excludes 1, the effect is beyond the noise floor, and it "
    "passes Holm's correction over the table at 5 %."
)

SPEED_ALONE = (
    " Of speed alone: nothing is said of accuracy, and with random weights nothing can be."
)

DUETS = (
    " In duets: both sides of a pair ran at once, each on CPUs of its own, and so did both "
    "baselines of an A/A pair. The times hold beside such a neighbour; they are not those of a "
    "model that has the machine to itself."
)
#: Follows the place of every result from a capped instruction set.
CAPPED = " (capped, not the microarchitecture)"

#: The sign of a verdict: it carries the verdict where there is no colour.
SIGNS = {
    Verdict.FASTER: "▲",
    Verdict.SLOWER: "▼",
    Verdict.INDISTINGUISHABLE: "=",
    Verdict.INVALID: "✗",
}


@dataclass(frozen=True)
class SectionKey:
    """A device under one setting of the factors: rows that may be read beside each other."""

    device: str
    factors: Factors | None

    @property
    def isa(self) -> str:
        """The instruction set, which is part of where it ran; empty where nothing was sent."""
        return self.factors.isa if self.factors else ""


@dataclass(frozen=True)
class Explanation:
    """A finding's code once: how many comparisons have it, one of its sentences, its remedy."""

    code: str
    comparisons: int
    message: str
    remedy: str


def method(table: SpeedupTable) -> str:
    """How the figures came about, in words."""
    return METHOD + ("" if table.accuracy else SPEED_ALONE) + (DUETS if table.duet else "")


def section_of(row: Speedup) -> SectionKey:
    return SectionKey(row.device, row.factors)


def sections(rows: Iterable[Speedup]) -> dict[SectionKey, list[Speedup]]:
    found: dict[SectionKey, list[Speedup]] = {}
    for row in rows:
        found.setdefault(section_of(row), []).append(row)
    return found


def measured_sections(table: SpeedupTable) -> dict[SectionKey, list[Speedup]]:
    """Return the sections without those of devices to which nothing was sent."""
    return {key: rows for key, rows in sections(table.rows).items() if key.factors is not None}


def varied(rows: Sequence[Speedup]) -> list[str]:
    """Which settings differ between rows of one device."""
    measured = [row for row in rows if row.factors is not None]
    return [each.name for each in FACTORS if _varies_on_a_device(measured, each.name)]


def _varies_on_a_device(rows: Sequence[Speedup], name: str) -> bool:
    pairs = {(row.device, row.level(name)) for row in rows}
    return len(pairs) > len({device for device, _ in pairs})


def place(device: str, isa: str) -> str:
    """``here``, or ``here@haswell``: where the process was made to see another CPU."""
    return f"{device}@{isa}" if capped(isa) else device


def place_in_full(device: str, isa: str) -> str:
    """``here@haswell (capped, not the microarchitecture)``, or ``here``."""
    return place(device, isa) + (CAPPED if capped(isa) else "")


def section_labels(rows: Sequence[Speedup]) -> dict[SectionKey, str]:
    """A short name of each section: the device, and what else varies on one device."""
    names = varied(rows)
    return {key: clean(" ".join(_label(key, names))) for key in sections(rows)}


def _label(key: SectionKey, names: Sequence[str]) -> Iterable[str]:
    yield place_in_full(key.device, key.isa)
    if key.factors is None:
        return
    for name in names:
        if name != "isa" or not capped(key.isa):
            yield f"{name}={level_of(key.factors, name)}"


def section_label(key: SectionKey) -> str:
    """``here, litert, delegate xnnpack, …``: a section's device and setting in full."""
    return clean(", ".join((key.device, *([title_of(key.factors)] if key.factors else []))))


def by_model(rows: Iterable[Speedup]) -> dict[str, list[Speedup]]:
    found: dict[str, list[Speedup]] = {}
    for row in rows:
        found.setdefault(row.model, []).append(row)
    return found


def device_title(rows: list[Speedup]) -> str:
    """``here (cascadelake)``, or where it ran and ``, on cascadelake``."""
    first = rows[0]
    real = first.microarchitecture or "microarchitecture unknown"
    if capped(first.isa):
        return f"{place_in_full(first.device, first.isa)}, on {real}"
    return f"{first.device} ({real})"


_WHOSE = {"bundle": ", provided", "device": ", the device's own"}


def setting(rows: list[Speedup]) -> str:
    """``litert (ai-edge-litert 2.3.0), delegate xnnpack, 1 thread, batch 1, isa native``.

    Behind a runtime stands whose it is, where that is known: ``the device's own``, or ``provided``.
    """
    factors = rows[0].factors
    if factors is None:
        return "not measured"
    ran = _distinct(row.runtime_version for row in rows)
    whose = _WHOSE.get(_distinct(row.runtime_from for row in rows), "")
    said = [
        each.in_words(each.of(factors))
        # what only some runners take stands beside the runner
        for each in sorted(taken(factors), key=lambda each: each.name not in ABSENT)
        if each.name not in ("runner", "runtime")
        and (_stands(each) or not each.is_default(factors))
    ]
    return ", ".join((f"{factors.runner} ({ran or 'version unknown'}{whose})", *said))


def _stands(factor: Factor) -> bool:
    """Whether its default is said too: of what only some runners take, which others take is not
    known to every reader."""
    return factor.titled or (factor.name in ABSENT and factor.key_of_default)


def conditions(rows: Sequence[Speedup]) -> list[str]:
    """``conditions uncontrolled: …``, once with the models it holds for; nothing where nobody
    knows."""
    models: dict[str, list[str]] = {}
    for row in rows:
        if row.control and row.model not in models.setdefault(row.control, []):
            models[row.control].append(row.model)
    return [
        clean(
            f"conditions {said}" if len(models) == 1 else f"{', '.join(named)}: conditions {said}"
        )
        for said, named in models.items()
    ]


def circumstances(rows: Sequence[Speedup]) -> list[str]:
    """What the models were fed, where not what they say themselves; whether in duets; and where
    energy was read."""
    lines = _with_models("inputs", [(row.inputs, row.model) for row in rows])
    lines += _with_models("outputs looked at", [(row.looked_at, row.model) for row in rows])
    if any(row.duet for row in rows):
        lines.append("in duets: baseline and treatment at the same time, each on CPUs of its own")
    sources = _distinct(row.energy_source for row in rows)
    return [*lines, clean(f"energy from {sources}")] if sources else lines


def _with_models(what: str, said: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each different thing that is said, with the models that it is said of."""
    models: dict[str, list[str]] = {}
    for words, model in said:
        if words and model not in models.setdefault(words, []):
            models[words].append(model)
    return [clean(f"{what} {words} ({', '.join(named)})") for words, named in models.items()]


def _distinct(values: Iterable[str]) -> str:
    return "/".join(sorted({value for value in values if value}))


def codes(row: _Row) -> list[str]:
    """The row's finding codes, each once, those that forbid first; words that need no quoting."""
    return list(dict.fromkeys(_code(finding) for finding in row.findings))


def _code(finding: Finding) -> str:
    # codes come back from the journal, and ``;`` would split one in two in speedup.csv
    return re.sub(r"[^A-Za-z0-9_-]+", "_", finding.code)


def floors_of(table: SpeedupTable, section: SectionKey) -> list[str]:
    """A line a model: its noise floor, and why it got no more blocks."""
    why = {row.model: row.stopped for row in table.rows if section_of(row) == section}
    return [
        f"{floor.model}: noise floor {noise_floor(floor)}"
        + (f"; stopped: {why[floor.model]}" if why.get(floor.model) else "")
        for floor in table.noise_floors
        if SectionKey(floor.device, floor.factors) == section
    ]


def explanations(table: SpeedupTable) -> list[Explanation]:
    """Every finding code of the table once, those that forbid a comparison first."""
    seen: dict[str, list[Finding]] = {}
    rows: list[_Row] = [*table.rows, *table.accuracy, *_without_time(table)]
    for row in rows:
        for finding in row.findings:
            seen.setdefault(_code(finding), []).append(finding)
    comparisons = Counter(code for row in rows for code in codes(row))
    return [
        Explanation(code, comparisons[code], clean(_sample(findings)), clean(findings[0].remedy))
        for code, findings in sorted(seen.items(), key=_forbidding_first)
    ]


def _without_time(table: SpeedupTable) -> Iterable[FigureComparison]:
    """One of the figures of every comparison that has no time: the findings of all are the same."""
    timed = {(row.device, row.model, row.factors, row.scheme) for row in table.rows}
    found = {(row.device, row.model, row.factors, row.scheme): row for row in table.figures}
    return (row for key, row in found.items() if key not in timed)


def _forbidding_first(item: tuple[str, list[Finding]]) -> tuple[bool, str]:
    code, findings = item
    return (not any(finding.forbids for finding in findings), code)


def _sample(findings: list[Finding]) -> str:
    """Their message, or the first of several as an example."""
    messages = [finding.message for finding in findings]
    return messages[0] if len(set(messages)) == 1 else f"for example, {messages[0]}"


def totals(table: SpeedupTable) -> str:
    """``120 trials: 118 ok, 2 timeout; 4 not finished``."""
    said = [
        f"{table.outcomes[outcome]} {outcome.value}"
        for outcome in Outcome
        if table.outcomes.get(outcome)
    ]
    line = counted(sum(table.outcomes.values()), "trial")
    if said:
        line += f": {', '.join(said)}"
    if table.unfinished:
        line += f"; {table.unfinished} not finished"
    return line


def weights(table: SpeedupTable) -> str:
    """``random(seed=0) (mobilenet_v1, resnet50), imagenet (vgg16)``; empty where nobody knows."""
    models: dict[str, list[str]] = {}
    for row in table.rows:
        for source in dict.fromkeys((row.baseline_weights, row.treatment_weights)):
            if source and row.model not in models.setdefault(source, []):
                models[source].append(row.model)
    return ", ".join(
        f"{clean(source)} ({', '.join(map(clean, named))})" for source, named in models.items()
    )


def problem(each: FailedTrials) -> str:
    """``cc1 resnet50 full_int8: 6 timing trials ended timeout: did not finish …``."""
    ended = f"{counted(each.count, f'{each.kind.value} trial')} ended {each.outcome.value}"
    return f"{each.device} {each.model} {each.scheme}: {ended}: {clean(each.reason)}"
