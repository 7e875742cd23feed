"""`orchestrate run` on this machine: to its end, interrupted, killed, and with broken runners."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections import Counter
from pathlib import Path

from orchestrator.artifacts.store import ArtifactStore
from orchestrator.report.live import is_going_on
from tests.lab import Lab, every_planned_trial_finished_once, wait_until


def test_a_run_ends_with_a_table_and_everything_it_came_from(lab: Lab) -> None:
    suite = lab.suite(["float32", "dynamic_range", "full_int8"])
    told = lab.folder / "told.txt"
    words = "import os, sys; open(sys.argv[1], 'w').write(os.environ['ORCHESTRATE_OUTCOME'])"
    hook = ["--on-end", shlex.join([sys.executable, "-c", words, str(told)])]
    inventory = lab.inventory(lab.here())
    done = lab.run("run", "--inventory", inventory, "--suite", suite, "--seed", "3", *hook)
    assert done.code == 0, done.stderr
    assert told.read_text() == "ok"
    assert every_planned_trial_finished_once(lab.journal())
    assert "dynamic_range" in done.stdout
    assert "noise floor" in done.stdout

    rows = lab.table()
    assert [(r["device"], r["model"], r["scheme"]) for r in rows] == [
        ("here", "mobilenet_v1", "dynamic_range"),
        ("here", "mobilenet_v1", "full_int8"),
    ]
    for row in rows:
        assert float(row["ci_low"]) <= float(row["speedup"]) <= float(row["ci_high"])
        assert row["blocks"] == "6"
        assert row["verdict"] in ("faster", "slower", "indistinguishable")
        assert float(row["baseline_size_mb"]) > 16
        assert float(row["treatment_memory_mb"]) > 0

    (run,) = lab.runs()
    assert f"watch it: {(run / 'live.html').as_uri()}" in done.stderr
    page = (run / "live.html").read_text()
    assert "Complete." in page and "report.html" in page and not is_going_on(page)
    manifest = json.loads((run / "run.json").read_text())
    assert (manifest["format"], manifest["seed"]) == (1, 3)
    assert manifest["facts"]["here"]["cpu"]["logical_cpus"] >= 1
    finished = lab.events("finished")
    assert all((run / event["log"]).stat().st_size > 0 for event in finished)
    timing = [e for e in finished if e["kind"] == "timing"]
    assert all(e["steady"]["count"] == 5 and e["warmup"]["count"] == 5 for e in timing)
    assert {e["runtime_name"] for e in finished} == {"ai-edge-litert"}
    seqs = [event["seq"] for event in lab.journal()]
    assert seqs == list(range(1, len(seqs) + 1))


def test_the_report_is_made_again_from_the_journal_alone(lab: Lab) -> None:
    suite = lab.suite(["float32", "full_int8"])
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", suite)
    (run,) = lab.runs()
    written = {p.name: p.read_text() for p in run.glob("speedup.*")}
    assert set(written) == {"speedup.csv", "speedup.json", "speedup.md"}
    for name, shape in (("csv", "csv"), ("json", "json"), ("md", "markdown")):
        again = lab.run("report", "last", "--format", shape)
        assert again.stdout == written[f"speedup.{name}"]
    assert lab.run("report", run.name[:15]).stdout == done.stdout
    target = lab.folder / "table.md"
    assert lab.run("report", "last", "--format", "markdown", "--output", target).stdout == ""
    assert target.read_text() == written["speedup.md"]
    page = lab.run("report", "last", "--format", "html").stdout
    assert page == (run / "report.html").read_text()
    assert run.name in page and "--suite" in page
    assert r"\toprule" in lab.run("report", "last", "--format", "latex").stdout
    assert run.name in lab.run("runs").stdout
    assert "complete" in lab.run("runs").stdout


def test_a_second_run_finds_everything_in_place(lab: Lab) -> None:
    suite, inventory = lab.suite(["float32", "full_int8"]), lab.inventory(lab.here())
    for _ in range(2):
        assert lab.run("run", "--inventory", inventory, "--suite", suite).code == 0
    pushed = [lab.events("device_prepared", run)[0]["pushed_bytes"] for run in lab.runs()]
    assert pushed[0] > 20e6
    assert pushed[1] == 0


def test_a_killed_controller_loses_nothing_and_repeats_nothing(lab: Lab) -> None:
    suite, inventory = lab.suite(["float32", "full_int8"]), lab.inventory(lab.here())
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 4, "four finished trials")
    running = len(lab.events("started"))
    wait_until(lambda: len(lab.events("started")) > running, "the middle of a trial")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    before = lab.journal()
    in_hand = [e["trial_id"] for e in before if e["event"] == "started"][-1]
    assert in_hand not in {e["trial_id"] for e in before if e["event"] == "finished"}

    wait_until(
        lambda: " nothing " in lab.run("agents", "status", "--inventory", inventory).stdout,
        "the agent to finish what it has",
    )
    assert lab.journal() == before
    assert "resumable" in lab.run("runs").stdout
    page = lab.runs()[-1] / "live.html"
    assert is_going_on(page.read_text())  # which no page can know, but says by when it would

    resumed = lab.run("run", "--resume", "last")
    assert resumed.code == 0, resumed.stderr
    after = lab.journal()
    assert after[: len(before)] == before
    assert every_planned_trial_finished_once(after)
    # the trial in hand was finished by the agent on its own, not run again
    assert Counter(e["trial_id"] for e in after if e["event"] == "started")[in_hand] == 1
    assert len(lab.table()) == 1
    assert "Complete." in page.read_text()
    assert "complete" in lab.run("runs").stdout
    again = lab.run("run", "--resume", "last")
    assert again.code == 0
    assert "nothing is left to do" in again.stderr
    assert lab.journal() == after


def test_an_interrupt_finishes_the_trial_in_hand_and_can_be_resumed(lab: Lab) -> None:
    suite, inventory = lab.suite(["float32", "full_int8"]), lab.inventory(lab.here())
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 3, "three finished trials")
    controller.send_signal(signal.SIGINT)
    _, stderr = controller.communicate(timeout=60)
    assert controller.returncode == 130, stderr
    assert "orchestrate run --resume" in stderr
    ended = {e["trial_id"] for e in lab.journal() if e["event"] in ("finished", "cancelled")}
    assert ended == {e["trial_id"] for e in lab.events("planned")}
    assert lab.run("run", "--resume", "last").code == 0
    assert every_planned_trial_finished_once(lab.journal())


def test_a_torn_journal_and_a_killed_agent_are_survived_together(lab: Lab) -> None:
    suite, inventory = lab.suite(["float32", "full_int8"]), lab.inventory(lab.here())
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 3, "three finished trials")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    lock = json.loads((lab.folder / "agent-here" / "agent.lock").read_text())
    os.kill(lock["pid"], signal.SIGKILL)
    journal = lab.runs()[-1] / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-25])

    resumed = lab.run("run", "--resume", "last")
    assert resumed.code == 0, resumed.stderr
    assert "the last line was torn" in resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())


def test_a_node_that_forgot_its_spool_runs_only_what_is_missing(lab: Lab) -> None:
    suite, inventory = lab.suite(["float32", "full_int8"]), lab.inventory(lab.here())
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 3, "three finished trials")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    before = {e["trial_id"] for e in lab.events("finished")}
    lab.run("agents", "stop", "--force", "--inventory", inventory)
    home = lab.folder / "agent-here"
    home.rename(home.with_name("lost"))

    assert lab.run("run", "--resume", "last").code == 0
    assert every_planned_trial_finished_once(lab.journal())
    assert lab.events("spool_lost")
    started = Counter(e["trial_id"] for e in lab.events("started"))
    assert all(started[trial_id] == 1 for trial_id in before)


def broken_python(lab: Lab, **behaviour: str) -> Path:
    """An interpreter that does something odd instead of measuring the files named by scheme."""
    hashes = {e.scheme: e.sha256 for e in ArtifactStore(lab.models).entries()}
    cases = [f"  *litert*{hashes[scheme]}*) {what} ;;" for scheme, what in behaviour.items()]
    script = lab.folder / "python-with-surprises"
    lines = ["#!/bin/sh", 'case "$*" in', *cases, "esac", f'exec {sys.executable} "$@"']
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    return script


def test_a_cut_off_file_a_hang_and_a_crash_are_outcomes_and_the_run_goes_on(lab: Lab) -> None:
    store = ArtifactStore(lab.models)
    (whole,) = (e for e in store.entries() if e.scheme == "float16")
    store.add(
        store.path(whole).read_bytes()[:100_000],
        model=whole.model,
        scheme=whole.scheme,
        recipe_key=whole.recipe_key,
        details=whole.details,
        suffix=".tflite",
    )
    python = broken_python(lab, dynamic_range="exec sleep 600", full_int8="kill -SEGV $$")
    protocol = (
        "{blocks: 6, warmup: {runs: 5, seconds: 0}, steady: {runs: 5, seconds: 0}, "
        "gate: {load: 1}, timeout: 3}"
    )
    suite = lab.suite(["float32", "float16", "dynamic_range", "full_int8"], protocol)
    inventory = lab.inventory(lab.here(python=python))
    done = lab.run("run", "--inventory", inventory, "--suite", suite)
    assert done.code == 1
    outcomes = Counter((e["scheme"], e["outcome"]) for e in lab.events("finished"))
    assert set(outcomes) == {
        ("float32", "ok"),
        ("float16", "failed"),
        ("dynamic_range", "timeout"),
        ("full_int8", "killed"),
    }
    # given up after two, or three where the next block was on its way already
    assert all(2 <= outcomes[key] <= 3 for key in outcomes if key[0] != "float32")
    assert every_planned_trial_finished_once(lab.journal())
    assert all(e["reason"] for e in lab.events("finished") if e["outcome"] != "ok")
    codes = {row["scheme"]: (row["verdict"], row["findings"]) for row in lab.table()}
    assert {scheme: verdict for scheme, (verdict, _) in codes.items()} == {
        "float16": "invalid",
        "dynamic_range": "invalid",
        "full_int8": "invalid",
    }
    assert "timeout" in codes["dynamic_range"][1]
    assert "killed" in codes["full_int8"][1]
    assert "failed" in codes["float16"][1]
    assert "SIGSEGV" in done.stdout


def test_nonsense_is_a_failure_and_spoils_nothing_else(lab: Lab) -> None:
    python = broken_python(lab, full_int8="echo 'count=all of them'; exit 0")
    suite = lab.suite(["float32", "dynamic_range", "full_int8"])
    inventory = lab.inventory(lab.here(python=python))
    assert lab.run("run", "--inventory", inventory, "--suite", suite).code == 1
    rows = {row["scheme"]: row for row in lab.table()}
    assert rows["full_int8"]["verdict"] == "invalid"
    assert "failed" in rows["full_int8"]["findings"]
    assert rows["dynamic_range"]["blocks"] == "6"
    assert float(rows["dynamic_range"]["speedup"]) > 0
    log = next(e["log"] for e in lab.events("finished") if e["scheme"] == "full_int8")
    assert "count=all of them" in (lab.runs()[-1] / log).read_text()


def test_a_second_interrupt_stops_at_once_and_the_trial_runs_again(lab: Lab) -> None:
    python = broken_python(lab, full_int8="test -e $0.fast || exec sleep 600")
    suite = lab.suite(["float32", "full_int8"])
    inventory = lab.inventory(lab.here(python=python))
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(
        lambda: any(
            e["trial_id"].startswith("here.mobilenet_v1.full") for e in lab.events("started")
        ),
        "the trial that takes for ever",
    )
    controller.send_signal(signal.SIGINT)
    wait_until(lambda: lab.events("cancelled"), "the trials behind it called off")
    controller.send_signal(signal.SIGINT)
    _, stderr = controller.communicate(timeout=60)
    assert controller.returncode == 130, stderr
    Path(f"{python}.fast").touch()
    assert lab.run("run", "--resume", "last").code == 0
    assert every_planned_trial_finished_once(lab.journal())


def test_a_run_that_something_else_works_on_is_refused(lab: Lab) -> None:
    suite, inventory = lab.suite(["float32", "full_int8"]), lab.inventory(lab.here())
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: lab.events("started"), "a started trial")
    second = lab.run("run", "--resume", "last")
    assert second.code == 1
    assert "another orchestrate process is working on this run" in second.stderr
    controller.communicate(timeout=120)
    assert controller.returncode == 0
