"""Every known silent failure is a finding: provoked, explained, and forbidding where it must."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.analysis import Speedup, Verdict, analyse
from orchestrator.frameworks.parts import runner_named
from orchestrator.measurement import Delegation, Finding, Measurement, Outcome, Outputs
from orchestrator.report import render
from orchestrator.runs.records import Flaw, RunRecord, SplitDevice, TrialRecord
from orchestrator.trial import PhaseSettings, RunSettings, TrialKind
from tests import onnxruntime_cases
from tests import runner_cases as cases
from tests.analysis_runs import (
    BASELINE,
    FACTORS,
    answer,
    answering,
    artifacts,
    bad,
    blocks_of,
    duets_of,
    ok,
    run_of,
    with_finding,
)

ROOT = Path(__file__).resolve().parents[3]
INT8 = "full_int8"
TIMES = {BASELINE: 100_000.0, INT8: 25_000.0}

LIVE, ZEROS = answer(0.5, -1.0, 2.0, 0.25), answer(0.0, 0.0, 0.0, 0.0)
SMALL = answer(0.0002, 0.001, 0.0015, 0.0007)

#: Of the trials' conditions: made where a trial's health is judged, and tested there.
CONDITIONS = {
    "throttled", "under_voltage", "quota_reached", "frequency_changed", "load", "steal",
    "clock_jump", "unpinned_binary", "drift", "gate_timeout",
}  # fmt: skip

#: Of answers and scores: provoked in tests/unit/measures/accuracy and in test_accuracy.
OF_ACCURACY = {
    "not_finite", "constant_outputs", "saturated_outputs", "one_class", "baseline_at_chance",
    "labels_shifted", "no_scores", "lenient_threshold", "axes_swapped", "box_format", "not_scaled",
    "coarser_is_better", "too_few_samples", "random_weights", "outputs_unclear",
    "nothing_answered", "shard_missing", "answers_unreadable", "not_scored",
    "calibrated_on_evaluation", "calibration_random", "seen_in_training", "constant_input",
    "preprocessing_suspect", "depends_on_the_batch", "masks_misplaced", "masks_left_out",
}  # fmt: skip


# -- the page and the code


def documented() -> dict[str, bool]:
    """Code → whether it forbids, as docs/reference/findings.md says."""
    page = (ROOT / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (✗?) ?(?:\(✗\) )?\| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert all(cause.strip() and remedy.strip() for _, _, cause, remedy in rows)
    assert len({code for code, *_ in rows}) == len(rows)
    return {code: bool(mark) for code, mark, *_ in rows}


def made() -> dict[str, bool]:
    """Code → whether it forbids, of every ``Finding("code", …)`` in the product."""
    found: dict[str, bool] = {}
    for path in (ROOT / "orchestrator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding"):
                continue
            first = node.args[0]
            if isinstance(first, ast.Constant):
                forbids = any(k.arg == "forbids" for k in node.keywords)
                found[str(first.value)] = found.get(str(first.value), False) or forbids
    return found


#: Made of a value, not of a literal; each is provoked below.
BY_VALUE = {
    "runtime_mismatch", "statistic_mismatch", "power_mode_mismatch", "weights_mismatch",
    "no_baseline",
    "failed", "killed", "timeout", "incompatible",
}  # fmt: skip


def test_the_page_lists_every_code_and_no_other() -> None:
    page, code = documented(), made()
    assert code.keys() | BY_VALUE <= page.keys()
    assert page.keys() <= code.keys() | BY_VALUE


def test_the_page_marks_what_forbids() -> None:
    page, code = documented(), made()
    assert {c: page[c] for c in code} == code
    assert all(page[c] for c in BY_VALUE)


# -- provoked, each in a run whose report is then made


def row_of(run: RunRecord) -> Speedup:
    (row,) = analyse(run).rows
    return row


def changed(run: RunRecord, scheme: str, **fields: object) -> RunRecord:
    trials = [
        dataclasses.replace(r, **fields) if r.trial.variant.scheme == scheme else r  # type: ignore[arg-type] # fields vary by case
        for r in run.trials
    ]
    return dataclasses.replace(run, trials=tuple(trials))


def clean_run(**changes: object) -> RunRecord:
    return run_of(blocks_of(TIMES, 8), **changes)


def a_log(
    case: str = "recorded/t1_fp32",
    *,
    steady: int = 30,
    size: int = cases.FP32_SIZE,
    kind: TrialKind = TrialKind.TIMING,
    delegate: str = "xnnpack",
    threads: int = 1,
    stdout_bytes: int | None = None,
    launch: str | None = None,
) -> RunRecord:
    """A run in whose first block a real log of the official binary was read."""
    settings = RunSettings(PhaseSettings(5, 0.5), PhaseSettings(steady, 1.0), 300.0)
    evidence = dataclasses.replace(cases.recorded(case), launch=launch)
    if stdout_bytes is not None:
        evidence = dataclasses.replace(evidence, stdout_bytes=stdout_bytes)
    asked = cases.a_trial(kind=kind, delegate=delegate, threads=threads)
    reading = runner_named("benchmark_model").read(
        asked, settings, cases.files(size=size), evidence
    )
    assert reading.outcome is Outcome.OK, reading.reason
    first, *rest = blocks_of(TIMES, 8)
    return run_of([with_findings(first, reading.findings), *rest])


def with_findings(record: TrialRecord, findings: tuple[Finding, ...]) -> TrialRecord:
    for finding in findings:
        record = with_finding(record, finding)
    return record


def changed_artifacts(**fields: object) -> RunRecord:
    known = {
        v: dataclasses.replace(a, **fields) if v.scheme == INT8 else a  # type: ignore[arg-type] # fields vary by case
        for v, a in artifacts().items()
    }
    return clean_run(artifacts=known)


def exported(**of: str | None) -> RunRecord:
    known = {v: dataclasses.replace(a, exported=of.get(v.scheme)) for v, a in artifacts().items()}
    return clean_run(artifacts=known)


def unlike_exports() -> RunRecord:
    return exported(**{BASELINE: "fixed", INT8: "open"})


def jetson(mode: str) -> dict[str, object]:
    return {"jetson": {"power_mode": mode, "power_mode_id": 0, "clocks_locked": True}}


def same_content() -> RunRecord:
    return changed(changed_artifacts(sha256="c" * 64), BASELINE, artifact_sha256="c" * 64)


def only_means() -> RunRecord:
    run = clean_run()
    trials = [
        dataclasses.replace(r, measurement=timed(r.measurement, median_us=None))
        if r.trial.variant.scheme == INT8
        else r
        for r in run.trials
    ]
    return dataclasses.replace(run, trials=tuple(trials))


def delegated(baseline: tuple[int, int], treatment: tuple[int, int]) -> RunRecord:
    """A delegate took so many nodes of so many."""
    trials = []
    for record in clean_run().trials:
        taken, nodes = baseline if record.trial.variant.scheme == BASELINE else treatment
        assert record.measurement is not None
        told = Delegation("xnnpack", delegated_nodes=taken, total_nodes=nodes)
        measurement = dataclasses.replace(record.measurement, delegation=told)
        trials.append(dataclasses.replace(record, measurement=measurement))
    return run_of(trials)


def timed(measurement: Measurement | None, **figures: float | None) -> Measurement:
    assert measurement is not None
    steady = dataclasses.replace(measurement.timing, **figures)  # type: ignore[arg-type] # floats
    return dataclasses.replace(measurement, steady=steady)


def disagreeing() -> RunRecord:
    """The study's ResNet50 in one session: faster by the median, slower by the mean."""
    trials = []
    for record in blocks_of({BASELINE: 100_000.0, INT8: 90_000.0}, 10, seed=3):
        median = record.measurement.timing.median_us if record.measurement else None
        assert median is not None
        tail = 1.25 if record.trial.variant.scheme == INT8 else 1.0
        figures = {"mean_us": median * tail, "min_us": median * 0.98}
        measurement = timed(record.measurement, **figures)
        trials.append(dataclasses.replace(record, measurement=measurement))
    return run_of(trials)


