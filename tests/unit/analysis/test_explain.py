"""`explain`: known effects come back within their intervals, and nothing is said without data."""

from __future__ import annotations

import html
import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli
from orchestrator.analysis import analyse
from orchestrator.analysis.explain.attribution import Effect, main_effects
from orchestrator.analysis.explain.cells import Cell, levels_of
from orchestrator.analysis.explain.explanation import Explanation, explain, settings_vary
from orchestrator.analysis.explain.profiles import family
from orchestrator.analysis.table import Speedup, Verdict
from orchestrator.measurement import Delegation, Measurement, Operator
from orchestrator.published import publications
from orchestrator.report import charts, write_charts
from orchestrator.report import render as render_report
from orchestrator.report.explain import FORMATS, render
from orchestrator.report.explain.parts import parts
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import Factors, Trial, TrialKind
from tests import pages
from tests.analysis_runs import ok
from tests.factorial_runs import MODELS, NEW, OLD, TERMS, additive, factorial
from tests.pages import EVIL

CAPPED = "here@haswell (capped, not the microarchitecture)"
(STORED,) = (Path(__file__).resolve().parents[3] / "results" / "reference").iterdir()
FULL, OLD_NAME, NEW_NAME = "full_int8", "tflite-runtime 2.14.0", "ai-edge-litert 2.3.0"


def explained(run: RunRecord) -> Explanation:
    return explain(run, analyse(run, publications()))


def effect(found: Explanation, *levels: str, model: str | None = None) -> Effect:
    every = (*found.effects, *found.interactions)
    (one,) = [each for each in every if each.levels == levels and each.model == model]
    return one


def sentences(found: Explanation, name: str) -> list[str]:
    return [s for part in parts(found) if part.name == name for s in part.sentences]


def flat(model: str, scheme: str, factors: Factors) -> float:
    return 0.5


# -- effects --------------------------------------------------------------------------------------


def test_known_effects_are_found_within_their_intervals() -> None:
    found = explained(factorial())
    known = {
        (OLD,): TERMS[OLD],
        # the interaction lies in half of the cells that the main effects are means of
        ("haswell",): TERMS["haswell"] + TERMS[FULL, "haswell"] / 2,
        (FULL,): TERMS[FULL] + TERMS[FULL, "haswell"] / 2,
        (FULL, "haswell"): TERMS[FULL, "haswell"],
        (FULL, OLD): 0.0,
    }
    for levels, truth in known.items():
        one = effect(found, *levels)
        assert one.found is not None and one.found.low is not None and one.found.high is not None
        assert one.found.low < math.exp(truth) < one.found.high, levels
        assert one.found.high / one.found.low < 1.05, "8 cells of 1 % noise are no less certain"
        assert one.certain == (truth != 0.0)
        assert one.missing == 0


def test_the_reference_is_native_and_the_newest_runtime_by_name() -> None:
    found = explained(factorial())
    assert found.factors == {
        "here": {
            "model": MODELS,
            "scheme": ("dynamic_range", FULL),
            "isa": ("native", "haswell"),
            "runtime": (NEW, OLD),
        }
    }
    assert effect(found, "haswell").references == ("native",)


#: Noise, and how many blocks each of the eight groups of a model gets.
_CONDITIONS: dict[str, tuple[Callable[[random.Random], float], Callable[[int], int]]] = {
    "log-normal": (lambda rng: rng.gauss(0, 0.03), lambda place: 6),
    "heavy tails": (
        lambda rng: rng.gauss(0, 0.02) * (8 if rng.random() < 0.1 else 1),
        lambda place: 10,
    ),
    "unbalanced": (lambda rng: rng.gauss(0, 0.03), lambda place: 6 + 3 * place),
}


