"""Duets for real: two trials of one daemon at the same time on CPUs of their own, whatever befalls
one of them; and a run of duets on this machine, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.analysis.audit import LEAST_OVERLAP, overlap
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.runs.directory import trial_record
from tests.agent_client import AgentClient, AgentSite, is_alive, shell, wait_until
from tests.lab import Lab, every_planned_trial_finished_once
from tests.lab import wait_until as wait_long

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="two CPUs are needed to run two trials apart"
)

PROTOCOL = (
    "{blocks: 6, precision: 0.9, duet: true, warmup: {runs: 5, seconds: 0}, memory: {trials: 1}, "
    "steady: {runs: 5, seconds: 0.3}, gate: {load: 1}, timeout: 60}"
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[AgentSite]:
    site = AgentSite(tmp_path, build_agent_archive().data)
    yield site
    site.close()


def duet(one: str, other: str, **more: Any) -> list[dict[str, Any]]:
    """Trials ``a`` and ``b``, which run these scripts."""
    return [
        shell(name, script, conditions=conditions(partner, half), **more)
        for half, (name, partner, script) in enumerate((("a", "b", one), ("b", "a", other)))
    ]


def conditions(partner: str, half: int) -> dict[str, Any]:
    return {"pin": 1, "duet": {"partner": partner, "half": half}}


def following(site: AgentSite) -> AgentClient:
    agent = site.attach()
    agent.follow("run")
    return agent


def finished(agent: AgentClient) -> list[dict[str, Any]]:
    return [dict(agent.wait_for("finished", name).fields) for name in ("a", "b")]


def test_two_halves_run_at_the_same_time_on_cpus_of_their_own(site: AgentSite) -> None:
    script = (
        "date +%s.%N; grep Cpus_allowed_list /proc/self/status; "
        "end=$(($(date +%s%N) + 500000000)); while [ $(date +%s%N) -lt $end ]; do :; done; "
        "date +%s.%N"
    )
    agent = following(site)
    agent.submit("run", *duet(script, script))
    ends = finished(agent)
    begun, _, cpus, done = zip(*(end["stdout"].split() for end in ends), strict=True)
    assert max(map(float, begun)) + 0.1 < min(map(float, done))
    assert len(set(cpus)) == 2
    assert [end["conditions"]["pinned"] for end in ends] == [[int(cpu)] for cpu in cpus]
    for end, partner in zip(ends, ("b", "a"), strict=True):
        told = end["conditions"]["duet"]
        assert (told["partner"], told["together"]) == (partner, True)
        other = ends[1] if partner == "b" else ends[0]
        usage = other["rusage"]["user_s"] + other["rusage"]["sys_s"]
        assert told["partner_cpu_s"] == pytest.approx(usage)
        assert usage > 0.02  # of half a second, on a machine that may be busy
    # the next trial waits until both are over
    order = [(e.event, e.trial_id) for e in agent.events if e.event != "queued"]
    assert order == [("started", "a"), ("started", "b"), ("finished", "a"), ("finished", "b")]


def test_nothing_else_runs_beside_a_duet(site: AgentSite, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    agent = following(site)
    agent.submit("run", *duet("true", f"sleep 0.7; touch {flag}"), shell("c", f"ls {flag}"))
    assert agent.wait_for("finished", "c").fields["exit_code"] == 0


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("kill -SEGV $$", {"signal": signal.SIGSEGV}),
        ("exit 3", {"exit_code": 3}),
        ("sleep 300", {"timed_out": True}),
        ("exec /nowhere", {"exit_code": 127}),
    ],
)
def test_one_half_dies_and_the_other_ends_well(
    site: AgentSite, script: str, how: dict[str, Any]
) -> None:
    agent = following(site)
    one, other = duet(script, "sleep 1.5; echo well")
    limit_s = 0.5 if "timed_out" in how else 30
    agent.submit("run", {**one, "timeout_s": limit_s}, other)
    a, b = finished(agent)
    assert {name: a[name] for name in how} == how
    assert (b["exit_code"], b["stdout"]) == (0, "well\n")
    assert b["wall_s"] >= 1.4


def test_a_half_that_cannot_be_started_leaves_the_other_alone(site: AgentSite) -> None:
    agent = following(site)
    one, other = duet("true", "echo well")
    agent.submit("run", {**one, "argv": ["/no/such/program"]}, other)
    a, b = finished(agent)
    assert "/no/such/program" in a["reason"]
    assert b["stdout"] == "well\n"
    assert b["conditions"]["duet"]["together"] is False


def test_too_few_cpus_are_no_duet(site: AgentSite) -> None:
    agent = following(site)
    agent.submit("run", *duet("true", "true", cpus=[max(os.sched_getaffinity(0))]))
    for end in finished(agent):
        assert end["exit_code"] is None
        assert "2 threads, but only 1 CPUs" in end["reason"]


def test_both_are_cancelled_and_both_come_back(site: AgentSite, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    script = f"[ -e {flag} ] || sleep 300; echo well"
    agent = following(site)
    trials = duet(script, script)
    agent.submit("run", *trials)
    agent.wait_for("started", "b")
    assert agent.ask("cancel", run_id="run", device="here", running=False)["cancelled"] == []
    gone = agent.ask("cancel", run_id="run", device="here", running=True)["cancelled"]
    assert sorted(gone) == ["a", "b"]
    agent.wait_for("cancelled", "b")
    flag.touch()
    agent.submit("run", *trials)
    ends = finished(agent)
    assert [end["stdout"] for end in ends] == ["well\n"] * 2
    assert all(end["conditions"]["duet"]["together"] for end in ends)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_both_run_again_when_the_agent_goes_even_if_one_was_done(
    site: AgentSite, tmp_path: Path, number: signal.Signals
) -> None:
    """And in the new duet they are together again."""
    flag, done = tmp_path / "flag", tmp_path / "done"
    agent = following(site)
    agent.submit("run", *duet(f"touch {done}", f"[ -e {flag} ] || sleep 300"))
    wait_until(done.exists, "the end of one half")
    time.sleep(0.3)
    sleeping = agent.wait_for("started", "b").fields["process"]["pid"]
    daemon = site.daemon_pid()
    os.kill(daemon, number)
    wait_until(lambda: not is_alive(daemon), "the daemon's end")
    flag.touch()
    back = following(site)
    ends = finished(back)
    assert not is_alive(sleeping)
    assert all(end["exit_code"] == 0 and end["attempt"] == 2 for end in ends)
    assert all(end["conditions"]["duet"]["together"] for end in ends)
    seen = Counter((e.event, e.trial_id) for e in back.events)
    assert seen["finished", "a"] == seen["finished", "b"] == 1
    assert seen["interrupted", "a"] == seen["interrupted", "b"] == 1


def test_without_its_partner_a_half_runs_alone_and_says_so(site: AgentSite) -> None:
    agent = following(site)
    agent.submit("run", duet("echo well", "true")[0])
    end = agent.wait_for("finished", "a").fields
    assert end["stdout"] == "well\n"
    assert end["conditions"]["duet"]["together"] is False


def test_a_run_of_duets(lab: Lab) -> None:
    suite = lab.suite(["float32", "dynamic_range"], PROTOCOL, runner="litert")
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", suite, "--seed", "3")
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert "in duets" in done.stdout
    (row,) = lab.table()
    assert row["blocks"] == "6"
    assert float(row["ci_low"]) <= float(row["speedup"]) <= float(row["ci_high"])

    events = {e["trial_id"]: e for e in lab.events("finished")}
    timing = [e for e in events.values() if e["kind"] == "timing"]
    assert len(timing) == 6 * 4
    assert all("duet" not in e for e in events.values() if e["kind"] == "memory")
    places: Counter[tuple[str, int]] = Counter()  # of the treatment
    for event in timing:
        partner = events[event["duet"]["partner"]]
        assert partner["duet"]["partner"] == event["trial_id"]
        assert (partner["block"], partner["model"]) == (event["block"], event["model"])
        (cpu,), (other,) = event["conditions"]["pinned"], partner["conditions"]["pinned"]
        assert cpu != other
        assert event["conditions"]["duet"]["together"] is True
        places[event["scheme"], cpu] += event["scheme"] != "float32"
    assert sorted(places[p] for p in places if p[0] == "dynamic_range") == [3, 3]
    shares = [
        overlap(trial_record(e), trial_record(events[e["duet"]["partner"]]))
        for e in timing
        if e["scheme"] != "float32"
    ]
    assert all(share is not None and share > 0 for share in shares)
    apart = sum(share < LEAST_OVERLAP for share in shares if share is not None)
    assert ("duet_overlap" in row["findings"]) == (apart > 0)


def test_measuring_by_runs_takes_the_halves_apart_and_is_found_out(lab: Lab) -> None:
    """The faster half is done long before the other, which then goes on without a neighbour."""
    protocol = PROTOCOL.replace("{runs: 5, seconds: 0.3}", "{runs: 60, seconds: 0}")
    suite = lab.suite(["float32", "full_int8"], protocol, runner="litert")
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", suite)
    assert done.code == 0, done.stderr
    (row,) = lab.table()
    assert "duet_overlap" in row["findings"]


def test_a_device_with_too_few_cpus_is_refused_before_anything_runs(lab: Lab) -> None:
    suite = lab.suite(["float32", "dynamic_range"], PROTOCOL, runner="litert")
    inventory = lab.inventory(lab.here(cpus=[max(os.sched_getaffinity(0))]))
    done = lab.run("run", "--inventory", inventory, "--suite", suite)
    assert done.code == 3
    assert "2 are needed, and 1 may be used" in done.stderr
    assert "`cpus:`" in done.stderr
    assert not lab.runs()


def test_an_agent_killed_in_a_duet_loses_nothing_and_repeats_nothing(lab: Lab) -> None:
    protocol = PROTOCOL.replace("seconds: 0.3", "seconds: 1")
    suite = lab.suite(["float32", "dynamic_range"], protocol, runner="litert")
    inventory = lab.inventory(lab.here())
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    lock = lab.folder / "agent-here" / "agent.lock"

    def started() -> list[str]:
        ended = {e["trial_id"] for e in lab.events("finished")}
        running = [e["trial_id"] for e in lab.events("started") if e["trial_id"] not in ended]
        return [i for i in running if ".b" in i]

    wait_long(lambda: len(lab.events("finished")) >= 6, "six finished trials")
    wait_long(lambda: len(started()) == 2, "the middle of a duet")
    in_hand = started()
    pid = json.loads(lock.read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    _, stderr = controller.communicate(timeout=120)
    assert controller.returncode == 0, stderr
    assert every_planned_trial_finished_once(lab.journal())
    events = [(e["event"], e["trial_id"]) for e in lab.journal() if "trial_id" in e]
    assert {i for e, i in events if e == "interrupted"} == set(in_hand)
    for trial_id in in_hand:
        assert Counter(events)["started", trial_id] == 2
        assert Counter(events)["finished", trial_id] == 1
    again = {e["trial_id"]: e for e in lab.events("finished")}
    assert all(e["conditions"]["duet"]["together"] for e in again.values() if e.get("duet"))
    (row,) = lab.table()
    assert row["blocks"] == "6"
