"""Published figures: what ships is what was published, and what is said of it beside a run."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from importlib import resources
from typing import Any

import pytest
from scipy import stats

from orchestrator.analysis import Speedup, SpeedupTable, analyse
from orchestrator.analysis.speedups.published import Publication
from orchestrator.measurement import Finding
from orchestrator.published import publications
from orchestrator.report import render
from orchestrator.report.published import lines
from orchestrator.trial import Factors
from tests.analysis_runs import BASELINE, FACTORS, artifacts, blocks_of, run_of, with_finding

DRQ = "dynamic_range"


def published(**changes: object) -> Publication:
    """ResNet50 of the seed study's exact run, with ``changes``."""
    (found,) = [
        p
        for p in publications()
        if p.model == "resnet50" and p.baseline_sd_ms is not None
    ]  # fmt: skip
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type] # fields vary by test


def row(
    treatment_us: float,
    *known: Publication,
    blocks: int = 10,
    factors: Factors = FACTORS,
    microarchitecture: str = "cascadelake",
    finding: Finding | None = None,
) -> Speedup:
    """ResNet50, 100 ms in float32, measured so many blocks, beside ``known``."""
    times = {BASELINE: 100_000.0, DRQ: treatment_us}
    trials = blocks_of(times, blocks, model="resnet50", factors=factors)
    trials = [with_finding(t, finding) if finding else t for t in trials]
    facts = {"here": {"cpu": {"microarchitecture": microarchitecture}}}
    run = run_of(trials, artifacts=artifacts((BASELINE, DRQ), ("resnet50",)), facts=facts)
    (only,) = analyse(run, known or publications()).rows
    return only


def table_beside(*known: Publication) -> SpeedupTable:
    trials = blocks_of({BASELINE: 92_000.0, DRQ: 28_400.0}, 8, model="resnet50")
    return analyse(run_of(trials, artifacts=artifacts((BASELINE, DRQ), ("resnet50",))), known)


def agreements(of: Speedup) -> list[str]:
    return [each.agreement for each in of.published]


# -- what ships