@pytest.mark.parametrize("condition", _CONDITIONS)
def test_intervals_cover_the_truth_as_often_as_they_say(condition: str) -> None:
    noise, count = _CONDITIONS[condition]
    rows = [row for row in analyse(factorial()).rows if row.model == "resnet50"]
    truth = {levels: additive("resnet50", *levels) for levels in map(_place, rows)}
    expected = {
        "haswell": TERMS["haswell"] + TERMS[FULL, "haswell"] / 2,
        OLD: TERMS[OLD],
        FULL: TERMS[FULL] + TERMS[FULL, "haswell"] / 2,
    }
    rng = random.Random(11)
    inside = asked = 0
    for _ in range(700):
        cells = _simulated(rows, truth, noise, count, rng)
        for one in main_effects("here", cells, cells):
            assert one.found is not None and one.found.low and one.found.high
            inside += one.found.low <= math.exp(expected[one.levels[0]]) <= one.found.high
            asked += 1
    assert asked == 2100
    # 0.95 and less than 0.02, some four standard errors, either way; six blocks give 96.9 %
    assert 0.93 <= inside / asked <= 0.98


def _place(row: Speedup) -> tuple[str, Factors]:
    assert row.factors is not None
    return row.scheme, row.factors


def _simulated(
    rows: Sequence[Speedup],
    truth: dict[tuple[str, Factors], float],
    noise: Callable[[random.Random], float],
    count: Callable[[int], int],
    rng: random.Random,
) -> list[Cell]:
    """Schemes of one group share the noise of their baseline; each round has a weather too."""
    settings = sorted({_place(row)[1] for row in rows})
    weather = [rng.gauss(0, 0.02) for _ in range(30)]
    shared = {
        factors: [noise(rng) + weather[block] for block in range(count(place))]
        for place, factors in enumerate(settings)
    }
    found = []
    for row in rows:
        scheme, factors = _place(row)
        logs = {
            block: truth[scheme, factors] + common - noise(rng)
            for block, common in enumerate(shared[factors])
        }
        found.append(Cell(row, levels_of(row), logs))
    return found


def test_nothing_is_certain_where_there_is_nothing() -> None:
    for seed in range(5):
        found = explained(factorial(flat, seed=seed))
        assert [each for each in found.effects if each.certain] == []
        assert [each for each in found.interactions if each.certain] == []
        assert found.flips == ()
        said = sentences(found, "effects")
        assert len(said) == 3 and all("no effect" in each for each in said)


def test_shares_of_variation_are_those_of_a_balanced_design() -> None:
    (overall, *_) = explained(factorial(noise=lambda rng: rng.gauss(0, 1e-6))).variations
    shares = {each.factors: each.share for each in overall.terms}
    # eight cells on either side of each factor: half the difference, squared, of each cell
    half = TERMS[FULL, "haswell"] / 2
    squares = {
        ("model",): TERMS["resnet50"] / 2,
        ("scheme",): (TERMS[FULL] + half) / 2,
        ("isa",): (TERMS["haswell"] + half) / 2,
        ("runtime",): TERMS[OLD] / 2,
        ("scheme", "isa"): half / 2,
    }
    total = sum(size**2 for size in squares.values())
    for term, share in shares.items():
        assert share == pytest.approx(squares.get(term, 0.0) ** 2 / total, abs=1e-5)
    assert overall.complete and overall.rest == pytest.approx(0, abs=1e-9)
    assert overall.shared == pytest.approx(0, abs=1e-9)
    assert sum(shares.values()) + overall.rest + overall.noise == pytest.approx(1)


# -- what is missing ------------------------------------------------------------------------------


def lacking(*, runtime: str, scheme: str, model: str | None = None) -> Callable[[Trial], bool]:
    return lambda trial: (
        trial.factors.runtime == runtime
        and trial.variant.scheme == scheme
        and model in (None, trial.variant.model)
    )


