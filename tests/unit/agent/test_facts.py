"""What a node tells of itself: each case is a data file, and this machine is one more."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent.machine import cpuinfo, facts, surroundings
from orchestrate_agent.sysfs import Tree, cpu_list, to_bytes, to_float, to_int

DATA = Path(__file__).parents[2] / "data" / "facts"
REPOSITORY = Path(__file__).parents[3]
CPUINFOS = sorted(DATA.glob("*.cpuinfo"))
TREES = sorted((DATA / "trees").glob("*.json"))


def plant(root: Path, case: dict[str, Any]) -> Path:
    """The case's files and links below ``root``."""
    files = dict(case["files"])
    if "cpuinfo" in case:
        files["/proc/cpuinfo"] = (DATA / f"{case['cpuinfo']}.cpuinfo").read_text("utf-8")
    for path, text in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    for path, target in case.get("links", {}).items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    return root


def pick(told: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        told = told[key]
    return told


@pytest.mark.parametrize("path", CPUINFOS, ids=lambda path: path.stem)
def test_cpu_is_told_by_cpuinfo(path: Path, tmp_path: Path) -> None:
    plant(tmp_path, {"files": {"/proc/cpuinfo": path.read_text("utf-8")}})
    expected = json.loads(path.with_suffix(".json").read_text("utf-8"))
    told = facts.collect(str(tmp_path))["cpu"]
    assert {key: told[key] for key in expected} == expected


@pytest.mark.parametrize("path", TREES, ids=lambda path: path.stem)
def test_machine_is_told_by_its_files(path: Path, tmp_path: Path) -> None:
    case = json.loads(path.read_text("utf-8"))
    told = facts.collect(str(plant(tmp_path, case)))
    assert {key: pick(told, key) for key in case["expect"]} == case["expect"]
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("kernel", "machine", "cpu", "emulated"),
    [
        ("x86_64", "aarch64", "raspberry-pi-4", True),  # QEMU 10 makes up /proc/cpuinfo
        ("x86_64", "aarch64", "haswell-e5-2670v3", True),
        ("aarch64", "x86_64", "haswell-e5-2670v3", True),
        ("x86_64", "riscv64", "empty", True),
        ("x86_64", "i686", "haswell-e5-2670v3", False),  # a user land of 32 bits
        ("aarch64", "armv7l", "raspberry-pi-4-armv7l", False),
        ("riscv64", "riscv64", "empty", False),
        (None, "aarch64", "raspberry-pi-4", False),  # a kernel before 6.1
    ],
)
def test_an_emulator_is_told_by_what_it_does_not_make_up(
    tmp_path: Path, kernel: str | None, machine: str, cpu: str, emulated: bool
) -> None:
    files = {} if kernel is None else {"/proc/sys/kernel/arch": kernel}
    tree = Tree(str(plant(tmp_path, {"cpuinfo": cpu, "files": files})))
    cpus = cpuinfo.parse(tree.read("/proc/cpuinfo"))
    assert (surroundings.virtualization(tree, cpus, machine) == "qemu-user") == emulated


def leaves(told: Any) -> list[Any]:
    if isinstance(told, dict):
        return [leaf for value in told.values() for leaf in leaves(value)]
    return [told]


def test_an_empty_machine_tells_nothing(tmp_path: Path) -> None:
    told = facts.collect(str(tmp_path))
    own = {"time", "python"}
    assert set(leaves({key: value for key, value in told.items() if key not in own})) == {None}


def test_unreadable_files_are_not_told(tmp_path: Path) -> None:
    """A folder in a file's place fails in read(), as a sensor that is switched off does."""
    for path in ("proc/cpuinfo", "proc/meminfo", "etc/machine-id", "proc/self/cgroup", "bin/sh"):
        (tmp_path / path).mkdir(parents=True)
    os.mkfifo(tmp_path / "proc/uptime")
    told = facts.collect(str(tmp_path))
    assert told["cpu"]["vendor"] is None
    assert told["memory"]["total_bytes"] is None
    assert told["uptime_s"] is None


def test_machine_id_is_told_apart_but_not_disclosed(tmp_path: Path) -> None:
    ids = ("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdee")
    told = []
    for raw in ids:
        root = plant(tmp_path / raw, {"files": {"/etc/machine-id": raw + "\n"}})
        collected = facts.collect(str(root))
        assert raw not in json.dumps(collected)
        told.append(collected["machine_id"])
    assert told[0] != told[1]
    assert all(len(value) == 16 for value in told)


def test_serial_numbers_are_not_told(tmp_path: Path) -> None:
    text = (DATA / "raspberry-pi-4.cpuinfo").read_text("utf-8")
    serial = "10000000deadbeef"
    plant(tmp_path, {"files": {"/proc/cpuinfo": text.replace("0000000000000000", serial)}})
    assert serial not in json.dumps(facts.collect(str(tmp_path)))


def test_features_are_those_every_core_has(tmp_path: Path) -> None:
    lines = "processor\t: {}\nvendor_id\t: GenuineIntel\nflags\t\t: {}\n\n"
    text = lines.format(0, "avx2 avx512f") + lines.format(1, "avx2 avx_vnni")
    assert cpuinfo.parse(text).features == ["avx2"]


def test_every_reported_feature_is_of_the_canonical_list() -> None:
    for path in CPUINFOS:
        features = json.loads(path.with_suffix(".json").read_text("utf-8"))["features"] or []
        assert features == [name for name in cpuinfo.FEATURES if name in features], path


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc and /sys of Linux")
def test_this_machine() -> None:
    told = facts.collect()
    json.dumps(told, allow_nan=False)
    assert told["hostname"] == platform.node()
    assert told["system"]["kernel"] == platform.release()
    assert told["system"]["architecture"] == platform.machine()
    assert told["cpu"]["cpus_allowed"] == sorted(os.sched_getaffinity(0))
    assert told["cpu"]["logical_cpus"] == os.sysconf("SC_NPROCESSORS_ONLN")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert told["memory"]["total_bytes"] == pages
    assert told["python"]["executable"] == sys.executable


@pytest.mark.skipif(platform.system() != "Linux", reason="affinity is of Linux")
def test_a_pinned_process_tells_its_cpus() -> None:
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}});"
        "from orchestrate_agent.machine import facts; print(facts.collect()['cpu']['cpus_allowed'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == [one]


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,8\n".strip(), [0, 1, 2, 3, 8]),
        ("5", [5]),
        ("", []),
        (None, None),
        ("3-1", None),
        ("0-9999999", None),
        ("a-b", None),
        ("1-", None),
    ],
)
def test_cpu_list(text: str | None, cpus: list[int] | None) -> None:
    assert cpu_list(text) == cpus


def test_numbers_that_are_none() -> None:
    assert to_bytes("48K") == 49152
    assert to_bytes("1M") == 1048576
    assert [to_bytes(text) for text in (None, "", "big", "K")] == [None] * 4
    assert [to_float(text) for text in (None, "", "x", "nan", "inf", "-inf")] == [None] * 6
    assert [to_int(text) for text in (None, "", "x", "1.5")] == [None] * 4


def test_entries_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("cpu10", "cpu2", "cpufreq", "cpu0"):
        (tmp_path / name).mkdir()
    assert Tree(str(tmp_path)).entries("", "cpu[0-9]*") == ["/cpu0", "/cpu2", "/cpu10"]
