"""Processes whose CPUID is really capped: what they see, and what their trials prove."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent.machine import facts
from orchestrator.fleet.provision import isa_unavailable
from orchestrator.frameworks.reading.capped import variables
from orchestrator.frameworks.registry import runner as registered
from orchestrator.isa import levels
from orchestrator.isa.build import SOURCE, CapObject, build_cap_object
from orchestrator.isa.proof import IsaProof, UnprovenError, prove, without_proof
from tests.lab import Lab, every_planned_trial_finished_once

DATA = Path(__file__).resolve().parents[1] / "data"
HERE = facts.collect()
AVAILABLE = [level for level in levels.LEVELS if isa_unavailable(HERE, level) is None]
COMPILER = shutil.which("cc") or shutil.which("gcc")
IS_GLIBC = (HERE["system"]["libc"] or "").startswith("glibc")
#: The ways of this machine: the first is the one it takes by itself.
WAYS = [
    *(["faulting"] if "cpuid_fault" in (HERE["cpu"]["features"] or []) else []),
    *(["rewriting"] if IS_GLIBC else []),
]

needs_capping = pytest.mark.skipif(
    not AVAILABLE or COMPILER is None,
    reason="this machine can cap nothing, or has no C compiler",
)
needs_rewriting = pytest.mark.skipif(
    not AVAILABLE or COMPILER is None or not IS_GLIBC,
    reason="this machine can cap nothing, has no C compiler, or another loader than glibc",
)


@pytest.fixture(scope="module")
def cap(tmp_path_factory: pytest.TempPathFactory) -> CapObject:
    return build_cap_object(tmp_path_factory.mktemp("cap"))


def compiled(source: Path, target: Path, *flags: str) -> Path:
    assert COMPILER is not None
    done = subprocess.run(
        [COMPILER, "-O1", "-pthread", *flags, "-o", target, source],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0 and "-static" in flags:
        pytest.skip("there is no static C library here")
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(DATA / "isa_probe.c", tmp_path_factory.mktemp("probe") / "probe")


def capped(
    cap: CapObject, level: str, *argv: str | Path, way: str = "", **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run it as the agent does: in a session of its own, whose parent is of another."""
    chosen = {"ORCHESTRATE_CPUID_WAY": way} if way else {}
    return subprocess.run(
        [*map(str, argv)],
        env={**os.environ, **variables(level, str(cap.path)), **chosen},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
        check=False,
        **options,
    )


def bits(features: frozenset[str]) -> int:
    names = ("avx2", "avx512f", "avx512_vnni")
    return sum(1 << place for place, name in enumerate(names) if name in features)


@needs_capping
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", AVAILABLE)
def test_the_process_its_threads_and_its_children_see_the_older_cpu(
    cap: CapObject, probe: Path, level: str, way: str
) -> None:
    done = capped(cap, level, probe, way=way)
    assert done.returncode == 0, done.stderr
    seen = str(bits(levels.kept(level)))
    # 101 times ±1.5: what was in the vector registers is still there
    assert done.stdout.split() == [seen, seen, seen, seen, "-151.5", "151.5"]
    proof = prove(level, done.stderr, cap.sha256)
    assert set(proof.features) == levels.kept(level) and proof.way == way
    # of the helpers nothing is said: they measure nothing
    assert done.stderr.count("@orchestrate-cpuid") == 2
    assert without_proof(done.stderr) == ""


@needs_capping
def test_without_the_preload_the_probe_sees_this_cpu(probe: Path) -> None:
    done = subprocess.run([probe], capture_output=True, text=True, check=True)
    real = bits(frozenset(HERE["cpu"]["features"]))
    assert done.stdout.split()[:4] == [str(real)] * 4


@needs_capping
def test_more_than_the_cpu_has_is_not_proven(cap: CapObject, probe: Path) -> None:
    if AVAILABLE[-1] == levels.LEVELS[-1]:
        pytest.skip("this CPU has everything")
    beyond = levels.LEVELS[len(AVAILABLE)]
    done = capped(cap, beyond, probe)
    with pytest.raises(UnprovenError, match="ask for an older level"):
        prove(beyond, done.stderr, cap.sha256)


@needs_capping
@pytest.mark.parametrize("way", WAYS)
def test_a_true_fault_is_still_one(cap: CapObject, probe: Path, way: str) -> None:
    assert capped(cap, AVAILABLE[0], probe, "crash", way=way).returncode == -signal.SIGSEGV


@needs_capping
def test_a_static_binary_proves_nothing(cap: CapObject, tmp_path: Path) -> None:
    static = compiled(DATA / "isa_probe.c", tmp_path / "static", "-static")
    done = capped(cap, AVAILABLE[0], static)
    assert done.returncode == 0
    with pytest.raises(UnprovenError, match="a static or setuid program"):
        prove(AVAILABLE[0], done.stderr, cap.sha256)