def test_effects_rest_on_whole_pairs_alone_and_say_what_is_missing() -> None:
    found = explained(factorial(without=lacking(runtime=OLD, scheme=FULL, model="mobilenet_v1")))
    one = effect(found, OLD)
    assert (one.sets, one.missing) == (6, 2)
    assert one.found is not None and one.found.ratio == pytest.approx(math.exp(TERMS[OLD]), 0.02)
    (left,) = sentences(found, "gaps")
    assert left.startswith("2 comparisons left out") and "lacks an operator" in left
    assert f"{CAPPED} mobilenet_v1 full_int8 [{OLD_NAME}]" in left
    (overall, of_mobilenet, _) = found.variations
    assert not overall.complete and not of_mobilenet.complete
    assert "2 more incomplete" in " ".join(sentences(found, "effects"))


def test_no_effect_is_estimated_from_nothing() -> None:
    found = explained(factorial(without=lacking(runtime=OLD, scheme=FULL)))
    both = effect(found, FULL, OLD)
    assert both.found is None and both.sets == 0 and both.missing == 4 and not both.certain
    for model in MODELS:
        # the scheme is compared where both were measured: under the newer runtime
        assert effect(found, FULL, model=model).sets == 2


def test_a_level_at_which_all_failed_is_unknown_and_said_to_be() -> None:
    found = explained(factorial(without=lambda trial: trial.factors.isa == "haswell"))
    assert effect(found, "haswell").found is None
    (said,) = [s for s in sentences(found, "effects") if CAPPED in s]
    assert said == (
        f"Over all models, what {CAPPED} instead of the native instruction set does to the "
        "speed-up is not known: of 8 pairs that would tell, none is complete."
    )
    assert all("isa" not in each.factors for v in found.variations for each in v.terms)


def test_too_few_blocks_are_left_out_by_name() -> None:
    found = explained(factorial(blocks=lambda model, factors: 5 if factors.isa == "haswell" else 6))
    assert len(found.usable) == 8 and len(found.gaps) == 8
    assert {gap.why for gap in found.gaps} == {"5 blocks, and an interval needs 6"}


def test_groups_of_unlike_length_lose_no_block() -> None:
    found = explained(
        factorial(blocks=lambda model, factors: 12 if factors.isa == "haswell" else 6)
    )
    one = effect(found, "haswell")
    assert one.found is not None and one.found.blocks == 6 and one.certain


# -- flips ----------------------------------------------------------------------------------------


def test_every_flip_names_the_single_factor_that_switches_it() -> None:
    found = explained(factorial())
    by_place = {(flip.model, flip.scheme): flip for flip in found.flips}
    flip = by_place["mobilenet_v1", "dynamic_range"]
    # e^0.4 natively, and below 1 with either or both of the others
    assert [(s.factor, s.slower.isa, s.slower.level("runtime")) for s in flip.switches] == [
        ("runtime", "native", OLD),
        ("isa", "haswell", NEW),
    ]
    for each in found.flips:
        for switch in each.switches:
            assert switch.slower.verdict is Verdict.SLOWER
            assert switch.faster.verdict is Verdict.FASTER
            low, high = levels_of(switch.slower), levels_of(switch.faster)
            assert [n for n in low if low[n] != high[n]] == [switch.factor]
    assert ("resnet50", FULL) not in by_place, "faster, or indistinguishable, everywhere"


def test_a_flip_says_which_figures_under_which_levels() -> None:
    (said,) = [
        s for s in sentences(explained(factorial()), "flips")
        if "mobilenet_v1 (dynamic_range)" in s and "isa native" in s
    ]  # fmt: skip
    assert said.startswith(
        "On device here, quantizing the weights of mobilenet_v1 (dynamic_range) made it 2.0× "
        "slower (0.4"
    )
    assert f"under {OLD_NAME} and 1.5× faster (1." in said
    told, _, moved = said.partition(" From the first to the second, ")
    assert told.endswith(f"under {NEW_NAME}, all else equal: isa native.")
    # the truth of these runs: the baseline takes 10 ms everywhere
    times = re.fullmatch(
        r"float32 goes from ([\d.]+) to ([\d.]+) ms "
        r"and dynamic_range from ([\d.]+) to ([\d.]+) ms\.",
        moved,
    )
    assert times is not None, moved
    first, second, slow, fast = map(float, times.groups())
    assert first == pytest.approx(10, rel=0.02) and second == pytest.approx(10, rel=0.02)
    assert slow / first == pytest.approx(2.0, rel=0.05) and fast < second / 1.4


