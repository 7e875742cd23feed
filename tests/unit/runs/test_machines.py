"""A device is one machine: what tells machines apart, and what becomes of a run that had two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent.carried import results, standalone
from orchestrate_agent.daemon import spool
from orchestrate_agent.errors import AgentError
from orchestrate_agent.identity import differences, identity
from orchestrator.analysis import Verdict, analyse
from orchestrator.analysis.drift.comparison import ReadRun, compare_runs
from orchestrator.measurement import Memory
from orchestrator.report import render
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import Journal
from orchestrator.runs.manifest import Manifest, read_manifest, write_manifest
from orchestrator.runs.records import RunRecord, TrialRecord
from tests.analysis_runs import BASELINE, artifacts, blocks_of, memory_trial

ZEN3: dict[str, Any] = {
    "system": {"architecture": "x86_64", "kernel": "6.1"},
    "cpu": {
        "vendor": "AuthenticAMD", "model_name": "AMD EPYC 7763", "family": 25, "model": 1,
        "stepping": 1, "microarchitecture": "zen3", "logical_cpus": 2, "physical_cores": 2,
        "features": ["avx", "avx2"],
    },
    "board": {"vendor": "QEMU", "product": None},
    "machine_id": "0123456789abcdef",
    "hostname": "node-1",
}  # fmt: skip
ICELAKE: dict[str, Any] = {
    **ZEN3,
    "cpu": {
        "vendor": "GenuineIntel", "model_name": "Intel(R) Xeon(R) Platinum 8380", "family": 6,
        "model": 106, "stepping": 6, "microarchitecture": "icelake", "logical_cpus": 2,
        "physical_cores": 2, "features": ["avx", "avx2", "avx512_vnni"],
    },
    "machine_id": "fedcba9876543210",
}  # fmt: skip


def changed(section: str, **facts: Any) -> dict[str, Any]:
    return {**ZEN3, section: {**ZEN3[section], **facts}} if section else {**ZEN3, **facts}


# -- who is who


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (changed("cpu", model_name="AMD EPYC 7543"), "model_name was AMD EPYC 7763, is AMD EPYC"),
        (changed("cpu", logical_cpus=4), "logical_cpus was 2, is 4"),
        (changed("cpu", microarchitecture="zen4"), "microarchitecture was zen3, is zen4"),
        (changed("cpu", stepping=0), "stepping was 1, is 0"),
        (changed("cpu", features=["avx"]), "features was with avx2, is without"),
        (changed("system", architecture="aarch64"), "architecture was x86_64, is aarch64"),
        (changed("board", vendor="Dell Inc."), "board vendor was QEMU, is Dell Inc."),
        (changed("", machine_id="f" * 16), "machine_id was 0123456789abcdef, is ffff"),
    ],
)
def test_another_machine_is_told_by_what_a_comparison_holds_equal(
    other: Mapping[str, Any], told: str
) -> None:
    (difference,) = differences(identity(ZEN3), identity(other))
    assert told in difference


@pytest.mark.parametrize(
    "same",
    [
        changed("system", kernel="6.12"),
        changed("", hostname="node-1.example.org", boot_id="b", temperature_c=70.0),
        changed("", machine_id=None),
        changed("cpu", features=["avx2", "avx", "cpuid_fault"], governor="performance"),
        {"cpu": None},
        {},
    ],
)
def test_a_machine_that_was_booted_anew_or_tells_less_is_the_same(same: dict[str, Any]) -> None:
    assert differences(identity(ZEN3), identity(same)) == ()
    assert differences(identity(same), identity(ZEN3)) == ()


def test_a_bundle_goes_on_on_its_machine_alone(tmp_path: Path) -> None:
    start = {"time": "now", "facts": ZEN3}
    assert len(standalone._note_start(str(tmp_path), start)) == 1
    assert len(standalone._note_start(str(tmp_path), start)) == 2
    with pytest.raises(AgentError, match="model_name was AMD EPYC 7763, is Intel"):
        standalone._note_start(str(tmp_path), {"time": "now", "facts": ICELAKE})
    assert len(list(spool.LineFile(str(tmp_path / results.STARTS)).load())) == 2


# -- a journal that holds two


TIMES = {BASELINE: 100_000.0, "full_int8": 50_000.0}
OTHER_TIMES = {BASELINE: 80_000.0, "full_int8": 20_000.0}


def a_run(folder: Path, *parts: tuple[Mapping[str, Any], list[TrialRecord]]) -> RunDirectory:
    """A run whose journal says of each part on which machine it ran."""
    directory = RunDirectory.create(folder, "20260101T000000Z-abcdef")
    known = artifacts()
    manifest = Manifest(
        run_id=directory.run_id,
        created="2026-01-01T00:00:00Z",
        seed=1,
        inventory={"devices": [{"name": "here", "transport": "ssh", "host": "node"}]},
        suite={
            "name": "s",
            "baseline": BASELINE,
            "protocol": {"blocks": "6:20", "precision": 0.02},
        },
        devices=("here",),
        versions={},
        artifacts=tuple(known.values()),
        facts={"here": parts[0][0]},
    )
    write_manifest(directory.path, manifest)
    with Journal(directory.path) as journal:
        for number, (facts, records) in enumerate(parts):
            agent = f"{number}" * 64
            journal.append("here", "device_ready", facts=facts, agent_hash=agent)
            for record in records:
                line = {k: v for k, v in record.trial.to_json().items() if k != "device"}
                journal.append("here", "planned", **line)
                assert record.measurement is not None
                more = record.measurement.to_json()
                sha = record.artifact_sha256
                journal.append(
                    "here", "finished", **line, outcome="ok", **more, artifact_sha256=sha
                )
        group = "here/mobilenet_v1/litert/any/xnnpack/t1/b1/native"
        journal.append("here", "stopped", group=group, reason="maximum of 20 blocks")
    return directory


def blocks(times: Mapping[str, float], first: int, count: int) -> list[TrialRecord]:
    made = blocks_of(times, first + count, seed=first + 1)
    return [record for record in made if record.trial.block >= first]


def test_a_journal_of_two_machines_is_a_column_for_each(tmp_path: Path) -> None:
    zen3 = [memory_trial(BASELINE, Memory(peak_bytes=1, overall_bytes=None, init_bytes=None))]
    zen3 += blocks(TIMES, 0, 8)
    icelake = blocks(OTHER_TIMES, 8, 8)
    record = a_run(tmp_path, (ZEN3, zen3), (ICELAKE, icelake)).read()
    assert record.devices == ("here (machine 1)", "here (machine 2)")
    table = analyse(record)
    rows = {row.device: row for row in table.rows}
    first, second = rows["here (machine 1)"], rows["here (machine 2)"]
    assert (first.microarchitecture, first.blocks) == ("zen3", 8)
    assert (second.microarchitecture, second.blocks) == ("icelake", 8)
    assert first.speedup == pytest.approx(2.0, rel=0.02)
    assert second.speedup == pytest.approx(4.0, rel=0.02)
    assert first.stopped == second.stopped == "maximum of 20 blocks"
    for row in (first, second):
        (finding,) = [f for f in row.findings if f.code == "several_machines"]
        assert "model_name was AMD EPYC 7763, is Intel(R) Xeon(R) Platinum 8380" in finding.message
    assert {floor.device for floor in table.noise_floors} == set(record.devices)
    assert "here (machine 2)" in render(table, "csv")


def test_a_block_that_changed_machines_in_the_middle_pairs_with_nothing(tmp_path: Path) -> None:
    all_of_it = blocks(TIMES, 0, 7)
    cut = len(all_of_it) - 1
    run = a_run(tmp_path, (ZEN3, all_of_it[:cut]), (ICELAKE, all_of_it[cut:])).read()
    rows = {row.device: row for row in analyse(run).rows}
    assert [rows[name].blocks for name in run.devices] == [7, 0]
    assert rows["here (machine 2)"].verdict is Verdict.INVALID


def test_a_machine_that_comes_back_is_the_one_it_was(tmp_path: Path) -> None:
    parts = (ZEN3, blocks(TIMES, 0, 4)), (ICELAKE, blocks(OTHER_TIMES, 4, 4))
    run = a_run(tmp_path, *parts, (changed("system", kernel="7"), blocks(TIMES, 8, 4))).read()
    rows = {row.device: row for row in analyse(run).rows}
    assert [rows[name].blocks for name in run.devices] == [8, 4]
    assert run.agents["here (machine 1)"] == "2" * 64


def test_runs_of_one_machine_are_as_they_were(tmp_path: Path) -> None:
    run = a_run(tmp_path, (ZEN3, blocks(TIMES, 0, 4)), (ZEN3, blocks(TIMES, 4, 4))).read()
    assert run.devices == ("here",)
    assert run.split == {}
    (row,) = analyse(run).rows
    assert row.blocks == 8


def test_conditions_of_a_column_are_its_machines(tmp_path: Path) -> None:
    directory = a_run(tmp_path, (ZEN3, blocks(TIMES, 0, 7)), (ICELAKE, blocks(TIMES, 7, 7)))
    read = ReadRun(read_manifest(directory.path), directory.read())
    changes = compare_runs(read, read).conditions
    assert set(changes) == set(read.record.devices)
    assert all(not of_device for of_device in changes.values())
    record: RunRecord = read.record
    assert json.loads(json.dumps(record.facts))["here (machine 2)"] == ICELAKE