@needs_capping
def test_nor_does_one_behind_a_dynamic_wrapper(cap: CapObject, tmp_path: Path) -> None:
    static = compiled(DATA / "isa_probe.c", tmp_path / "static", "-static")
    done = capped(cap, AVAILABLE[0], "/bin/sh", "-c", f"exec {static}")
    assert done.returncode == 0
    with pytest.raises(UnprovenError, match="replaced by one that ignores LD_PRELOAD"):
        prove(AVAILABLE[0], done.stderr, cap.sha256)


@needs_capping
def test_python_is_capped_like_any_other(cap: CapObject) -> None:
    done = capped(cap, AVAILABLE[0], sys.executable, "-c", "import numpy; print('here')")
    assert done.stdout == "here\n"
    proof = prove(AVAILABLE[0], done.stderr, cap.sha256)
    assert proof.level == AVAILABLE[0] and proof.way == WAYS[0]


@needs_capping
def test_torch_is_capped_and_asked(cap: CapObject) -> None:
    pytest.importorskip("torch")
    level = "haswell" if "haswell" in AVAILABLE else AVAILABLE[0]
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    done = capped(cap, level, sys.executable, "-c", code)
    assert done.stdout == ("AVX2\n" if level == "haswell" else "DEFAULT\n")
    assert prove(level, done.stderr, cap.sha256, registered("torch").measured_in).level == level


@needs_capping
def test_the_object_is_built_once(cap: CapObject) -> None:
    again = build_cap_object(cap.path.parent.parent)
    assert again == cap
    built = [path.name for path in cap.path.parent.iterdir() if path.suffix == ".so"]
    assert built == [cap.path.name]


# -- rewriting ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("places") / "libplaces.so"
    return compiled(DATA / "isa_places.c", library, "-shared", "-fPIC", "-s")


def calling(
    cap: CapObject, library: Path, function: str, **options: Any
) -> subprocess.CompletedProcess[str]:
    """One function of a library that is opened twice, unloaded in between."""
    lines = (
        "import ctypes, _ctypes, sys",
        "_ctypes.dlclose(ctypes.CDLL(sys.argv[1])._handle)",
        "print(ctypes.CDLL(sys.argv[1])[sys.argv[2]]())",
    )
    argv = (sys.executable, "-c", "; ".join(lines), library, function)
    return capped(cap, AVAILABLE[0], *argv, way="rewriting", **options)


@needs_rewriting
@pytest.mark.parametrize(
    ("function", "answer"), [("constructed", 0), ("resolved", 0), ("inside", 0xA20F)]
)
def test_what_is_opened_later_is_rewritten_before_it_runs(
    cap: CapObject, places: Path, function: str, answer: int
) -> None:
    """A constructor, an IFUNC's resolver, and bytes that only look like CPUID."""
    done = calling(cap, places, function)
    assert int(done.stdout) == answer
    proof = prove(AVAILABLE[0], done.stderr, cap.sha256)
    first, last = [o for o in proof.objects if o.name == places.name]
    assert (first.sites, first.undecided) == (last.sites, last.undecided) == (2, 1)
    assert first.answered and last.answered


@needs_rewriting
def test_an_undecided_place_that_runs_is_not_proven(cap: CapObject, places: Path) -> None:
    done = calling(cap, places, "undecided")
    assert done.returncode == 0  # it does as it would
    with pytest.raises(UnprovenError, match=r"1 place that may be CPUID .* libplaces\.so"):
        prove(AVAILABLE[0], done.stderr, cap.sha256)


@needs_rewriting
def test_what_nothing_holds_is_not_proven(cap: CapObject, places: Path) -> None:
    """READ_IMPLIES_EXEC, which old kernels give to programs with an executable stack."""
    code = "import ctypes, sys; ctypes.CDLL(None).personality(0x400000); ctypes.CDLL(sys.argv[1])"
    done = capped(cap, AVAILABLE[0], sys.executable, "-c", code, places, way="rewriting")
    with pytest.raises(UnprovenError, match=r"1 place that may be CPUID .* in libplaces\.so"):
        prove(AVAILABLE[0], done.stderr, cap.sha256)


@needs_rewriting
def test_an_instruction_that_is_undefined_on_purpose_still_is(cap: CapObject, places: Path) -> None:
    assert calling(cap, places, "trap").returncode == -signal.SIGILL


@needs_rewriting
def test_code_that_must_not_be_changed_is_not_proven(cap: CapObject, probe: Path) -> None:
    def forbid() -> None:
        if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:  # PR_SET_MDWE, of Linux 6.3
            os._exit(77)

    done = capped(cap, AVAILABLE[0], probe, way="rewriting", preexec_fn=forbid)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    with pytest.raises(UnprovenError, match="could not be rewritten: mprotect answered EACCES"):
        prove(AVAILABLE[0], done.stderr, cap.sha256)


