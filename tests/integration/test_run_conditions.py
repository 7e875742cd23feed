"""`orchestrate run` on this machine: what surrounds its trials, made to happen, and told."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from orchestrate_agent.machine import power, tools
from orchestrate_agent.sysfs import Tree
from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.tflite.messages import XNNPACK_CREATED
from orchestrator.trial import PhaseSettings, RunSettings
from tests import runner_cases
from tests.lab import Lab

PROTOCOL = (
    "{{blocks: 6, precision: 0.9, warmup: {{runs: 5, seconds: 0}}, memory: {{trials: 0}}, "
    "check: {{trials: 0}}, steady: {{runs: 5, seconds: {seconds}}}, gate: {gate}, timeout: 60}}"
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


def test_work_that_begins_in_the_steady_phase_is_drift(built: Path) -> None:
    """A child on one CPU, which it has to share from the first quarter of its steady phase on."""
    (model,) = built.glob("mobilenet_v1-float32-*.tflite")
    settings = RunSettings(PhaseSettings(5, 0.0), PhaseSettings(30, 4.0), timeout_s=60.0)
    trial = runner_cases.a_trial(runner="litert", runtime="any")
    files = runner_cases.files(size=model.stat().st_size)
    runner = runner_named("litert")
    command = runner.command(trial, settings, files)
    argv = [word.replace(f"{{blob:{files.model_sha256}}}", str(model)) for word in command.argv[3:]]
    cpu = str(max(os.sched_getaffinity(0)))
    child = subprocess.Popen(
        ["taskset", "-c", cpu, sys.executable, "-m", "orchestrate_agent.children.litert", *argv],
        cwd=runner_cases.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    said = ""
    while not said.endswith("@orchestrate-stage steady\n"):
        line = child.stdout.readline()
        assert line, said
        said += line
    time.sleep(1.0)
    hogs = [
        subprocess.Popen(["taskset", "-c", cpu, sys.executable, "-c", "while True: pass"])
        # many: the CPU may be shared with other tests already
        for _ in range(9)
    ]
    try:
        said += child.stdout.read()
        assert child.wait() == 0
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    reading = runner.read(trial, settings, files, runner_cases.evidence(said, XNNPACK_CREATED))
    assert reading.measurement is not None, reading.reason
    assert reading.measurement.steady_window_s is not None
    begun, ended = reading.measurement.steady_window_s
    assert 4.0 <= ended - begun < 30.0
    (drift,) = (finding for finding in reading.findings if finding.code == "drift")
    assert "slower" in drift.message


@pytest.mark.skipif(
    power.Rapl(Tree()).joules() is not None, reason="this machine has a meter of its own"
)
def test_energy_of_an_inference_from_a_meter(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Raspberry Pi 5's program, which says eight watts: so many joules a second of inference."""
    program = tmp_path / "bin" / tools.VCGENCMD
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
