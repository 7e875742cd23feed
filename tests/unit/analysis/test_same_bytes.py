"""Which places give the same bytes for the same file, and which do not even with themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.analysis import analyse
from orchestrator.analysis.table import SameBytes
from orchestrator.measurement import Answers, Outputs
from orchestrator.report import FORMATS, render
from orchestrator.report.view import view_of
from orchestrator.runs.records import RunRecord, TrialRecord
from tests.analysis_runs import BASELINE, FACTORS, answer, blocks_of, run_of

ONE, OTHER = answer(1.0, 2.0), answer(1.0, 2.5)
Where = tuple[str, int]


def ran(outputs: Mapping[Where, Sequence[Outputs | None]]) -> RunRecord:
    """The baseline's file on these devices with so many threads; its processes answer in turn."""
    trials = []
    for (device, threads), told in outputs.items():
        factors = replace(FACTORS, threads=threads)
        for number, record in enumerate(
            blocks_of({BASELINE: 100.0, "full_int8": 50.0}, 6, device=device, factors=factors)
        ):
            shown = told[number % len(told)] if record.trial.variant.scheme == BASELINE else None
            assert record.measurement is not None
            trials.append(replace(record, measurement=replace(record.measurement, outputs=shown)))
    return run_of(trials)


def found(run: RunRecord) -> SameBytes:
    (one,) = analyse(run).same_bytes
    return one


def groups(run: RunRecord) -> list[set[Where]]:
    return [{(p.device, p.factors.threads) for p in group} for group in found(run).groups]


def test_places_are_grouped_by_what_they_answer() -> None:
    run = ran({("a", 1): [ONE], ("a", 2): [OTHER], ("b", 1): [ONE], ("b", 2): [ONE]})
    assert groups(run) == [{("a", 1), ("b", 1), ("b", 2)}, {("a", 2)}]
    assert found(run).scheme == BASELINE and found(run).varying == ()


def test_a_file_that_ran_in_one_place_or_shows_nothing_has_no_line() -> None:
    assert analyse(ran({("a", 1): [ONE]})).same_bytes == ()
    assert analyse(ran({("a", 1): [None], ("a", 2): [None]})).same_bytes == ()
    unread = Outputs(problem="an inference failed")
    assert analyse(ran({("a", 1): [unread], ("a", 2): [unread]})).same_bytes == ()


def test_a_place_that_varies_in_itself_is_in_no_group_and_found() -> None:
    run = ran({("a", 1): [ONE], ("a", 2): [ONE, OTHER], ("b", 1): [ONE]})
    assert groups(run) == [{("a", 1), ("b", 1)}]
    assert [(p.device, p.factors.threads) for p in found(run).varying] == [("a", 2)]
    rows = {(r.device, r.level("threads")): {f.code for f in r.findings} for r in analyse(run).rows}
    assert ["outputs_vary" in codes for codes in rows.values()] == [False, True, False]


def accuracy_of(digests: Mapping[Where, Mapping[int, str]]) -> RunRecord:
    """Of some places what trials of accuracy answered, shard by shard, beside equal checks."""
    run = ran({where: [ONE] for where in digests})
    trials: list[TrialRecord] = []
    for record in run.trials:
        trial, measured = record.trial, record.measurement
        assert measured is not None
        told = digests[trial.device, trial.factors.threads].get(trial.block)
        if trial.variant.scheme == BASELINE and told is not None:
            measured = replace(measured, answers=Answers(128 * trial.block, 128, told))
        trials.append(replace(record, measurement=measured))
    return replace(run, trials=tuple(trials))


def test_answers_to_samples_count_as_well() -> None:
    run = accuracy_of({("a", 1): {0: "x", 1: "y"}, ("a", 2): {0: "x", 1: "z"}, ("b", 1): {0: "x"}})
    # of the third place nothing is known that speaks against either
    assert groups(run) == [{("a", 1), ("b", 1)}, {("a", 2)}]


def test_it_is_told_in_every_format_by_what_tells_the_places_apart() -> None:
    run = ran({("a", 1): [ONE], ("a", 2): [OTHER], ("b", 1): [ONE], ("b", 2): [OTHER]})
    table = analyse(run)
    for form in set(FORMATS) - {"csv", "json"}:
        text = render(table, form, width=120)
        assert "Same bytes" in text and "in 2 of 4" in text, form
        assert "threads=1" in text and "threads=2" in text, form
    (told,) = json.loads(render(table, "json"))["same_bytes"]
    assert [len(group) for group in told["groups"]] == [2, 2]
    plain = analyse(run_of(blocks_of({BASELINE: 100.0, "full_int8": 50.0}, 6)))
    assert "same_bytes" not in render(plain, "json") and "Same bytes" not in render(plain, "text")


def test_places_that_no_level_tells_apart_are_named() -> None:
    run = ran({("a", 1): [ONE], ("a", 2): [OTHER], ("b", 1): [OTHER], ("b", 2): [ONE]})
    text = render(analyse(run), "text", width=120)
    for where in ("a, threads=1", "b, threads=2", "a, threads=2", "b, threads=1"):
        assert where in text
    every = render(analyse(ran({("a", 1): [ONE], ("b", 1): [ONE]})), "text", width=120)
    assert "in all 2" in every and "wherever it ran" in every


def test_files_of_one_variant_are_told_apart_by_what_made_them() -> None:
    """Exported with an open and with a fixed batch, each answering alike on two devices."""
    trials: list[TrialRecord] = []
    for export in ("open", "fixed"):
        for record in ran({("a", 1): [ONE], ("b", 1): [ONE]}).trials:
            factors = replace(record.trial.factors, export=export)
            sha256 = f"{export}-{record.trial.variant.scheme}"
            trial = replace(record.trial, factors=factors)
            trials.append(replace(record, trial=trial, artifact_sha256=sha256))
    table = analyse(run_of(trials))
    assert len(table.same_bytes) == 2
    (grid,) = view_of(table).same_bytes
    assert [row[1] for row in grid.cells] == [
        f"{BASELINE}, export=open",
        f"{BASELINE}, export=fixed",
    ]