@needs_rewriting
def test_a_program_that_is_not_relocated_is_rewritten_too(cap: CapObject, tmp_path: Path) -> None:
    fixed = compiled(DATA / "isa_probe.c", tmp_path / "fixed", "-no-pie", "-s")
    done = capped(cap, AVAILABLE[0], fixed, way="rewriting")
    proof: IsaProof = prove(AVAILABLE[0], done.stderr, cap.sha256)
    (program,) = [o for o in proof.objects if o.name == "fixed"]
    assert program.sites and program.answered and not program.undecided


@needs_rewriting
def test_lengths_are_those_of_the_disassembler(tmp_path: Path) -> None:
    """Of every instruction of the dynamic loader, and of numpy's kernels for AVX-512 and older."""
    pytest.importorskip("numpy")
    objdump = shutil.which("objdump") or pytest.skip("there is no objdump here")
    from numpy._core import _simd  # noqa: PLC0415

    lengths = compiled(DATA / "isa_lengths.c", tmp_path / "lengths", "-I", str(SOURCE.parent))
    seen = set()
    for path in ("/lib64/ld-linux-x86-64.so.2", _simd.__file__):
        shown = subprocess.run(
            [objdump, "-d", "--insn-width=16", path], capture_output=True, text=True, check=True
        )
        lines = re.finditer(r"^ *[0-9a-f]+:\t([0-9a-f ]+)\t(.*)", shown.stdout, re.M)
        # it shows a WAIT and the instruction behind it as one
        seen |= {m[1].replace(" ", "") for m in lines if m[1][:2] != "9b" and "(bad)" not in m[2]}
    assert len(seen) > 10_000
    codes = sorted(seen)
    done = subprocess.run(
        [lengths], input="\n".join(codes), capture_output=True, text=True, check=True
    )
    told = [int(line) for line in done.stdout.split()]
    assert [c for c, n in zip(codes, told, strict=True) if n != len(c) // 2] == []


# -- whole runs -----------------------------------------------------------------------------------


@needs_capping
@pytest.mark.skipif("haswell" not in AVAILABLE, reason="this CPU has no AVX2")
def test_a_run_measures_both_and_proves_the_cap(lab: Lab) -> None:
    suite = lab.suite(
        ["float32", "dynamic_range"], factors="{isa: [native, haswell]}", runner="litert"
    )
    here = lab.here(python=sys.executable)
    done = lab.run("run", "--inventory", lab.inventory(here), "--suite", suite)
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    for event in lab.events("finished"):
        proof = event.get("isa_proof")
        assert (proof is not None) is (event["isa"] == "haswell")
        if proof is not None:
            assert set(proof["features"]) == levels.kept("haswell")
            assert proof["way"] == WAYS[0]
    assert {row["isa"] for row in lab.table()} == {"native", "haswell"}
    assert {row["device"] for row in lab.table()} == {"here"}
    assert "here@haswell (capped, not the microarchitecture)" in done.stdout
    explained = lab.run("explain", lab.runs()[0])
    words = {
        "rewriting": "instructions were rewritten",
        "faulting": "CPU made the instruction fault",
    }
    assert words[WAYS[0]] in " ".join(explained.stdout.split())


@needs_capping
def test_a_static_benchmark_model_is_never_called_capped(lab: Lab, tmp_path: Path) -> None:
    source, isa = DATA / "benchmark_model" / "stand_in.c", AVAILABLE[0]
    outcomes = {}
    for flags in ((), ("-static",)):
        binary = compiled(source, tmp_path / f"benchmark_model{len(flags)}", *flags)
        suite = lab.suite(["float32", "float16"], factors=f"{{isa: [{isa}]}}")
        inventory = lab.inventory(lab.here(name=f"d{len(flags)}", benchmark_model=str(binary)))
        assert lab.run("run", "--inventory", inventory, "--suite", suite).code == len(flags)
        outcomes[flags] = lab.events("finished", lab.runs()[-1])
    assert {event["outcome"] for event in outcomes[()]} == {"ok"}
    assert {event["isa_proof"]["level"] for event in outcomes[()]} == {isa}
    assert {event["outcome"] for event in outcomes["-static",]} == {"failed"}
    for event in outcomes["-static",]:
        assert f"not proven to have run with isa {isa}" in event["reason"]
        assert "isa_proof" not in event and "steady" not in event


@needs_capping
def test_what_is_not_available_is_said_before_anything_is_measured(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inventory = lab.inventory(lab.here(python=sys.executable))
    if AVAILABLE[-1] != levels.LEVELS[-1]:
        suite = lab.suite(["float32", "float16"], factors="{isa: [native, sapphirerapids]}")
        done = lab.run("run", "--inventory", inventory, "--suite", suite)
        assert done.code == 3 and "isa not available here: sapphirerapids has" in done.stderr
    suite = lab.suite(["float32", "float16"], factors=f"{{isa: [{AVAILABLE[0]}]}}")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = lab.run("run", "--inventory", inventory, "--suite", suite)
    assert done.code == 1 and "isa not available here: there is no C compiler" in done.stderr
    assert not lab.runs()