def test_every_figure_is_the_one_printed() -> None:
    text = (resources.files("orchestrator.published") / "speedups.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == len(publications()) == 92
    for line, each in zip(rows, publications(), strict=True):
        assert each.citation
        if line["speedup"]:
            assert each.speedup == pytest.approx(float(line["speedup"]), abs=6e-3)
            low, high = each.interval or (0, 0)
            assert 0 < low < (each.speedup or 0) < high
        else:
            assert (each.speedup, each.interval, each.direction) == (None, None, "slower")


def test_geometric_means_are_those_the_study_is_known_for() -> None:
    def mean(microarchitecture: str) -> float:
        logs = [
            math.log(p.speedup)
            for p in publications()
            if p.microarchitecture == microarchitecture and p.speedup and "charts" in p.citation
        ]
        assert len(logs) == 7
        return math.exp(sum(logs) / 7)

    assert mean("icelake") == pytest.approx(3.96, abs=0.01)
    assert mean("skylake") == pytest.approx(1.29, abs=0.01)
    assert mean("haswell") == pytest.approx(0.97, abs=0.01)
    assert mean("cortex-a72") == pytest.approx(1.64, abs=0.01)


def test_losses_that_users_reported_are_there() -> None:
    """Quantized, and slower: what the main results of the literature do not show."""
    slower = {
        (p.hardware, p.model, p.scheme, p.baseline_ms, p.treatment_ms)
        for p in publications()
        if p.speedup is not None and p.speedup < 1 and "user's" in p.citation
    }
    assert ("OnePlus 3T (msm8996)", "mobilenet_v1", "full_uint8", "71.367", "145.778") in slower
    assert ("89", "548") in {times[-2:] for times in slower}
    assert len(slower) == 4


# -- how precisely they are known


def test_standard_deviations_give_welchs_interval_of_the_log_ratio() -> None:
    low, high = published().interval or (0, 0)
    first, second = 0.0991 / 92.3608, 0.0435 / 28.5303
    error = math.sqrt((first**2 + second**2) / 20)
    freedom = 19 * (first**2 + second**2) ** 2 / (first**4 + second**4)
    half = stats.t.ppf(0.975, freedom) * error
    assert math.log(high / low) / 2 == pytest.approx(half)
    assert math.sqrt(low * high) == pytest.approx(92.3608 / 28.5303)


def test_a_pixel_bounds_what_was_read_off_a_chart() -> None:
    chart = published(
        processes=10, baseline_ms="41.0", baseline_sd_ms=None, treatment_ms="30.6",
        treatment_sd_ms=None, reading_ms=2.6,
    )  # fmt: skip
    assert chart.interval == pytest.approx((38.4 / 33.2, 43.6 / 28.0))


def test_the_last_digit_bounds_what_is_printed_without_spread() -> None:
    bare = published(
        processes=None, baseline_ms="155", baseline_sd_ms=None, treatment_ms="15.5",
        treatment_sd_ms=None,
    )  # fmt: skip
    assert bare.interval == pytest.approx((154.5 / 15.55, 155.5 / 15.45))


def test_a_bar_no_longer_than_a_pixel_bounds_nothing() -> None:
    short = published(baseline_sd_ms=None, treatment_ms="2", reading_ms=3.0)
    assert short.interval is None
    assert agreements(row(30_000, short)) == ["cannot tell"]
    assert "[no interval]" in render(table_beside(short), "text")


# -- what is said of them beside a run


@pytest.mark.parametrize(
    ("treatment_us", "said"), [(100_000 / 3.237, "agrees"), (100_000 / 1.5, "contradicts")]
)
def test_intervals_decide(treatment_us: float, said: str) -> None:
    measured = row(treatment_us, published())
    assert agreements(measured) == [said]
    (each,) = measured.published
    assert each.speedup == pytest.approx(3.237, abs=1e-3)
    assert each.note == "published with benchmark_model, ours with litert"


def test_what_is_not_known_well_enough_cannot_tell() -> None:
    assert agreements(row(30_000, published(), blocks=4)) == ["cannot tell"]  # no interval
    vague = published(baseline_sd_ms=None, baseline_ms="30", treatment_ms="28", reading_ms=5.0)
    assert agreements(row(80_000, vague)) == ["cannot tell"]  # faster beside perhaps
    wide = published(baseline_sd_ms=None, baseline_ms="28", treatment_ms="28", reading_ms=5.0)
    assert agreements(row(100_000, wide)) == ["cannot tell"]  # around 1, and too wide
    narrow = published(baseline_sd_ms=None, baseline_ms="280", treatment_ms="280", reading_ms=5.0)
    assert agreements(row(100_000, narrow)) == ["agrees"]
    forbidden = Finding("wrong_file", "another", "remove it", forbids=True)
    assert agreements(row(30_000, published(), finding=forbidden)) == ["cannot tell"]


def test_only_the_same_kind_of_machine_is_put_beside() -> None:
    assert row(30_000, microarchitecture="zen4").published == ()
    assert row(30_000, microarchitecture="").published == ()
    assert row(30_000, microarchitecture="unknown").published == ()
    both = row(100_000 / 3.237, microarchitecture="cascadelake").published
    assert [each.hardware for each in both] == ["Intel Cascade Lake CPU"] * 2


def test_a_capped_instruction_set_stands_for_the_older_machine_and_is_marked() -> None:
    capped = dataclasses.replace(FACTORS, isa="haswell")
    measured = row(100_000 / 0.958, factors=capped, microarchitecture="sapphirerapids")
    (each,) = measured.published
    assert each.hardware == "Intel Haswell CPU"
    assert "instruction set capped to haswell on sapphirerapids" in each.note
    # and the machine's own figures do not stand beside it
    assert all("Cascade" not in e.hardware for e in row(1e5, factors=capped).published)


def test_other_threads_or_batches_are_another_thing() -> None:
    for factors in (
        dataclasses.replace(FACTORS, threads=4),
        dataclasses.replace(FACTORS, batch=8),
        dataclasses.replace(FACTORS, input_size=128),
    ):
        measured = row(100_000 / 3.237, published(), factors=factors)
        assert agreements(measured) == ["cannot tell"]
        assert "ours " in measured.published[0].note


def test_where_the_direction_alone_is_known_it_alone_is_shown() -> None:
    measured = row(30_000, microarchitecture="cortex-a57")
    (each,) = measured.published
    assert (each.speedup, each.low, each.high) == (None, None, None)
    assert (each.direction, each.agreement) == ("slower", "cannot tell")
    assert "Qin et al. 2018" in each.source


# -- in the reports


def test_reports_show_them() -> None:
    table = table_beside(*publications())
    text = " ".join(render(table, "text", width=100).split())
    assert "Published figures beside ours here resnet50 dynamic_range: 3.24×" in text
    assert "published 3.24× [3.23, 3.25] (Intel Cascade Lake CPU; the seed study" in text
    assert "agrees" in text
    assert "Published figures beside ours:" in render(table, "markdown")
    (first, _) = json.loads(render(table, "json"))["speedups"][0]["published"]
    assert first["agreement"] == "agrees"
    assert "Published" not in render(table_beside(), "text")


@pytest.mark.parametrize(
    ("changes", "note", "agreement"),
    [
        ({"delegate": "none"}, "ours with delegate none", "contradicts"),
        ({"runtime": "tflite-runtime==2.14.0"}, "ours under ai-edge-litert 2.3.0", "contradicts"),
        (
            {"runner": "torch", "runtime": "torch", "engine": "x86"},
            "ours with engine x86",
            "contradicts",
        ),
        # the published figure is of a CPU
        (
            {"runner": "torch", "runtime": "torch", "processor": "cuda"},
            "ours on cuda",
            "cannot tell",
        ),
    ],
)
def test_what_contradicts_names_every_factor_that_differs(
    changes: dict[str, Any], note: str, agreement: str
) -> None:
    measured = row(200_000, published(), factors=dataclasses.replace(FACTORS, **changes))
    (each,) = measured.published
    assert each.agreement == agreement
    assert note in each.note.split("; ")
    assert (
        f"published with benchmark_model, ours with {changes.get('runner', 'litert')}" in each.note
    )


def test_two_lines_of_one_model_say_in_what_they_differ() -> None:
    settings = [
        FACTORS,
        dataclasses.replace(FACTORS, delegate="none"),
        dataclasses.replace(FACTORS, runtime="tflite-runtime==2.14.0"),
    ]
    rows = [row(30_000, published(), factors=factors) for factors in settings]
    names = [line.partition(":")[0] for line in lines(rows)]
    assert len(set(names)) == 3
    assert names[1] == "here resnet50 dynamic_range (delegate none)"