def test_a_flip_says_what_a_delegate_took_where_that_changed() -> None:
    def taken(record: TrialRecord) -> TrialRecord:
        if record.measurement is None:
            return record
        of_old = record.trial.factors.runtime == OLD
        nodes = 21 if of_old and record.trial.variant.scheme != "float32" else 75
        delegation = Delegation("xnnpack", delegated_nodes=nodes, total_nodes=75)
        return replace(record, measurement=replace(record.measurement, delegation=delegation))

    run = factorial()
    run = replace(run, trials=tuple(taken(record) for record in run.trials))
    said = sentences(explained(run), "flips")
    by_runtime = [s for s in said if f"under {OLD_NAME} and" in s]
    by_isa = [s for s in said if f"as {CAPPED} and" in s]
    assert by_runtime and by_isa
    for each in by_runtime:
        assert (
            "; of their nodes a delegate takes 75/75 and 21/75 in the first, "
            "75/75 and 75/75 in the second." in each
        )
    assert not any("nodes" in each for each in by_isa)


def test_a_capped_flip_has_the_label_of_capped_results() -> None:
    said = " ".join(sentences(explained(factorial()), "flips"))
    assert f"slower (0.748× [0.735, 0.762]) as {CAPPED} and" in said
    assert f"On device {CAPPED}, quantizing the weights of resnet50" in said
    assert "@haswell" not in said.replace(CAPPED, "")


def test_what_is_indistinguishable_or_invalid_flips_nothing() -> None:
    def truth(model: str, scheme: str, factors: Factors) -> float:
        return 0.3 if factors.isa == "native" else 0.0

    found = explained(factorial(truth))
    assert found.flips == ()
    (said,) = sentences(found, "flips")
    assert said.startswith("No sign flips: of 4 schemes of a model")

    def flipping(model: str, scheme: str, factors: Factors) -> float:
        return 0.3 if factors.isa == "native" else -0.3

    broken = factorial(flipping, without=lambda t: t.factors.isa == "haswell")
    assert explained(broken).flips == ()


def test_where_two_factors_must_change_no_single_one_is_named() -> None:
    def truth(model: str, scheme: str, factors: Factors) -> float:
        changed = (factors.isa != "native") + (factors.runtime == OLD)
        return (0.4, 0.0, -0.4)[changed]

    found = explained(factorial(truth, models=MODELS[:1], schemes=("dynamic_range",)))
    (flip,) = found.flips
    assert flip.switches == ()
    (said,) = sentences(found, "flips")
    assert "no single factor switches between the two" in said
    assert f"{CAPPED}, {OLD_NAME}" in said


def of_two_devices(here: RunRecord, there: RunRecord) -> RunRecord:
    """``there`` becomes what a second device did, ``cc1``."""
    moved = [
        replace(r, trial=replace(r.trial, device="cc1", trial_id=f"cc1.{r.trial.trial_id}"))
        for r in there.trials
    ]
    return replace(
        here,
        trials=(*here.trials, *moved),
        planned=(*here.planned, *(r.trial for r in moved)),
        devices=("here", "cc1"),
        facts={**here.facts, "cc1": {"cpu": {"microarchitecture": "haswell"}}},
    )


