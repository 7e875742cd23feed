"""The official binary's way through a run, taken by a stand-in that speaks like it.

The official one cannot be had here; what it really prints is tested in
``tests/unit/frameworks/test_benchmark_log.py`` with recorded logs.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import PROTOCOL, SURROUNDINGS, Lab, every_planned_trial_finished_once


@pytest.fixture
def address(stand_in: Path) -> Iterator[str]:
    """A web server of ours that has the binary."""
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(stand_in.parent)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/benchmark_model"
        server.shutdown()


def test_auto_takes_the_binary_and_pins_it(lab: Lab, stand_in: Path) -> None:
    sha256 = hashlib.sha256(stand_in.read_bytes()).hexdigest()
    here = lab.here(benchmark_model={"path": str(stand_in), "sha256": sha256})
    suite = lab.suite(["float32", "float16"])
    done = lab.run("run", "--inventory", lab.inventory(here), "--suite", suite)
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    manifest = json.loads((lab.runs()[0] / "run.json").read_text())
    assert [(b["device"], b["sha256"], b["pinned"]) for b in manifest["binaries"]] == [
        ("here", sha256, True)
    ]
    finished = lab.events("finished")
    assert {event["binary_sha256"] for event in finished} == {sha256}
    assert {event["runner"] for event in finished} == {"benchmark_model"}
    assert {f["code"] for event in finished for f in event["findings"]} <= SURROUNDINGS
    (row,) = lab.table()
    assert row["runtime_version"] == f"benchmark_model {sha256[:12]}"
    # the invented times follow the sizes
    sizes = float(row["baseline_size_mb"]) / float(row["treatment_size_mb"])
    assert float(row["speedup"]) == pytest.approx(sizes, rel=0.01)


def test_what_it_does_not_show_another_runtime_looks_at(lab: Lab, stand_in: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    here = lab.here(benchmark_model=str(stand_in))
    suite = lab.suite(["float32", "float16"], PROTOCOL.replace("check: {trials: 0}, ", ""))
    done = lab.run("run", "--inventory", lab.inventory(here), "--suite", suite)
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    checks = [event for event in lab.events("finished") if event["kind"] == "check"]
    assert [(c["scheme"], c["runner"], c["outcome"]) for c in checks] == [
        ("float32", "litert", "ok"),
        ("float16", "litert", "ok"),
    ]
    assert "outputs looked at once by ai-edge-litert" in done.stdout
    (row,) = lab.table()
    assert row["verdict"] != "invalid" and row["runner"] == "benchmark_model"


def test_memory_is_that_of_the_tool_not_of_who_started_it(lab: Lab, stand_in: Path) -> None:
    suite = lab.suite(["float32", "float16"])
    inventory = lab.inventory(lab.here(benchmark_model=str(stand_in)))
    assert lab.run("run", "--inventory", inventory, "--suite", suite).code == 0
    for event in lab.events("finished"):
        asked = "--report_peak_memory_footprint=true" in (lab.runs()[-1] / event["log"]).read_text()
        assert asked is (event["kind"] == "memory")
        if event["kind"] == "memory":
            # the stand-in touches 32 MiB; started by the agent's own Python it would report none
            assert 32 * 2**20 <= event["memory"]["overall_bytes"] < 36 * 2**20


def test_an_address_is_fetched_once_and_pinned_from_then_on(
    lab: Lab, stand_in: Path, address: str
) -> None:
    suite = lab.suite(["float32", "float16"])
    inventory = lab.inventory(lab.here(benchmark_model=address))
    for _ in range(2):
        assert lab.run("run", "--inventory", inventory, "--suite", suite).code == 0
    first, second = (
        json.loads((run / "run.json").read_text())["binaries"][0] for run in lab.runs()
    )
    assert first["sha256"] == hashlib.sha256(stand_in.read_bytes()).hexdigest() == second["sha256"]
    assert (first["pinned"], second["pinned"]) == (False, True)
    codes = [
        {f["code"] for event in lab.events("finished", run) for f in event["findings"]}
        for run in lab.runs()
    ]
    assert ["unpinned_binary" in each for each in codes] == [True, False]


def test_a_binary_for_another_machine_stops_that_device_only(lab: Lab, stand_in: Path) -> None:
    wrong = lab.folder / "arm_binary"
    data = bytearray(stand_in.read_bytes())
    data[18:20] = (40).to_bytes(2, "little")  # e_machine: EM_ARM
    wrong.write_bytes(data)
    suite = lab.suite(["float32", "float16"])
    inventory = lab.inventory(
        lab.here("bad", benchmark_model=str(wrong)), lab.here("good", benchmark_model=str(stand_in))
    )
    done = lab.run("run", "--inventory", inventory, "--suite", suite)
    assert done.code == 1
    verdicts = {row["device"]: row["verdict"] for row in lab.table()}
    assert verdicts["bad"] == "invalid"
    assert verdicts["good"] != "invalid"
    assert "arm" in lab.events("device_lost")[0]["reason"]
