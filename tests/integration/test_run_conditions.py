"""`orchestrate run` on this machine: what surrounds its trials, made to happen, and told."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from agents import power
from agents.sysfs import Tree
from tests.lab import Lab

PROTOCOL = (
    "{{blocks: 6, precision: 0.9, warmup: {{runs: 5, seconds: 0}}, memory: {{trials: 0}}, "
    "steady: {{runs: 5, seconds: {seconds}}}, gate: {gate}, timeout: 60}}"
)


@contextmanager
def other_work() -> Iterator[None]:
    """Two processes that compute all the time."""
    code = "while True: sum(range(1000))"
    busy = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def rows(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((lab.runs()[-1] / "speedup.json").read_text())[
        "speedups"
    ]
    return found


def test_other_work_is_found_out_and_waited_for(lab: Lab) -> None:
    suite = lab.suite(
        ["float32", "full_int8"], PROTOCOL.format(seconds=0.3, gate="{load: 0.05, timeout: 0.4}")
    )
    with other_work():
        inventory = lab.inventory(lab.here(pin=True))
        done = lab.run("run", "--inventory", inventory, "--suite", suite)
    assert done.code == 0, done.stderr
    finished = lab.events("finished")
    for event in finished:
        codes = {finding["code"] for finding in event["findings"]}
        assert {"load", "gate_timeout"} <= codes
        gate = event["conditions"]["gate"]
        assert gate["waited_s"] >= 0.4 and gate["load"] > 0.05
        # pinned to one CPU of those this machine allows, and not counted as waiting
        (cpu,) = event["conditions"]["pinned"]
        assert cpu in os.sched_getaffinity(0)
        assert event["during"]["busy_s"] > event["rusage"]["user_s"]
    (row,) = lab.table()
    assert {"load", "gate_timeout"} <= set(row["findings"].split(";"))
    assert row["verdict"] != "invalid"


def test_a_machine_that_is_left_alone_says_so(lab: Lab) -> None:
    suite = lab.suite(["float32", "full_int8"], PROTOCOL.format(seconds=0, gate="{load: 1}"))
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", suite)
    assert done.code == 0, done.stderr
    assert all(event["conditions"]["gate"] is None for event in lab.events("finished"))
    assert all(event["conditions"]["pinned"] is None for event in lab.events("finished"))
    (row,) = rows(lab)
    assert row["control"].startswith(("uncontrolled: not pinned", "partly controlled: "))


@pytest.mark.skipif(
    power.Rapl(Tree()).joules() is not None, reason="this machine has a meter of its own"
)
def test_energy_of_an_inference_from_a_meter(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Raspberry Pi 5's program, which says eight watts: so many joules a second of inference."""
    program = tmp_path / "bin" / power.VCGENCMD
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\necho ' VDD_CORE_A current(7)=10.0A'\necho ' VDD_CORE_V volt(15)=0.8V'\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    suite = lab.suite(["float32", "full_int8"], PROTOCOL.format(seconds=1.5, gate="{load: 1}"))
    inventory = lab.inventory(lab.here(grid_gco2_per_kwh=360.0))
    done = lab.run("run", "--inventory", inventory, "--suite", suite)
    assert done.code == 0, done.stderr
    for event in lab.events("finished"):
        energy = event["energy"]
        assert energy["source"] == "pmic rails"
        assert energy["joules"] == pytest.approx(8.0 * energy["window_s"], rel=1e-3)
        assert energy["inferences"] == event["steady"]["count"]
        measured_s = event["steady"]["count"] * event["steady"]["mean_us"] / 1e6
        assert measured_s <= energy["window_s"] <= 1.3 * measured_s
    (row,) = rows(lab)
    assert row["energy_source"] == "pmic rails"
    for side, scheme in (("baseline", "float32"), ("treatment", "full_int8")):
        energies = [e["energy"] for e in lab.events("finished") if e["scheme"] == scheme]
        mj = median(e["joules"] / e["inferences"] * 1000 for e in energies)
        assert row[f"{side}_energy_mj"] == pytest.approx(mj, rel=1e-4)
        assert row[f"{side}_co2_ug"] == pytest.approx(mj / 10, rel=1e-4)