def test_the_device_can_be_what_switches() -> None:
    both = of_two_devices(
        factorial(lambda *which: 0.4, levels={"threads": (1,)}),
        factorial(lambda *which: -0.4, levels={"threads": (1,)}, seed=2),
    )
    found = explained(both)
    assert found.factorial and not settings_vary(analyse(both))
    assert {s.factor for flip in found.flips for s in flip.switches} == {"device"}
    assert "on cc1 (haswell) and 1.5× faster" in sentences(found, "flips")[0]


def test_effects_of_several_devices_say_whose_they_are() -> None:
    runs = [factorial(schemes=("dynamic_range",), seed=seed) for seed in (1, 2)]
    found = explained(of_two_devices(*runs))
    said = sentences(found, "effects")
    assert [s.split(",")[0] for s in said] == 2 * ["On device here"] + 2 * ["On device cc1"]
    assert "cc1@haswell (capped, not the microarchitecture) instead of" in said[2]
    (table,) = [part.table for part in parts(found) if part.name == "effects"]
    assert table is not None
    assert {row[3] for row in table.rows} >= {"here: all", "cc1: all", "cc1: resnet50"}


# -- one level, published figures, formats --------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("rewriting", "The instructions were rewritten as each object was loaded"),
        ("faulting", "The CPU made the instruction fault; each trial proves it."),
        ("", "the machine's own. Each trial proves it."),
    ],
)
def test_a_capped_run_says_how_it_was_capped(way: str, words: str) -> None:
    run = factorial()
    told = [
        replace(each, isa_way=way if each.trial.factors.isa == "haswell" else "")
        for each in run.trials
    ]
    found = explained(replace(run, trials=tuple(told)))
    (said,) = [s for s in sentences(found, "reading") if s.startswith("Capped, on device here:")]
    assert words in said
    assert {row.isa_way for row in found.usable if row.isa == "haswell"} == {way}


def test_a_run_in_which_nothing_varies_says_what_to_run() -> None:
    found = explained(factorial(levels={"isa": ("native",)}, schemes=("dynamic_range",)))
    (said,) = sentences(found, "nothing")
    assert said.startswith("Nothing to explain") and "--suite discrepancy-quick" in said
    assert {part.name for part in parts(found)} == {"nothing", "published", "reading"}
    assert found.effects == () and found.flips == ()


def test_a_run_without_a_single_result_is_explained_by_what_is_missing() -> None:
    found = explained(factorial(without=lambda trial: True))
    assert found.usable == () and len(found.gaps) == 16
    assert {part.name for part in parts(found)} == {"effects", "interactions", "gaps", "reading"}
    for form in FORMATS:
        assert render(found, form)


def published_as(ratio: float) -> Explanation:
    """Both models at ``ratio`` of what is published for Cascade Lake, cascadelake capped."""
    figures = {"mobilenet_v1": 1.3213, "resnet50": 3.2373}  # the study's exact logs of July 2024

    def truth(model: str, scheme: str, factors: Factors) -> float:
        return math.log(figures[model] * ratio)

    return explained(
        factorial(truth, schemes=("dynamic_range",), levels={"isa": ("native", "cascadelake")})
    )


@pytest.mark.parametrize(
    ("ratio", "verdict", "sure"),
    [(1.0, "They agree", True), (0.8, "They do not agree", True), (1.15, "", False)],
)
def test_published_figures_agree_or_not_and_it_is_said(
    ratio: float, verdict: str, sure: bool
) -> None:
    found = published_as(ratio)
    (exact,) = [a for a in found.agreements if "July" in a.source and a.device == "here"]
    assert exact.microarchitecture == "cascadelake"
    assert exact.ratio == pytest.approx(ratio, 0.01)
    assert exact.published == pytest.approx(math.sqrt(1.3213 * 3.2373), 0.001)
    (said,) = [s for s in sentences(found, "published") if "July" in s]
    assert "over 2 models (mobilenet_v1, resnet50), as here@cascadelake (capped, not" in said
    assert verdict in said
    assert ("leaves the opposite open" not in said) == sure


