"""Lines that vanish from a journal: said with their place, and fetched again where they can be."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.lab import Lab, every_planned_trial_finished_once, wait_until

SCHEMES = ["float32", "full_int8"]


def cut_out(run: Path, count: int) -> list[str]:
    """Remove that many timing trials from the journal, with all their lines; their ids."""
    path = run / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    finished = [e for e in map(json.loads, lines) if e["event"] == "finished" and e["block"] >= 0]
    gone = [event["trial_id"] for event in finished[1 : 1 + count]]
    path.write_text("".join(x for x in lines if json.loads(x).get("trial_id") not in gone))
    return gone


def test_trials_cut_out_of_a_run_are_missed(lab: Lab, stand_in: Path) -> None:
    inventory = lab.inventory(lab.here(benchmark_model=stand_in))
    assert lab.run("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES)).code == 0
    assert all(row["verdict"] != "invalid" for row in lab.table())
    assert len(cut_out(lab.runs()[0], 2)) == 2
    report = lab.run("report", "last", "--format", "json")
    (row,) = json.loads(report.stdout)["speedups"]
    assert row["verdict"] == "invalid"
    (finding,) = [f for f in row["findings"] if f["code"] == "journal_incomplete"]
    assert "journal.jsonl:" in finding["message"]
    assert "may be missing" in finding["message"]
    text = " ".join(lab.run("report", "last").stdout.split())
    assert "journal_incomplete" in text
    assert "got lost between line" in text


def test_what_the_agent_still_has_is_fetched_again(lab: Lab, stand_in: Path) -> None:
    inventory = lab.inventory(lab.here(benchmark_model=stand_in))
    suite = lab.suite(SCHEMES)
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 9, "nine finished trials")
    controller.send_signal(signal.SIGINT)
    assert controller.wait(60) == 130
    before = {event["trial_id"]: event for event in lab.events("finished")}
    gone = cut_out(lab.runs()[0], 3)

    resumed = lab.run("run", "--resume", "last", "--inventory", inventory)
    assert resumed.code == 0, resumed.stderr
    assert "got lost between line" in resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())
    after = {event["trial_id"]: event for event in lab.events("finished")}
    for trial_id in gone:  # the same measurement, not another one
        assert after[trial_id]["device_time"] == before[trial_id]["device_time"]
        assert after[trial_id]["steady"] == before[trial_id]["steady"]
    (row,) = lab.table()
    assert row["verdict"] != "invalid"
    assert "journal_damaged" in row["findings"]
    assert "journal_incomplete" not in row["findings"]
