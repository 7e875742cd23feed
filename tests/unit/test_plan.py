"""The plan: pure, reproducible, balanced."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.config import Device, Suite
from orchestrator.errors import UsageError
from orchestrator.frameworks.registry import group_of
from orchestrator.plan import DevicePlan, Plan, make_plan
from orchestrator.runs.directory import trial_from_event
from orchestrator.trial import (
    Factors,
    GateSettings,
    PhaseSettings,
    RunSettings,
    Trial,
    TrialKind,
)

SCHEMES = ["float32", "float16", "dynamic_range", "full_int8"]


def suite(**changes: Any) -> Suite:
    data = {
        "name": "test",
        "models": ["mobilenet_v1", "resnet50"],
        "schemes": SCHEMES,
        "protocol": {"blocks": "6:9"},
        **changes,
    }
    return Suite.from_json(data)


def device(name: str = "here", **changes: Any) -> Device:
    return Device.model_validate({"name": name, "transport": "local", **changes})


def ids(plan: Plan) -> list[str]:
    return [trial.trial_id for part in plan.devices for trial in part.trials]


def test_the_same_seed_gives_the_same_plan_and_another_one_another_order() -> None:
    first = make_plan([device()], suite(), seed=7)
    assert first == make_plan([device()], suite(), seed=7)
    other = make_plan([device()], suite(), seed=8)
    order = [(t.variant, t.block, t.replicate) for t in first.devices[0].trials]
    assert order != [(t.variant, t.block, t.replicate) for t in other.devices[0].trials]
    assert Counter(order) == Counter(
        (t.variant, t.block, t.replicate) for t in other.devices[0].trials
    )


def test_a_plan_does_not_depend_on_which_other_devices_there_are() -> None:
    alone = make_plan([device("a")], suite(), seed=7).device("a")
    assert alone == make_plan([device("b"), device("a")], suite(), seed=7).device("a")


def test_a_block_holds_every_scheme_once_and_the_baseline_twice() -> None:
    plan = make_plan([device()], suite(), seed=1).devices[0]
    assert len(plan.blocks) == 2 * 9
    for block in plan.blocks:
        schemes = Counter(trial.variant.scheme for trial in block.trials)
        assert schemes == {"float32": 2, "float16": 1, "dynamic_range": 1, "full_int8": 1}
        assert {t.replicate for t in block.trials if t.variant.scheme == "float32"} == {0, 1}
        assert {t.variant.model for t in block.trials} == {block.group.model}


def test_blocks_come_round_by_round_so_that_no_model_waits_for_another() -> None:
    plan = make_plan([device()], suite(), seed=1).devices[0]
    for number in range(9):
        in_round = plan.blocks[2 * number : 2 * number + 2]
        assert {block.index for block in in_round} == {number}
        assert {block.group.model for block in in_round} == {"mobilenet_v1", "resnet50"}


def test_the_baseline_takes_every_place_in_a_block() -> None:
    plan = make_plan([device()], suite(protocol={"blocks": "40:40"}), seed=3).devices[0]
    places = Counter(
        place
        for block in plan.blocks
        for place, trial in enumerate(block.trials)
        if trial.variant.scheme == "float32" and trial.replicate == 0
    )
    assert set(places) == {0, 1, 2, 3, 4}


def test_memory_is_measured_in_trials_of_its_own_before_the_blocks() -> None:
    plan = make_plan([device()], suite(), seed=1).devices[0]
    assert len(plan.unblocked) == 8
    assert all(t.kind is TrialKind.MEMORY and t.block == -1 for t in plan.unblocked)
    assert plan.trials[:8] == plan.unblocked


def test_trial_ids_are_unique_file_names() -> None:
    factors = {"threads": [1, 2], "delegate": ["xnnpack", "none"]}
    found = ids(make_plan([device("a"), device("b")], suite(factors=factors), seed=1))
    assert len(set(found)) == len(found) == 2 * (2 * 4 * (4 + 9 * 5))
    assert all("/" not in i and len(i) < 200 for i in found)


def test_auto_takes_the_official_binary_where_the_device_has_one() -> None:
    plan = make_plan([device("a"), device("b", benchmark_model="/opt/bm")], suite(), seed=1)
    runners = {p.device: {g.factors.runner for g in p.groups} for p in plan.devices}
    assert runners == {"a": {"litert"}, "b": {"benchmark_model"}}
    assert [p.needs_binary for p in plan.devices] == [False, True]
    named = make_plan([device(benchmark_model="/opt/bm")], suite(runtime="tensorflow"), seed=1)
    assert named.devices[0].groups[0].factors.runner == "litert"


def test_auto_takes_a_runner_that_has_every_measure_of_the_suite() -> None:
    accuracy = {"task": "agreement", "samples": 100}
    asked = suite(accuracy=accuracy)
    plan = make_plan([device(benchmark_model="/opt/bm")], asked, seed=1).devices[0]
    assert {group.factors.runner for group in plan.groups} == {"litert"}
    answering = [t for t in plan.unblocked if t.kind is TrialKind.ACCURACY]
    # two shards of 64 of each scheme
    assert sorted(Counter(t.variant for t in answering).values()) == [2] * len(
        {t.variant for t in plan.trials}
    )
    with pytest.raises(UsageError, match="`accuracy` asks for what runner benchmark_model cannot"):
        make_plan(
            [device(benchmark_model="/opt/bm")],
            suite(accuracy=accuracy, runner="benchmark_model"),
            seed=1,
        )


def test_runtimes_are_a_factor() -> None:
    pinned = ["ai-edge-litert==2.3.0", "tflite-runtime==2.14.0"]
    plan = make_plan(
        [device(benchmark_model="/opt/bm")], suite(factors={"runtime": pinned}), seed=1
    )
    assert {g.factors.runner for g in plan.devices[0].groups} == {"litert"}
    assert [g.factors.runtime for g in plan.devices[0].groups if g.model == "resnet50"] == pinned
    assert plan.devices[0].runtimes == set(pinned)
    (alone,) = {g.factors.runtime for g in make_plan([device()], suite(), seed=1).devices[0].groups}
    assert alone == "any"


def test_a_suite_that_needs_the_binary_on_a_device_without_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"device here has no `benchmark_model:`"):
        make_plan([device()], suite(runner="benchmark_model"), seed=1)


def test_batches_are_not_for_the_official_binary() -> None:
    batched = {"factors": {"batch": [1, 4]}}
    plan = make_plan([device(benchmark_model="/opt/bm")], suite(**batched), seed=1)
    assert {g.factors.runner for g in plan.devices[0].groups} == {"litert"}
    with pytest.raises(UsageError, match="batch 1 only"):
        make_plan(
            [device(benchmark_model="/opt/bm")],
            suite(runner="benchmark_model", **batched),
            seed=1,
        )


def test_the_protocol_becomes_the_settings_of_every_trial() -> None:
    protocol = {
        "blocks": 6,
        "warmup": {"runs": 7},
        "steady": {"seconds": "2s"},
        "gate": {"temperature": 60, "timeout": "1m"},
        "timeout": 90,
    }
    settings = make_plan([device()], suite(protocol=protocol), seed=1).settings
    gate = GateSettings(0.1, 60.0, 60.0)
    assert settings == RunSettings(PhaseSettings(7, 0.5), PhaseSettings(30, 2.0), 90.0, gate)


def test_torch_s_groups_say_engine_and_processor_and_other_keys_stay_as_they_were() -> None:
    litert = Factors("litert", "any", "xnnpack", 1, 1, "native")
    key = group_of("here", "m", litert, ("a",), "a").key
    assert key == "here/m/litert/any/xnnpack/t1/b1/native"
    factors = Factors("torch", "torch", "none", 1, 1, "native", "x86", "cpu")
    assert group_of("here", "m", factors, ("a",), "a").key.endswith("/native/x86/cpu")


def test_a_suite_of_torch_is_planned_for_every_engine() -> None:
    factors = {"engine": ["x86", "onednn"]}
    plan = make_plan([device()], suite(runner="torch", factors=factors), seed=1)
    groups = plan.devices[0].groups
    assert {g.factors.engine for g in groups} == {"x86", "onednn"}
    assert {(g.factors.runtime, g.factors.delegate) for g in groups} == {("torch", "none")}
    assert plan.devices[0].runtimes == {"torch"}
    assert len({t.trial_id for t in plan.devices[0].trials}) == len(plan.devices[0].trials)


def test_a_line_of_before_engines_is_read_with_their_defaults() -> None:
    line = {
        "trial_id": "t", "device": "here", "kind": "timing", "model": "m", "scheme": "a",
        "block": 0, "replicate": 0, "runner": "litert", "runtime": "any", "delegate": "xnnpack",
        "threads": 1, "batch": 1, "isa": "native",
    }  # fmt: skip
    assert trial_from_event(line).factors == Factors("litert", "any", "xnnpack", 1, 1, "native")


def test_an_export_has_files_of_its_own_and_the_trials_of_open_ones_stay() -> None:
    before = make_plan([device()], suite(), seed=7)
    both = make_plan([device()], suite(factors={"export": ["open", "fixed"]}), seed=7)
    assert {v.export for v in both.variants} == {"open", "fixed"}
    assert len(both.variants) == 2 * len(before.variants)
    assert set(ids(before)) < set(ids(both))
    for trial in both.devices[0].trials:
        assert trial.variant.export == trial.factors.export
        assert trial_from_event(trial.to_json()) == trial
    # a comparison holds it equal
    assert all(
        {t.factors for t in block.trials} == {block.group.factors}
        for block in both.devices[0].blocks
    )


def test_a_fixed_batch_is_of_one_and_not_of_files_that_are_what_they_are() -> None:
    with pytest.raises(UsageError, match=r"`export: fixed` fixes the batch at 1"):
        make_plan([device()], suite(factors={"export": ["fixed"], "batch": [1, 4]}), seed=7)
    own = {"name": "mine", "files": [{"path": "mine.tflite", "scheme": "float32"}]}
    asked = suite(factors={"export": ["fixed"]})
    asked = asked.model_copy(update={"user_models": (SimpleNamespace(**own),)})
    with pytest.raises(UsageError, match=r"mine is a file of your own.*models inspect"):
        make_plan([device()], asked, seed=7)
    with pytest.raises(UsageError, match=r"`export: fixed` means nothing to `runner: torch`"):
        suite(runner="torch", factors={"export": ["fixed"]})


def test_profiles_have_trials_of_their_own_where_the_runner_has_a_profiler() -> None:
    asked = suite(protocol={"blocks": "6:9", "profile": {"trials": 1}})
    with pytest.raises(UsageError, match="runner litert have no profiler"):
        make_plan([device()], asked, seed=7)
    made = make_plan([device(benchmark_model="/opt/benchmark_model")], asked, seed=7)
    (part,) = made.devices
    assert [t.kind for t in part.trials[:16]] == [TrialKind.MEMORY] * 8 + [TrialKind.PROFILE] * 8
    assert all(t.block == -1 and ".profile." in t.trial_id for t in profile_of(part))
    assert trial_from_event(profile_of(part)[0].to_json()) == profile_of(part)[0]
    plain = make_plan([device(benchmark_model="/opt/benchmark_model")], suite(), seed=7)
    assert set(ids(made)) - set(ids(plain)) == {t.trial_id for t in profile_of(part)}


def checks_of(part: DevicePlan) -> tuple[Trial, ...]:
    return tuple(trial for trial in part.unblocked if trial.kind is TrialKind.CHECK)


CHECKED = {"blocks": "6:9", "check": {"trials": 1}}


def test_what_a_runner_that_shows_no_outputs_measures_another_one_looks_at_once() -> None:
    binary = device(benchmark_model="/opt/benchmark_model")
    varied = {"threads": [1, 2], "delegate": ["none", "xnnpack"]}
    (plain,) = make_plan([binary], suite(factors=varied), seed=7).devices
    (part,) = make_plan([binary], suite(factors=varied, protocol=CHECKED), seed=7).devices
    checks = checks_of(part)
    # each file once, whatever it is measured under, and after all others that are in no block
    assert [t.variant for t in checks] == sorted(
        {t.variant for t in part.trials}, key=lambda v: (v.model, SCHEMES.index(v.scheme))
    )
    assert part.unblocked[-len(checks) :] == checks
    assert {(t.factors.runner, t.factors.runtime, t.factors.threads) for t in checks} == {
        ("litert", "any", 1)
    }
    # nothing else changes: a run that goes on from before there were checks has none
    assert [t for t in part.trials if t not in checks] == list(plain.trials)
    assert not checks_of(plain) and part.groups == plain.groups
    # and no device is refused for lack of what checks alone need
    assert not part.runtimes and list(part.choices_to_check) == ["any"]
    assert trial_from_event(checks[0].to_json()) == checks[0]


def test_nobody_looks_where_the_runner_shows_it_or_no_python_is() -> None:
    both = suite(runner=["benchmark_model", "litert"], protocol=CHECKED)
    phone = {"transport": "adb", "serial": "1", "benchmark_model": "/opt/benchmark_model"}
    for made, asked in (
        (device(benchmark_model="/opt/benchmark_model"), both),
        (device(), suite(protocol=CHECKED)),
        (device(**phone), suite(protocol=CHECKED)),
    ):
        (part,) = make_plan([made], asked, seed=7).devices
        assert not checks_of(part) and not part.checks


def profile_of(part: DevicePlan) -> tuple[Trial, ...]:
    return tuple(trial for trial in part.unblocked if trial.kind is TrialKind.PROFILE)


BOTH = {
    "models": ["mobilenet_v2"],
    "schemes": ["float32", "full_int8", "static_int8"],
    "runner": ["litert", "torch"],
}


def test_several_runners_measure_each_the_schemes_of_its_own_framework() -> None:
    plan = make_plan([device()], suite(**BOTH), seed=1)
    groups = {group.factors.runner: group for group in plan.devices[0].groups}
    assert groups["litert"].schemes == ("float32", "full_int8")
    assert groups["torch"].schemes == ("float32", "static_int8")
    assert {group.baseline for group in groups.values()} == {"float32"}
    assert {str(v) for v in plan.variants} == {
        "mobilenet_v2 float32 (tflite)", "mobilenet_v2 full_int8 (tflite)",
        "mobilenet_v2 float32 (torch)", "mobilenet_v2 static_int8 (torch)",
    }  # fmt: skip


def test_each_of_several_runners_has_the_factors_that_it_takes() -> None:
    factors = {"delegate": ["xnnpack", "none"], "engine": ["x86", "onednn"], "threads": [1, 2]}
    plan = make_plan([device()], suite(**BOTH, factors=factors), seed=1)
    found = {
        (g.factors.runner, g.factors.delegate, g.factors.engine) for g in plan.devices[0].groups
    }
    assert found == {
        ("litert", "xnnpack", "default"), ("litert", "none", "default"),
        ("torch", "none", "x86"), ("torch", "none", "onednn"),
    }  # fmt: skip


def test_trials_of_one_of_several_runners_are_those_of_a_run_of_its_own() -> None:
    together = make_plan([device()], suite(**BOTH), seed=1)
    alone = make_plan(
        [device()],
        suite(**{**BOTH, "runner": "torch", "schemes": ["float32", "static_int8"]}),
        seed=1,
    )
    assert set(ids(alone)) < set(ids(together))


def test_a_runner_without_any_of_the_runtimes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"none of its runtimes .* is of runner torch"):
        make_plan([device()], suite(**BOTH, runtime="ai-edge-litert"), seed=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runner": ["litert", "onnx"]}, "`onnx` is unknown"),
        ({"runner": ["litert", "litert"]}, "twice"),
        ({"runner": "litert", "compare": "runners"}, "needs two of them"),
        ({"baseline": "full_int8"}, "not a scheme of PyTorch"),
        ({"compare": "runners", "protocol": {"blocks": "6:9", "duet": True}}, "a duet pairs"),
    ],
)
def test_what_several_runners_cannot_be_asked_for(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        suite(**{**BOTH, **changes})


def test_a_suite_of_several_runners_comes_back_the_same() -> None:
    asked = suite(**BOTH, compare="runners")
    assert asked.to_json()["runner"] == ["litert", "torch"]
    assert Suite.from_json(asked.to_json()) == asked
    assert suite(runner="torch", schemes=["float32"]).to_json()["runner"] == "torch"