def test_figures_of_other_things_are_not_put_together() -> None:
    threads = factorial(
        schemes=("dynamic_range",), levels={"threads": (4,)}, microarchitecture="cascadelake"
    )
    assert explained(threads).agreements == ()


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_says_the_same(form: str) -> None:
    found = explained(factorial(without=lacking(runtime=OLD, scheme=FULL)))
    text = render(found, form, width=100)
    if form == "json":
        told = json.loads(text)
        assert told["sentences"]["flips"] == sentences(found, "flips")
        assert len(told["left_out"]) == 4 and told["format"] == 1
        return
    flat_text = " ".join(html.unescape(text).replace("\\", "").split())
    for part in parts(found):
        assert part.title in text
        for sentence in part.sentences:
            assert sentence in flat_text
    if form == "text":
        assert max(map(len, text.splitlines())) <= 100
    if form == "markdown":
        assert "@haswell" not in flat_text.replace(CAPPED, ""), "the label is whole, everywhere"


def test_hostile_names_do_no_harm() -> None:
    run = factorial(models=(EVIL, "resnet50"), schemes=(EVIL[:60],))
    found = explained(run)
    for form in FORMATS:
        text = render(found, form)
        assert "\x1b" not in text and "\u202e" not in text
        assert form in ("text", "json") or "<script>alert" not in text


def test_no_sentence_without_its_finding() -> None:
    found = explained(factorial())
    empty: dict[str, Any] = {"flips": (), "effects": (), "interactions": (), "variations": ()}
    bare = replace(found, **empty, agreements=(), gaps=(), usable=())
    told = {part.name: part.sentences for part in parts(replace(bare, factors=found.factors))}
    assert set(told) == {"reading"}


# -- operators ------------------------------------------------------------------------------------


def profiled(*sides: tuple[str, Sequence[Operator]]) -> RunRecord:
    """A run of one comparison, with a profile trial of each of ``sides``."""
    run = factorial(models=MODELS[:1], schemes=("dynamic_range",), levels={"isa": ("native",)})
    extra = []
    for scheme, operators in sides:
        made = ok(scheme, -1, 10_000.0, kind=TrialKind.PROFILE, factors=run.trials[0].trial.factors)
        assert made.measurement is not None
        measured = replace(made.measurement, operators=tuple(operators))
        extra.append(replace(made, measurement=measured))
    return replace(run, trials=(*run.trials, *extra))


def test_operators_are_matched_by_family_and_told_by_their_times() -> None:
    found = explained(
        profiled(
            (
                "float32",
                [
                    Operator("Fully Connected (NC, F32) GEMM", 14, 9052.0),
                    Operator("Convolution (NHWC, F32) DWConv", 13, 1001.0),
                ],
            ),
            (
                "dynamic_range",
                [
                    Operator("Fully Connected (NC, QD8, F32, QC8W) GEMM", 14, 4500.0),
                    Operator("Convolution (NHWC, F32) DWConv", 13, 1500.0),
                    Operator("Convert (NC, F32, QD8)", 14, 250.0),
                ],
            ),
        )
    )
    said, note = sentences(found, "operators")
    assert said == (
        "On device here, quantizing the weights of mobilenet_v1 (dynamic_range) made these "
        "operators slower: Convolution DWConv 1.00 → 1.50 ms, Convert (new) 0.250 ms; and these "
        "faster: Fully Connected GEMM 9.05 → 4.50 ms."
    )
    assert "there is no interval" in note


def test_a_profile_of_one_side_alone_compares_nothing() -> None:
    found = explained(profiled(("float32", [Operator("Softmax (NC, F32)", 1, 2.0)])))
    assert found.profiles == () and sentences(found, "operators") == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Convolution (NHWC, QD8, F32, QC8W) IGEMM", "Convolution IGEMM"),
        ("RESHAPE", "RESHAPE"),
        ("aten::mkldnn_convolution", "convolution"),
        ("quantized::conv2d_relu", "convolution"),
        ("quantized::linear_dynamic", "linear"),
        ("aten::quantize_per_tensor", "quantize and dequantize"),
        ("aten::max_pool2d", "max_pool2d"),
        ("(odd)", "(odd)"),
    ],
)
def test_a_family_is_what_is_left_without_formats(kind: str, name: str) -> None:
    assert family(kind) == name