def unlike_baselines() -> RunRecord:
    trials = [
        dataclasses.replace(r, measurement=timed(r.measurement, median_us=104_000 + r.trial.block))
        if r.trial.replicate
        else r
        for r in blocks_of(TIMES, 10)
    ]
    return run_of(trials)


def ended(outcome: Outcome, scheme: str = INT8) -> Callable[[], RunRecord]:
    def run() -> RunRecord:
        good = [t for t in blocks_of(TIMES, 6) if t.trial.variant.scheme != scheme]
        return run_of([*good, *(bad(scheme, block, outcome) for block in range(6))])

    return run


def half(scheme_blocks: int) -> list[TrialRecord]:
    return [ok(BASELINE, b, 1.0) for b in range(scheme_blocks)]


def outputs_vary() -> RunRecord:
    """The last process answers otherwise than those before it, in a way that rounding explains."""
    run = answering(LIVE, LIVE)
    *trials, last = run.trials
    assert last.measurement is not None
    otherwise = dataclasses.replace(last.measurement, outputs=answer(0.5, -1.0, 2.0, 0.2500001))
    return dataclasses.replace(
        run, trials=(*trials, dataclasses.replace(last, measurement=otherwise))
    )


def in_floats() -> RunRecord:
    """What the onnxruntime runner reads where two of 26 convolutions ran on integers."""
    ran = {"taken": 0, "assigned": 179, "products": 26, "integer": 2, "conversions": 98}
    asked = cases.a_trial(runner="onnxruntime", runtime="onnxruntime", delegate="none")
    told = cases.evidence(onnxruntime_cases.said(onnxruntime_cases.result(ran=ran)))
    reading = runner_named("onnxruntime").read(
        asked, cases.SETTINGS, cases.files(size=onnxruntime_cases.SIZE), told
    )
    first, *rest = blocks_of(TIMES, 8)
    return run_of([with_findings(first, reading.findings), *rest])


