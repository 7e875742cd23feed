"""The table of instruction sets, the proof of a capped process, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import re
from pathlib import Path

import pytest

from orchestrate_agent.machine.cpuinfo import FEATURES as TOLD
from orchestrate_agent.protocol import ProtocolError, TrialRequest
from orchestrator.analysis import SpeedupTable, analyse
from orchestrator.errors import ArtifactError, UsageError
from orchestrator.fleet.provision import isa_unavailable
from orchestrator.frameworks.parts import runner_for, runner_named
from orchestrator.frameworks.reading.capped import CappedRunner
from orchestrator.frameworks.registry import runner as registered
from orchestrator.frameworks.runner import Evidence, Reading
from orchestrator.isa import build, levels
from orchestrator.isa.levels import ANY, FEATURES, LEVELS
from orchestrator.isa.proof import UnprovenError, prove, without_proof
from orchestrator.measurement import Outcome
from orchestrator.report import FORMATS, render
from orchestrator.report.drawings import describe
from tests import runner_cases as cases
from tests.analysis_runs import BASELINE, blocks_of, run_of

CAP_SHA = "c" * 64
RUNNER = CappedRunner(runner_named("benchmark_model"))
TRIAL = cases.a_trial(isa="haswell")
FILES = dataclasses.replace(cases.files(), cap_sha256=CAP_SHA)


def answers_of(level: str) -> dict[levels.Leaf, list[int]]:
    """What CPUID answers on a CPU that has everything, capped to ``level``."""
    masks = levels.clear_masks(level)
    return {leaf: [0xFFFFFFFF & ~mask for mask in masks[leaf]] for leaf in levels.LEAVES}


#: Name → sites, answered, held, ran, refused.
OBJECTS: dict[str, tuple[int, ...]] = {
    "ld-linux-x86-64.so.2": (37, 0, 0, 0, 0),
    "runtime.so": (9, 4, 2, 0, 0),
}


def line(
    when: str,
    answers: dict[levels.Leaf, list[int]],
    state: int = 0,
    *,
    rewritten: dict[str, tuple[int, ...]] | None = None,
    lost: int = 0,
) -> str:
    told = "".join(
        f"{leaf:08x}.{subleaf:08x}={','.join(f'{value:08x}' for value in values)};"
        for (leaf, subleaf), values in answers.items()
    )
    if rewritten is None:
        return f"@orchestrate-cpuid {when} cap={state:08x} by=faulting {told}\n"
    objects = "".join(
        f"{name}={','.join(f'{count:08x}' for count in counts)};"
        for name, counts in rewritten.items()
    )
    return (
        f"@orchestrate-cpuid {when} cap={state:08x} by=rewriting {told} lost={lost:08x} {objects}\n"
    )


def proof_of(level: str) -> tuple[str, str]:
    return line("begin", answers_of(level)), line("end", answers_of(level))


# -- the table ------------------------------------------------------------------------------------


def test_a_bit_is_one_feature_s() -> None:
    places = [(f.leaf, f.register, f.bit) for f in FEATURES]
    assert len(set(places)) == len(places)
    assert len({f.name for f in FEATURES}) == len(FEATURES)
    assert {f.since for f in FEATURES} == {*LEVELS, ""}


@pytest.mark.parametrize(
    ("name", "leaf", "register", "bit"),
    [  # of Intel's SDM, volume 2A, tables 3-8 and following
        ("fma", (1, ANY), "c", 12),
        ("avx", (1, ANY), "c", 28),
        ("f16c", (1, ANY), "c", 29),
        ("avx2", (7, 0), "b", 5),
        ("avx512f", (7, 0), "b", 16),
        ("avx512vl", (7, 0), "b", 31),
        ("avx512_vnni", (7, 0), "c", 11),
        ("avx512_fp16", (7, 0), "d", 23),
        ("amx_int8", (7, 0), "d", 25),
        ("avx_vnni", (7, 1), "a", 4),
        ("avx512_bf16", (7, 1), "a", 5),
        ("abm", (0x80000001, ANY), "c", 5),
    ],
)
def test_bits_are_those_of_the_manual(
    name: str, leaf: levels.Leaf, register: str, bit: int
) -> None:
    (found,) = [f for f in FEATURES if f.name == name]
    assert (found.leaf, found.register, found.bit) == (leaf, register, bit)


def test_each_level_has_what_the_older_ones_have_and_more() -> None:
    kept = [levels.kept(level) for level in LEVELS]
    assert all(older < newer for older, newer in itertools.pairwise(kept))
    assert kept[0] == {"sse4_2", "avx"}
    assert not {f.name for f in FEATURES if not f.since} & kept[-1]


def test_what_is_cleared_is_what_is_not_kept() -> None:
    for level in LEVELS:
        assert levels.visible({k: tuple(v) for k, v in answers_of(level).items()}) == levels.kept(
            level
        )
    masks = levels.clear_masks("haswell")
    assert masks[7, 0][2] == 0b101_1111_01000010  # VBMI, VBMI2 … VPOPCNTDQ: all of them
    assert masks[7, 0][1] == sum(1 << bit for bit in (16, 17, 19, 21, 26, 27, 28, 30, 31))
    assert masks[1, ANY] == (0, 0, 0, 0)


def test_the_object_has_room_for_the_masks() -> None:
    source = build.SOURCE.read_text(encoding="utf-8")
    room = {n: int(v) for n, v in re.findall(r"(MAX_RULES|ENVIRON_VALUE) = (\d+)", source)}
    assert len(levels.LEAVES) <= room["MAX_RULES"]
    for level in LEVELS:
        assert len(levels.setting(level)) < room["ENVIRON_VALUE"]
        assert re.fullmatch(
            r"([0-9a-f]+\.[0-9a-f]+(=|,)([0-9a-f]+[,;]){4})+", levels.setting(level)
        )


# -- the proof ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_a_proof_tells_what_the_process_saw(level: str) -> None:
    begin, end = proof_of(level)
    stderr = f"{begin}INFO: something\n{end}"
    found = prove(level, stderr, CAP_SHA)
    assert set(found.features) == levels.kept(level)
    assert found.to_json()["object_sha256"] == CAP_SHA
    assert without_proof(stderr) == "INFO: something\n"


_BEGIN, _END = proof_of("haswell")
_SKYLAKE = "".join(proof_of("skylake"))
_SANDYBRIDGE = "".join(proof_of("sandybridge"))


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("", "ignores LD_PRELOAD"),
        (_BEGIN, "not that it ended"),
        (_BEGIN + _END + _BEGIN, "not that it ended"),
        (_SKYLAKE, "still saw adx, avx512bw"),
        (_BEGIN + proof_of("skylake")[1], "still saw"),
        (_SANDYBRIDGE, "has no abm, avx2"),
        (_BEGIN.replace("cap=00000000", "cap=00000013") + _END, "cannot make CPUID fault"),
        (_BEGIN.replace("cap=00000000", "cap=00000001") + _END, "system-call filter"),
        (_BEGIN + line("end", answers_of("haswell"), state=99), "answered 99"),
        (_BEGIN + "@orchestrate-cpuid end cap=00000000 by=faulting \n", "not whole"),
    ],
)
def test_without_a_whole_proof_nothing_is_proven(stderr: str, words: str) -> None:
    with pytest.raises(UnprovenError, match=words):
        prove("haswell", stderr, CAP_SHA)


def rewriting(objects: dict[str, tuple[int, ...]], lost: int = 0) -> str:
    answers = answers_of("haswell")
    begun = line("begin", answers, rewritten=objects)
    return begun + line("end", answers, rewritten=objects, lost=lost)


def test_a_proof_by_rewriting_tells_what_was_rewritten_and_asked() -> None:
    found = prove("haswell", rewriting(OBJECTS), CAP_SHA)
    assert found.way == "rewriting" and prove("haswell", _BEGIN + _END, CAP_SHA).way == "faulting"
    assert found.to_json()["objects"] == [
        {"name": "ld-linux-x86-64.so.2", "sites": 37, "answered": 0, "undecided": 0},
        {"name": "runtime.so", "sites": 9, "answered": 4, "undecided": 2},
    ]
    assert without_proof(rewriting(OBJECTS)) == ""


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({}, r"only nothing asked"),
        ({"libc.so.6": (1, 1, 0, 0, 0), "runtime.so": (9, 0, 0, 0, 0)}, r"only libc.so.6 asked"),
        (OBJECTS | {"foo.so": (0, 0, 3, 1, 0)}, "3 places that may be CPUID .* in foo.so"),
        (
            OBJECTS | {"foo.so": (1, 0, 0, 0, 13)},
            "foo.so could not be rewritten: mprotect answered EACCES",
        ),
        (OBJECTS | {"foo.so": (0, 0, 0, 0, 8)}, "program headers of foo.so"),
        (OBJECTS | {"a;b": (1, 0, 0, 0, 0)}, "more CPUID instructions than can be followed"),
    ],
)
def test_what_was_not_rewritten_is_not_proven(
    objects: dict[str, tuple[int, ...]], words: str
) -> None:
    with pytest.raises(UnprovenError, match=words):
        prove("haswell", rewriting(objects), CAP_SHA)


def test_what_there_was_no_room_for_is_not_proven() -> None:
    with pytest.raises(UnprovenError, match="more CPUID instructions"):
        prove("haswell", rewriting(OBJECTS, lost=1), CAP_SHA)


@pytest.mark.parametrize(
    ("runner", "asked", "proven"),
    [
        ("litert", "_pywrap_tensorflow_interpreter_wrapper.so", True),
        ("litert", "libpywrap_litert_common.so", True),
        ("litert", "libLiteRt.so", True),
        ("litert", "libtensorflow_cc.so.2", True),
        ("litert", "libscipy_openblas64_.so", False),
        ("torch", "libtorch_cpu.so", True),
        ("torch", "libcrypto.so.3", False),
        ("benchmark_model", "benchmark_model", True),
        ("benchmark_model", "libgcc_s.so.1", False),
    ],
)
def test_the_runner_s_own_libraries_must_have_asked(runner: str, asked: str, proven: bool) -> None:
    stderr = rewriting({asked: (4, 4, 0, 0, 0)})
    if proven:
        assert prove("haswell", stderr, CAP_SHA, registered(runner).measured_in).objects
        return
    with pytest.raises(UnprovenError, match=f"only {asked} asked"):
        prove("haswell", stderr, CAP_SHA, registered(runner).measured_in)


# -- the runner -----------------------------------------------------------------------------------


def read(stderr: str, case: str = "recorded/t1_fp32") -> Reading:
    evidence: Evidence = cases.recorded(case)
    evidence = dataclasses.replace(evidence, stderr=stderr.replace("…", evidence.stderr))
    return RUNNER.read(TRIAL, cases.SETTINGS, FILES, evidence)


def test_a_capped_trial_preloads_the_object() -> None:
    command = RUNNER.command(TRIAL, cases.SETTINGS, FILES)
    assert command.env["LD_PRELOAD"] == command.env["LD_AUDIT"] == f"{{blob:{CAP_SHA}}}"
    assert command.env["ORCHESTRATE_CPUID_CLEAR"] == levels.setting("haswell")
    assert command.blobs == (cases.BINARY_SHA, cases.MODEL_SHA, CAP_SHA)
    assert (
        command.argv == runner_named("benchmark_model").command(TRIAL, cases.SETTINGS, FILES).argv
    )
    with pytest.raises(UsageError, match="none was built"):
        RUNNER.command(TRIAL, cases.SETTINGS, cases.files())


def test_native_trials_are_as_they_were() -> None:
    assert runner_for(cases.a_trial()) is runner_named("benchmark_model")
    assert isinstance(runner_for(TRIAL), CappedRunner)


def test_a_measurement_counts_with_its_proof_alone() -> None:
    good = read(f"{_BEGIN}…{_END}")
    assert good.outcome is Outcome.OK and good.isa_proof is not None
    assert good.isa_proof.level == "haswell"
    loader = "ERROR: ld.so: object '/b/cc' from LD_PRELOAD cannot be preloaded: ignored.\n"
    for stderr in ("…", f"{_BEGIN}…", _SKYLAKE + "…"):
        bad = read(loader + stderr)
        assert bad.outcome is Outcome.FAILED and bad.measurement is None
        assert "not proven to have run with isa haswell" in (bad.reason or "")
        assert "cannot be preloaded" in (bad.reason or "")


def test_another_failure_keeps_its_own_reason() -> None:
    evidence = cases.evidence(stderr=f"{_BEGIN}no such model\n{_END}", exit_code=1)
    reading = RUNNER.read(TRIAL, cases.SETTINGS, FILES, evidence)
    assert reading.outcome is Outcome.FAILED
    assert "no such model" in (reading.reason or "") and "cpuid" not in (reading.reason or "")


# -- what is refused ------------------------------------------------------------------------------

_HASWELL = ["sse4_2", "avx", "f16c", "fma", "avx2"]
_ZEN_4 = [*_HASWELL, "avx512f", "avx512bw", "avx512_vnni", "avx512_vbmi2", "avx512_bf16"]


@pytest.mark.parametrize(
    ("architecture", "features", "isa", "words"),
    [
        ("aarch64", ["asimd"], "haswell", "an instruction set of x86-64"),
        ("aarch64", ["asimd", "asimddp"], "haswell", "go by its model number"),
        ("x86_64", [*_HASWELL, "cpuid_fault"], "skylake", "skylake has avx512f, avx512bw, which"),
        ("x86_64", _ZEN_4, "sapphirerapids", "amx_bf16, avx512_fp16, amx_tile, amx_int8, avx_vnni"),
        (None, None, "haswell", "an instruction set of x86-64"),
    ],
)
def test_a_device_that_cannot_is_told_why(
    architecture: str | None, features: list[str] | None, isa: str, words: str
) -> None:
    facts = {"system": {"architecture": architecture}, "cpu": {"features": features}}
    assert words in (isa_unavailable(facts, isa) or "")


@pytest.mark.parametrize(
    ("libc", "features"),
    [
        ("glibc 2.36", [*_HASWELL, "cpuid_fault"]),
        ("glibc 2.36", _HASWELL),
        ("musl 1.2.4", [*_HASWELL, "cpuid_fault"]),
        (None, _HASWELL),
    ],
)
def test_a_device_that_can_is_taken(libc: str | None, features: list[str]) -> None:
    facts = {"system": {"architecture": "x86_64", "libc": libc}, "cpu": {"features": features}}
    assert isa_unavailable(facts, "haswell") is None
    assert isa_unavailable(facts, "sandybridge") is None


def test_an_amd_cpu_with_avx512_can_all_but_the_newest() -> None:
    facts = {"system": {"architecture": "x86_64"}, "cpu": {"features": _ZEN_4}}
    can = [level for level in LEVELS if isa_unavailable(facts, level) is None]
    assert can == ["sandybridge", "haswell", "skylake", "cascadelake", "icelake"]


def test_without_faulting_and_without_an_audit_interface_it_is_not_available() -> None:
    facts = {
        "system": {"architecture": "x86_64", "libc": "musl 1.2.4"},
        "cpu": {"features": _HASWELL},
    }
    assert "no cpuid_fault in its flags" in (isa_unavailable(facts, "haswell") or "")


def test_every_step_of_the_ladder_is_told_by_some_fact() -> None:
    for older, newer in itertools.pairwise(LEVELS):
        assert levels.lacking(newer, levels.kept(older), TOLD), newer


def test_a_variable_may_name_only_blobs_that_are_listed() -> None:
    request = {"trial_id": "t", "argv": ["true"], "timeout_s": 1.0, "blobs": []}
    with pytest.raises(ProtocolError, match="not listed"):
        TrialRequest.from_json({**request, "env": {"LD_PRELOAD": f"{{blob:{CAP_SHA}}}"}})


def test_without_a_compiler_isa_is_not_available(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"isa not available here: there is no C compiler"):
        build.build_cap_object(tmp_path, compilers=("no-such-compiler",))
    for script, words in (("exit 1", "cannot build"), ("echo >$0.ran", "cap_cpuid")):
        fake = tmp_path / "cc"
        fake.write_text(f"#!/bin/sh\n[ $1 = --version ] && exit 0\n{script}\n")
        fake.chmod(0o755)
        with pytest.raises(ArtifactError, match=words):
            build.build_cap_object(tmp_path, compilers=(str(fake),))


def test_what_a_foreign_compiler_makes_is_refused(tmp_path: Path) -> None:
    arm = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xb7\x00"
    made = tmp_path / "made"
    made.write_bytes(arm)
    fake = tmp_path / "cc"
    fake.write_text(
        f'#!/bin/sh\n[ $1 = --version ] && exit 0\nwhile [ "$1" != -o ]; do shift; done\n'
        f"cp {made} $2\n"
    )
    fake.chmod(0o755)
    with pytest.raises(ArtifactError, match="is for aarch64, the device is linux_x86-64"):
        build.build_cap_object(tmp_path, compilers=(str(fake),))
    assert not list((tmp_path / "isa").glob("*.so"))


def test_a_process_that_handles_faults_itself_is_explained() -> None:
    for number, name in ((11, "SIGSEGV"), (4, "SIGILL")):
        evidence = cases.evidence(stderr=_BEGIN, signal_number=number)
        reading = RUNNER.read(TRIAL, cases.SETTINGS, FILES, evidence)
        assert reading.outcome is Outcome.KILLED
        assert f"handles {name} itself" in (reading.reason or "")


# -- what results are called ----------------------------------------------------------------------

IN_FULL = "here@haswell (capped, not the microarchitecture)"


@pytest.fixture(scope="module")
def table() -> SpeedupTable:
    """One device, native and capped."""
    native = analyse(run_of(blocks_of({BASELINE: 2000.0, "full_int8": 1000.0}, 6)))
    (times,) = {d.factors for d in native.distributions}
    capped = dataclasses.replace(native.rows[0], factors=dataclasses.replace(times, isa="haswell"))
    also = tuple(
        dataclasses.replace(d, factors=dataclasses.replace(times, isa="haswell"))
        for d in native.distributions
    )
    return dataclasses.replace(
        native, rows=(*native.rows, capped), distributions=(*native.distributions, *also)
    )


@pytest.mark.parametrize("form", [f for f in FORMATS if f not in ("csv", "json")])
def test_a_capped_result_says_so_in_every_format(table: SpeedupTable, form: str) -> None:
    shown = render(table, form)
    assert IN_FULL in shown
    native = dataclasses.replace(table, rows=table.rows[:1])
    assert "capped" not in render(native, form)


def test_csv_keeps_the_device_and_tells_the_isa(table: SpeedupTable) -> None:
    rows = csv.DictReader(io.StringIO(render(table, "csv")))
    assert [(row["device"], row["isa"]) for row in rows] == [
        ("here", "native"),
        ("here", "haswell"),
    ]


def test_native_and_capped_stand_side_by_side(table: SpeedupTable) -> None:
    lines = render(table, "text").splitlines()
    (title,) = [n for n, line in enumerate(lines) if line.startswith("Across devices")]
    assert lines[title].endswith("capped: the instruction set, not the microarchitecture")
    assert lines[title + 1].split() == ["here", "here@haswell", "(capped)"]


def test_every_chart_of_a_capped_result_says_so(table: SpeedupTable) -> None:
    pytest.importorskip("altair", reason="the extra `charts` is not installed")
    drawn = describe(table)
    of_capped = [d for d in drawn if d.kind != "heat-map" and "haswell" in d.label]
    assert of_capped
    for drawing in of_capped:
        title = drawing.specification["title"]["text"]
        # a long title is broken into lines
        assert (title if isinstance(title, str) else " ".join(title)) == IN_FULL
    (heat_map,) = [d for d in drawn if d.name == "heat-map"]
    assert IN_FULL in json.dumps(heat_map.specification)