def test_a_measurement_with_operators_comes_back_from_the_journal() -> None:
    run = profiled(("float32", [Operator("Softmax (NC, F32)", 1, 2.0)]))
    measured = run.trials[-1].measurement
    assert measured is not None
    assert Measurement.from_json(json.loads(json.dumps(measured.to_json()))) == measured
    plain = run.trials[0].measurement
    assert plain is not None and "operators" not in plain.to_json()


# -- charts and the report ------------------------------------------------------------------------


def figures_of(specification: Mapping[str, Any]) -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = specification["datasets"][specification["data"]["name"]]
    return figures


def test_charts_are_what_vega_lite_knows_and_show_every_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("altair", reason="the extra `charts` is not installed")
    monkeypatch.setattr(charts, "VALIDATE", True)
    found = explained(factorial(without=lacking(runtime=OLD, scheme=FULL)))
    by_kind = {each.kind: each.specification for each in charts.explanation(found)}
    assert set(by_kind) == {"ladder", "sign-map", "effects"}
    squares = figures_of(by_kind["sign-map"])
    assert len(squares) == 16, "what is invalid has its square too"
    assert {s["setting"] for s in squares} >= {
        f"here, isa native, {NEW_NAME}",
        f"{CAPPED}, {NEW_NAME}",
    }
    steps = figures_of(by_kind["ladder"])
    assert len(steps) == 12 and {step["isa"] for step in steps} == {"native", CAPPED}
    assert CAPPED in json.dumps(by_kind["effects"], ensure_ascii=False)


def test_charts_as_files_have_those_of_the_explanation(tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="the extra `charts` is not installed")
    run = factorial(models=MODELS[:1], schemes=("dynamic_range",))
    table = analyse(run)
    behind = replace(pages.background(run), explanation=explain(run, table), curves=())
    written = {path.name for path in write_charts(table, tmp_path, behind)}
    assert {f"explain-{kind}-1-here.png" for kind in ("ladder", "sign-map", "effects")} < written


def test_no_chart_is_drawn_of_what_does_not_vary() -> None:
    found = explained(factorial(levels={"runtime": (NEW, OLD)}, schemes=("dynamic_range",)))
    assert {each.kind for each in charts.explanation(found)} <= {"sign-map", "effects"}


def test_the_report_has_the_section_where_a_setting_varied_and_only_there() -> None:
    for levels, shown in (({"isa": ("native", "haswell")}, True), ({"isa": ("native",)}, False)):
        run = factorial(levels=levels)
        table = analyse(run)
        behind = pages.background(run)
        assert settings_vary(table) == shown
        found = explain(run, table) if settings_vary(table) else None
        text = render_report(table, "html", background=replace(behind, explanation=found))
        assert ('id="explain"' in text) == shown
        assert ("What flips the sign" in text) == shown


# -- the command ----------------------------------------------------------------------------------


def test_the_command_explains_a_stored_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", str(STORED)]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"What moves the speed-up, run {STORED.name}\n")
    # three schemes and two models were measured, under one setting
    assert "full_int8 instead of dynamic_range" in told and "No sign flips" not in told
    assert "Beside the published figures" in told
    assert cli.main(["explain", str(STORED), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document["run_id"] == STORED.name and document["flips"] == []
    page = tmp_path / "page.html"
    assert cli.main(["explain", str(STORED), "--format", "html", "--output", str(page)]) == 0
    assert capsys.readouterr().out == ""
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_run_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "no-such", "--results", str(STORED.parent)]) == 2
    assert "no-such: no such run" in capsys.readouterr().err