def other_cores() -> RunRecord:
    """A phone's scheduler that takes the quantized network for light work."""
    clusters = [
        {"microarchitecture": "cortex-a76", "cpus": [4, 5]},
        {"microarchitecture": "cortex-a55", "cpus": [0, 1, 2, 3]},
    ]
    run = clean_run(facts={"here": {"cpu": {"clusters": clusters}}})
    run = changed(run, BASELINE, ran_on={"4": 0.9, "5": 0.6, "0": 0.1})
    return changed(run, INT8, ran_on={"4": 0.1, "1": 0.8, "2": 0.2})


PROVOKED: dict[str, Callable[[], RunRecord]] = {
    "truncated": lambda: a_log(steady=500),
    "short_warmup": lambda: a_log("recorded/warmup0"),
    "memory_zero": lambda: a_log("composed/all_same", size=5856),
    "memory_inherited": lambda: a_log(launch="direct"),
    "delegate_mismatch": lambda: a_log(delegate="none"),
    "nothing_delegated": lambda: a_log("composed/nothing_delegated", size=5856),
    "computed_in_float": in_floats,
    "wrong_file": lambda: a_log(size=cases.FP32_SIZE + 5_000),
    "wrong_threads": lambda: a_log(threads=4),
    "output_capped": lambda: a_log(stdout_bytes=10**9),
    "runtime_mismatch": lambda: changed(clean_run(), INT8, binary_sha256="b" * 64),
    "statistic_mismatch": only_means,
    "power_mode_mismatch": lambda: changed(
        changed(clean_run(), BASELINE, health_before=jetson("MAXN")),
        INT8,
        health_before=jetson("MODE_15W"),
    ),
    "weights_mismatch": lambda: changed_artifacts(weights="imagenet"),
    "same_content": same_content,
    "artifact_changed": lambda: run_of(
        [*blocks_of(TIMES, 6), dataclasses.replace(ok(INT8, 6, 1.0), artifact_sha256="d" * 64)]
    ),
    "computes_nothing": lambda: answering(LIVE, ZEROS),
    "computes_otherwise": lambda: answering(LIVE, answer(-2.0, 1.0, -2.0, 3.0)),
    "outputs_disagree": lambda: answering(LIVE, answer(0.5, -0.2, 1.4, 0.25)),
    "outputs_constant": lambda: answering(answer(1.0, 1.0), answer(2.0, 2.0)),
    "scale_swallows": lambda: answering(SMALL, answer(0.0, 0.0, 0.0, 0.0, step=0.0039)),
    "outputs_vary": outputs_vary,
    "outputs_unread": lambda: answering(LIVE, Outputs(problem="an inference failed")),
    "no_op": lambda: changed_artifacts(no_op="it has no Linear layer"),
    "larger_than_baseline": lambda: changed_artifacts(size_bytes=10**9),
    "export_mismatch": unlike_exports,
    "less_delegated": lambda: delegated((75, 75), (21, 75)),
    "cpu_quota": lambda: clean_run(facts={"here": {"cpu": {"cpu_quota": 0.5}}}),
    "other_cores": other_cores,
    "emulated": lambda: clean_run(facts={"here": {"virtualization": "qemu-user"}}),
    "too_few_blocks": lambda: run_of(blocks_of(TIMES, 4)),
    "noisy": lambda: clean_run(precision=0.00001),
    "no_noise_floor": lambda: run_of([r for r in blocks_of(TIMES, 8) if not r.trial.replicate]),
    "aa_effect": unlike_baselines,
    "estimator_disagreement": disagreeing,
    "duet_overlap": lambda: run_of(duets_of(TIMES, 8, apart=0.3), duet=True),
    "failures": lambda: run_of([*blocks_of(TIMES, 8), bad(INT8, 8)]),
    "no_time": lambda: run_of([*blocks_of(TIMES, 8), ok(INT8, 8, None)]),
    "journal_incomplete": lambda: clean_run(flaws=(Flaw("here", "line 4: lost", loses=True),)),
    "journal_damaged": lambda: clean_run(flaws=(Flaw("here", "line 4: twice", loses=False),)),
    "several_machines": lambda: clean_run(split={"here": SplitDevice("node", ("model_name",))}),
    "no_baseline": ended(Outcome.FAILED, BASELINE),
    "failed": ended(Outcome.FAILED),
    "killed": ended(Outcome.KILLED),
    "timeout": ended(Outcome.TIMEOUT),
    "incompatible": ended(Outcome.INCOMPATIBLE),
    "unpaired": lambda: run_of([*half(3), *(ok(INT8, b, 1.0) for b in (3, 4, 5))]),
    "not_measured": lambda: run_of(half(6)),
    "device_lost": lambda: run_of(half(6), lost={"here": "connection refused"}),
}


def test_files_that_hold_their_batch_alike_or_say_nothing_are_no_finding() -> None:
    for alike in ({BASELINE: "open", INT8: "open"}, {BASELINE: "open"}, {}):
        assert "export_mismatch" not in {f.code for f in row_of(exported(**alike)).findings}
    (said,) = [f for f in row_of(unlike_exports()).findings if f.code == "export_mismatch"]
    assert f"{BASELINE} with the batch fixed, {INT8} with the batch left open" in said.message


@pytest.mark.parametrize(
    ("baseline", "treatment", "less"),
    [
        ((30, 34), (19, 34), True),
        ((75, 75), (0, 75), True),
        ((75, 75), (74, 75), False),
        ((30, 34), (34, 34), False),
        ((0, 75), (0, 75), False),
        ((0, 0), (0, 0), False),
    ],
)
def test_less_delegated_is_a_matter_of_shares(
    baseline: tuple[int, int], treatment: tuple[int, int], less: bool
) -> None:
    row = row_of(delegated(baseline, treatment))
    assert ("less_delegated" in {f.code for f in row.findings}) == less
    assert row.verdict is not Verdict.INVALID


def test_every_code_is_provoked() -> None:
    # those of imported figures in tests/unit/imports, of two runners in test_across
    of_imports = {
        "imported", "published_figure", "no_counterpart", "coarse_times", "misprinted_deviation",
    }  # fmt: skip
    # in tests/unit/frameworks/test_runner_llama and test_llm_file
    of_language_models = {
        "beyond_context", "build_lacks_instructions", "isa_of_the_build", "scheme_not_as_named",
        "requantized",
    }  # fmt: skip
    # threads_not_told in tests/unit/frameworks/test_runner_command
    elsewhere = {*of_imports, *OF_ACCURACY, *of_language_models, "two_files", "threads_not_told"}
    assert PROVOKED.keys() | elsewhere == documented().keys() - CONDITIONS


@pytest.mark.parametrize("code", PROVOKED)
def test_a_provoked_finding_is_told_and_forbids_where_it_must(code: str) -> None:
    run = PROVOKED[code]()
    row = row_of(run)
    (finding,) = [f for f in row.findings if f.code == code]
    assert finding.message
    assert finding.remedy
    assert finding.forbids == documented()[code]
    assert not finding.forbids or row.verdict is Verdict.INVALID
    if row.verdict is Verdict.INVALID:
        assert row.speedup is None
        assert row.by_mean is None
        assert row.by_minimum is None
    for shape in ("text", "markdown", "json"):
        text = render(analyse(run), shape, width=100)
        assert code in text.replace("\\", "")


# -- a Jetson's power mode


def test_one_power_mode_throughout_is_no_finding_whichever_it_is() -> None:
    run = clean_run()
    for scheme in (BASELINE, INT8):
        run = changed(run, scheme, health_before=jetson("MODE_15W"), conditions={})
    row = row_of(run)
    assert row.findings == ()
    assert row.control.endswith("power mode MODE_15W")


# -- a quota of CPU time


@pytest.mark.parametrize(
    ("threads", "quota", "told"),
    [(1, 0.5, True), (1, 1.0, False), (4, 2.0, True), (4, 4.0, False), (1, None, False)],
)
def test_a_quota_matters_below_the_threads_that_compute(
    threads: int, quota: float | None, told: bool
) -> None:
    factors = dataclasses.replace(FACTORS, threads=threads)
    facts = {"here": {"cpu": {"cpu_quota": quota}}}
    row = row_of(run_of(blocks_of(TIMES, 8, factors=factors), facts=facts))
    assert ("cpu_quota" in [f.code for f in row.findings]) is told
    assert row.verdict is Verdict.FASTER


def test_the_halves_of_a_duet_share_a_quota() -> None:
    facts = {"here": {"cpu": {"cpu_quota": 1.5}}}
    row = row_of(run_of(duets_of(TIMES, 8), facts=facts, duet=True))
    (finding,) = [f for f in row.findings if f.code == "cpu_quota"]
    assert "2 threads" in finding.message


# -- mean, median and minimum


def test_the_statistics_verdicts_stand_beside_each_other() -> None:
    row = row_of(disagreeing())
    assert row.by_mean is not None
    assert row.by_minimum is not None
    assert (row.verdict, row.by_mean.verdict) == (Verdict.FASTER, Verdict.SLOWER)
    assert row.by_minimum.verdict is Verdict.FASTER
    assert row.by_mean.speedup == pytest.approx((100 / 90) / 1.25, rel=0.01)
    (message,) = [f.message for f in row.findings if f.code == "estimator_disagreement"]
    for name in ("median 1.1", "mean 0.8", "minimum 1.1", "slower", "faster"):
        assert name in message


def test_statistics_that_agree_are_no_finding() -> None:
    trials = [
        dataclasses.replace(r, measurement=timed(r.measurement, min_us=us * 0.97))
        for r in blocks_of(TIMES, 8)
        if r.measurement and (us := r.measurement.timing.median_us)
    ]
    row = row_of(run_of(trials))
    assert row.findings == ()
    assert row.by_mean is not None
    assert row.by_minimum is not None
    assert row.by_mean.verdict is row.by_minimum.verdict is Verdict.FASTER
    assert row.by_minimum.speedup == pytest.approx(row.speedup)


def test_a_statistic_that_a_runner_does_not_report_has_no_verdict() -> None:
    row = row_of(clean_run())
    assert row.by_minimum is None
    assert row.by_mean is not None


def test_holm_is_applied_to_each_statistic_on_its_own() -> None:
    """A weak effect of the mean that passes alone does not among many comparisons of nothing."""

    def verdicts(others: int) -> set[Verdict]:
        names = {f"scheme{i}": 100_000.0 for i in range(others)}
        trials = blocks_of(
            {BASELINE: 100_000.0, INT8: 94_000.0} | names,
            6,
            noise=lambda rng: rng.gauss(0, 0.017),
            seed=8,
        )
        run = run_of([dataclasses.replace(t, artifact_sha256=None) for t in trials])
        row = next(r for r in analyse(run).rows if r.scheme == INT8)
        assert row.by_mean is not None
        return {row.verdict, row.by_mean.verdict}  # the mean is the median here

    assert verdicts(0) == {Verdict.FASTER}
    assert verdicts(100) == {Verdict.INDISTINGUISHABLE}


def test_an_a_a_effect_needs_to_pass_holm_over_all_groups() -> None:
    few = unlike_baselines()
    weak = [
        record
        for n in range(40)
        for record in blocks_of(TIMES, 6, model=f"m{n}", seed=n)
    ]  # fmt: skip
    rows = analyse(run_of([*few.trials, *weak])).rows
    told = [row.model for row in rows if any(f.code == "aa_effect" for f in row.findings)]
    assert told == ["mobilenet_v1"]


# -- where a trial ran


def test_the_same_cores_or_nothing_told_is_no_finding() -> None:
    same = {"4": 0.9, "0": 0.1}
    run = changed(changed(other_cores(), BASELINE, ran_on=same), INT8, ran_on=same)
    assert "other_cores" not in {f.code for f in row_of(run).findings}
    untold = changed(other_cores(), INT8, ran_on={})
    assert "other_cores" not in {f.code for f in row_of(untold).findings}
