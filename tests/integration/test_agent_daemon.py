"""The real agent: the zipapp, its daemon, its relay, real processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent import protocol
from orchestrate_agent.protocol import ProtocolError, Reply
from orchestrator.fleet import agent_archive
from orchestrator.fleet.agent_archive import AgentArchive, build_agent_archive
from tests import small_disk
from tests.agent_client import (
    AgentClient,
    AgentSite,
    is_alive,
    other_pythons,
    shell,
    trial,
    wait_until,
)


@pytest.fixture(scope="session")
def archive() -> AgentArchive:
    return build_agent_archive()


@pytest.fixture
def site(tmp_path: Path, archive: AgentArchive) -> Iterator[AgentSite]:
    site = AgentSite(tmp_path, archive.data)
    yield site
    site.close()


@pytest.fixture
def agent(site: AgentSite) -> AgentClient:
    return site.attach()


@pytest.fixture(params=["current", "3.8"])
def either_site(
    request: pytest.FixtureRequest, tmp_path: Path, archive: AgentArchive
) -> Iterator[AgentSite]:
    pythons = [sys.executable] if request.param == "current" else other_pythons("3.8")
    if not pythons:
        pytest.skip("the agent supports Python 3.8, but this machine has none")
    site = AgentSite(tmp_path, archive.data, pythons[0])
    yield site
    site.close()


def refused(agent: AgentClient, op: str, **arguments: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as info:
        agent.ask(op, **arguments)
    return info.value


def kinds(agent: AgentClient, trial_id: str) -> list[str]:
    return [event.event for event in agent.events if event.trial_id == trial_id]


# --- the way of one trial ---------------------------------------------------------------------


def test_one_trial_from_hello_to_release(either_site: AgentSite, archive: AgentArchive) -> None:
    agent = either_site.attach()
    hello = agent.ask("hello", protocol=protocol.PROTOCOL)
    assert hello["agent_hash"] == archive.sha256
    assert hello["pid"] == either_site.daemon_pid()
    assert hello["facts"]["cpu"]
    model = either_site.put(b"a model")
    tool = either_site.put(b"#!/bin/sh\ncat $1; echo; echo $2; stat -c %a $0; pwd; exit 7\n")
    request = trial("t1", f"{{exe:{tool}}}", f"{{blob:{model}}}", "{agent}", blobs=[model, tool])

    finished = agent.run_trial(request)

    lines = finished["stdout"].splitlines()
    assert lines[:3] == ["a model", str(either_site.compiled), "700"]
    assert not Path(lines[3]).exists()  # the work folder is gone with the trial
    assert (finished["exit_code"], finished["signal"], finished["reason"]) == (7, None, None)
    assert finished["attempt"] == 1 and finished["lost"] is False
    assert finished["health_before"]["time"] <= finished["health"]["time"]
    assert kinds(agent, "t1") == ["queued", "started", "finished"]
    assert [event.seq for event in agent.events] == [1, 2, 3]
    assert agent.ask("status")["sessions"][0]["ended"] == 1
    agent.ask("release", run_id="run", device="here")
    assert agent.ask("status")["sessions"] == []
    assert list((either_site.home / "spool").iterdir()) == []
    assert agent.close() == 0


def test_the_home_is_closed_to_others(site: AgentSite, agent: AgentClient) -> None:
    site.put(b"x")
    agent.run_trial(shell("t1", "true"))
    for path in [site.home, *site.home.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_home_deeper_than_a_socket_path_may_be(tmp_path: Path, archive: AgentArchive) -> None:
    deep = tmp_path.joinpath(*["d" * 60] * 4)
    deep.mkdir(parents=True)
    site = AgentSite(deep, archive.data)
    try:
        assert site.attach().run_trial(shell("t1", "echo hi"))["stdout"] == "hi\n"
    finally:
        site.close()


def test_the_tool_does_not_weigh_what_the_agent_weighs(agent: AgentClient) -> None:
    finished = agent.run_trial(trial("t1", "/bin/true"))
    assert finished["rusage"]["maxrss_bytes"] < 4_000_000  # the daemon has 20 MB


def test_trials_run_in_the_order_they_came_over_all_sessions(agent: AgentClient) -> None:
    agent.follow("a")
    agent.follow("b")
    agent.submit("a", shell("a1", "sleep 0.2"), shell("a2", "true"))
    agent.submit("b", shell("b1", "true"))
    agent.submit("a", shell("a3", "true"))
    agent.wait_for("finished", "a3")
    agent.wait_for("finished", "b1")
    times = sorted(
        (e.fields["health"]["monotonic_s"], e.trial_id)
        for e in agent.events
        if e.event == "started"
    )
    assert [trial_id for _, trial_id in times] == ["a1", "a2", "b1", "a3"]


def test_outcomes_are_told_apart(agent: AgentClient) -> None:
    agent.follow("run")
    agent.submit(
        "run",
        shell("code", "exit 137"),
        shell("signal", "kill -9 $$"),
        shell("hang", "sleep 300", timeout_s=0.3),
        trial("nobody", "/nowhere/tool"),
        shell("fine", "echo fine"),
    )
    agent.wait_for("finished", "fine")
    ends = {e.trial_id: e.fields for e in agent.events if e.event == "finished"}
    assert (ends["code"]["exit_code"], ends["code"]["signal"]) == (137, None)
    assert (ends["signal"]["exit_code"], ends["signal"]["signal"]) == (None, 9)
    assert ends["hang"]["timed_out"] and ends["hang"]["signal"] == signal.SIGTERM
    assert "/nowhere/tool" in ends["nobody"]["reason"]
    assert ends["nobody"]["exit_code"] is None and ends["nobody"]["signal"] is None
    assert ends["nobody"]["cause"] == "environment"
    assert kinds(agent, "nobody") == ["queued", "finished"]
    assert ends["fine"]["stdout"] == "fine\n"


def test_a_process_that_left_its_group_does_not_run_beside_the_next_trial(
    agent: AgentClient, site: AgentSite
) -> None:
    finished = agent.run_trial(
        shell("t1", "setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!; sleep 0.3")
    )
    assert not is_alive(int(finished["stdout"]))
    assert "left its group" in site.log()


def test_the_daemon_sleeps_while_a_trial_runs(agent: AgentClient, site: AgentSite) -> None:
    agent.follow("run")
    agent.submit("run", shell("t1", "sleep 300"))
    agent.wait_for("started", "t1")
    pid = site.daemon_pid()

    def wake_ups() -> int:
        total = 0
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            text = status.read_text()
            total += int(text.split("voluntary_ctxt_switches:")[1].split()[0])
        return total

    def settled() -> bool:  # what follows `started`: the event goes out, everyone lies down
        before = wake_ups()
        time.sleep(0.1)
        return wake_ups() == before

    wait_until(settled, "the daemon to lie down")
    before = wake_ups()
    time.sleep(0.4)  # it must stay so: there is nothing to poll for
    assert agent.ask("status")["running"]["trial_id"] == "t1"
    assert wake_ups() - before < 20  # that question and its answer


# --- submitting -------------------------------------------------------------------------------


def test_submit_is_idempotent(agent: AgentClient) -> None:
    request = shell("t1", "echo once >> $OUT", env={"OUT": "/dev/null"})
    assert agent.submit("run", request) == {"accepted": ["t1"], "known": []}
    assert agent.submit("run", request, shell("t2", "true")) == {
        "accepted": ["t2"],
        "known": ["t1"],
    }
    agent.follow("run")
    agent.wait_for("finished", "t2")
    assert agent.submit("run", request) == {"accepted": [], "known": ["t1"]}
    assert kinds(agent, "t1") == ["queued", "started", "finished"]


def test_a_known_id_with_other_content_is_a_conflict(agent: AgentClient) -> None:
    agent.submit("run", shell("t1", "true"))
    error = refused(
        agent,
        "submit",
        run_id="run",
        device="here",
        trials=[shell("t2", "true"), shell("t1", "false")],
    )
    assert error.kind == "conflict" and "t1" in str(error)
    # refused as a whole
    assert agent.submit("run", shell("t2", "echo other"))["accepted"] == ["t2"]


def test_blobs_that_are_missing_are_named(agent: AgentClient, site: AgentSite) -> None:
    here, gone = site.put(b"here"), "ab" * 32
    request = trial("t1", "/bin/cat", f"{{blob:{gone}}}", blobs=[here, gone])
    error = refused(agent, "submit", run_id="run", device="here", trials=[request])
    assert error.kind == "missing_blobs" and error.details["missing"] == [gone]
    assert agent.ask("have", blobs=[gone, here]) == {"present": [here]}


def test_a_blob_damaged_on_disk_is_removed_and_named(agent: AgentClient, site: AgentSite) -> None:
    sha = site.put(b"right")
    (site.home / "blobs" / sha).write_bytes(b"wrong")
    agent.follow("run")
    request = trial("t1", "/bin/cat", f"{{blob:{sha}}}", blobs=[sha])
    agent.submit("run", request)
    agent.wait_for("cancelled", "t1")
    lacking = agent.events[-1].fields["lacking"]
    assert sha in lacking and "damaged" in lacking
    assert agent.ask("have", blobs=[sha]) == {"present": []}
    assert site.put(b"right") == sha
    agent.submit("run", request)
    agent.wait_for("finished", "t1")
    assert agent.events[-1].fields["stdout"] == "right"


def test_a_blob_that_vanished_under_its_trial_is_not_the_trials_failure(
    agent: AgentClient, site: AgentSite
) -> None:
    sha = site.put(b"right")
    vanishing = f"rm {{blob:{sha}}}; cat {{blob:{sha}}}"
    agent.follow("run")
    agent.submit(
        "run",
        trial("own", "/bin/sh", "-c", f"cat {{blob:{sha}}} >&2; exit 3", blobs=[sha]),
        trial("gone", "/bin/sh", "-c", vanishing, blobs=[sha]),
    )
    agent.wait_for("cancelled", "gone")
    assert kinds(agent, "own") == ["queued", "started", "finished"]
    assert kinds(agent, "gone") == ["queued", "started", "cancelled"]
    assert sha in agent.events[-1].fields["lacking"]


# --- the controller goes and comes back --------------------------------------------------------


def test_nothing_is_missed_and_nothing_repeated(agent: AgentClient, site: AgentSite) -> None:
    count = 6
    agent.follow("run")
    agent.submit(
        "run", *(shell(f"t{n}", "sleep 0.1; head -c 300000 /dev/zero") for n in range(count))
    )
    agent.wait_for("finished", "t1")
    agent.drop()
    seen = list(agent.events)

    back = site.attach()
    back.follow("run", from_seq=seen[-1].seq + 1)
    back.wait_for("finished", f"t{count - 1}")
    assert [e.seq for e in seen + back.events] == list(range(1, 3 * count + 1))
    third = site.attach()
    assert third.follow("run") == {"last_seq": 3 * count}
    third.wait_for("finished", f"t{count - 1}")
    assert [e.fields for e in third.events] == [e.fields for e in seen + back.events]


def test_a_reader_that_does_not_read_holds_nobody(agent: AgentClient, site: AgentSite) -> None:
    follow = protocol.request(1, "events", run_id="run", device="here", from_seq=1)
    with site.connect() as lazy:
        lazy.sendall(protocol.encode(follow))
        agent.follow("run")
        # more than the buffers of a socket hold
        agent.submit("run", *(shell(f"t{n}", "head -c 900000 /dev/zero") for n in range(3)))
        agent.wait_for("finished", "t2")
        with lazy.makefile("rb") as stream:  # and when it reads at last, everything is there
            assert stream.readline() == protocol.READY.encode() + b"\n"
            assert json.loads(stream.readline())["ok"]
            assert [json.loads(stream.readline())["event"]["seq"] for _ in range(9)] == [
                *range(1, 10)
            ]


def test_events_that_are_not_there_are_an_error_not_a_silence(agent: AgentClient) -> None:
    agent.run_trial(shell("t1", "true"))
    error = refused(agent, "events", run_id="other", device="here", from_seq=5)
    assert error.kind == "unknown_seq" and error.details["last_seq"] == 0
    error = refused(agent, "events", run_id="run", device="here", from_seq=1)
    assert "already" in str(error)


def test_a_session_is_only_released_when_nothing_of_it_is_left(agent: AgentClient) -> None:
    agent.submit("run", shell("t1", "sleep 300"), shell("t2", "true"))
    assert refused(agent, "release", run_id="run", device="here").kind == "busy"
    assert agent.ask("release", run_id="never", device="here") == {}


# --- cancel and shutdown ----------------------------------------------------------------------


def test_cancel_spares_the_running_trial_unless_told(agent: AgentClient) -> None:
    agent.follow("run")
    agent.submit("run", shell("t1", "echo $$; sleep 300"), shell("t2", "true"), shell("t3", "true"))
    started = agent.wait_for("started", "t1")
    asked = {"run_id": "run", "device": "here"}
    assert agent.ask("cancel", **asked, running=False) == {"cancelled": ["t2", "t3"]}
    assert is_alive(started.fields["process"]["pid"])
    assert agent.ask("cancel", **asked, running=True) == {"cancelled": ["t1"]}
    agent.wait_for("cancelled", "t1")
    assert not is_alive(started.fields["process"]["pid"])
    assert kinds(agent, "t1") == ["queued", "started", "cancelled"]
    assert kinds(agent, "t2") == ["queued", "cancelled"]
    assert agent.ask("cancel", **asked, running=True) == {"cancelled": []}
    assert agent.ask("cancel", run_id="never", device="here", running=True) == {"cancelled": []}
    assert agent.run_trial(shell("t4", "echo on"))["stdout"] == "on\n"


def test_a_cancelled_trial_runs_when_it_is_submitted_again(agent: AgentClient) -> None:
    first, second = shell("t1", "sleep 60"), shell("t2", "echo ran")
    agent.follow("run")
    agent.submit("run", first, second)
    agent.wait_for("started", "t1")
    agent.ask("cancel", run_id="run", device="here", running=True)
    agent.wait_for("cancelled", "t1")
    assert agent.submit("run", second) == {"accepted": ["t2"], "known": []}
    assert agent.submit("run", second) == {"accepted": [], "known": ["t2"]}
    assert agent.wait_for("finished", "t2").fields["stdout"] == "ran\n"
    assert kinds(agent, "t2") == ["queued", "cancelled", "queued", "started", "finished"]


def test_ask_speaks_to_a_running_daemon_and_starts_none(site: AgentSite) -> None:
    request = b'{"id": 1, "op": "status"}\n'
    assert site.run("ask", stdin=request).stdout == b"null\n"
    assert not site.daemon_is_alive()
    site.attach().ask("hello", protocol=protocol.PROTOCOL)
    assert json.loads(site.run("ask", stdin=request).stdout)["result"]["queued"] == 0
    shutdown = b'{"id": 2, "op": "shutdown", "force": false}\n'
    assert json.loads(site.run("ask", stdin=shutdown).stdout)["ok"] is True
    wait_until(lambda: not site.daemon_is_alive(), "the daemon's end")


def test_cancel_touches_no_other_session(agent: AgentClient) -> None:
    agent.submit("mine", shell("t1", "sleep 0.3"))
    agent.submit("yours", shell("t1", "echo yours"))
    agent.ask("cancel", run_id="mine", device="here", running=True)
    agent.follow("yours")
    assert agent.wait_for("finished", "t1").fields["stdout"] == "yours\n"


def test_shutdown_is_refused_while_trials_wait(agent: AgentClient, site: AgentSite) -> None:
    agent.submit("run", shell("t1", "sleep 300"))
    assert refused(agent, "shutdown", force=False).kind == "busy"
    pid = site.daemon_pid()
    assert agent.ask("shutdown", force=True) == {}
    wait_until(lambda: not is_alive(pid), "the daemon's end")
    assert agent.process.wait(10) == 0  # the relay ends with it


# --- the daemon says nothing, or cannot be found ----------------------------------------------

STATUS = b'{"id": 1, "op": "status"}\n'
FORCED = b'{"id": 2, "op": "shutdown", "force": true}\n'


def test_a_daemon_whose_home_was_removed_says_so_and_ends(
    site: AgentSite, agent: AgentClient
) -> None:
    agent.follow("run")
    agent.submit("run", shell("t1", "sleep 0.5"), shell("t2", "true"))
    agent.wait_for("started", "t1")
    pid = site.daemon_pid()
    shutil.rmtree(site.home)
    error = agent.farewell()
    assert error.kind == "stopping" and str(site.home) in str(error)
    wait_until(lambda: not is_alive(pid), "the daemon's end")
    # and whoever comes back finds a new one
    back = site.attach()
    assert back.run_trial(shell("t1", "echo again"))["stdout"] == "again\n"


def test_a_daemon_whose_socket_was_removed_is_reached(site: AgentSite, agent: AgentClient) -> None:
    agent.submit("run", shell("t1", "sleep 300"))
    pid = site.daemon_pid()
    (site.home / "agent.sock").unlink()
    assert site.attach().ask("hello", protocol=protocol.PROTOCOL)["pid"] == pid
    (site.home / "agent.sock").unlink()
    assert json.loads(site.run("ask", stdin=STATUS).stdout)["result"]["running"]
    (site.home / "agent.sock").unlink()
    assert json.loads(site.run("ask", stdin=FORCED).stdout)["ok"] is True
    wait_until(lambda: not is_alive(pid), "the daemon's end")


def test_a_stopped_daemon_is_said_to_be_stopped_and_can_be_ended(
    site: AgentSite, agent: AgentClient
) -> None:
    agent.follow("run")
    agent.submit("run", shell("t1", "sleep 300"))
    left = agent.wait_for("started", "t1").fields["process"]["pid"]
    pid = site.daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    done = site.run("ask", stdin=STATUS)
    assert done.returncode == 75 and not done.stdout
    assert f"pid {pid}" in done.stderr.decode() and "it is stopped" in done.stderr.decode()
    assert is_alive(pid)
    assert json.loads(site.run("ask", stdin=FORCED).stdout) == {"id": 2, "ok": True, "result": {}}
    assert not is_alive(pid) and not is_alive(left)


def test_a_stopped_daemon_is_replaced_where_that_is_asked_for(
    site: AgentSite, agent: AgentClient, tmp_path: Path
) -> None:
    agent.follow("run")
    script = f"[ -e {tmp_path}/once ] && echo again && exit; touch {tmp_path}/once; sleep 300"
    agent.submit("run", shell("t1", script))
    wait_until((tmp_path / "once").exists, "the trial to begin")
    pid = site.daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    only_looking = site.run("attach", "--answer-s", "0.3")
    assert only_looking.returncode == 75 and b"kill -CONT" in only_looking.stderr
    back = site.attach("--answer-s", "0.3", "--replace")
    assert site.daemon_pid() != pid and not is_alive(pid)
    back.follow("run")
    assert back.wait_for("finished", "t1").fields["stdout"] == "again\n"
    assert kinds(back, "t1") == ["queued", "started", "interrupted", "started", "finished"]


def test_whoever_asks_is_told_what_a_trial_waits_for(site: AgentSite, agent: AgentClient) -> None:
    agent.follow("run")
    with subprocess.Popen(["flock", "/tmp", "sleep", "300"]) as holder:
        try:
            wait_until(lambda: site.run("survey").stdout.find(b'"held": true') > 0, "the lock")
            agent.submit("run", shell("t1", "true", exclusive=True))
            wait_until(lambda: agent.ask("status")["waits_for"] == "lock", "it to be waited for")
            status = agent.ask("status")
            assert status["running"]["state"] == "waiting"
            assert status["lock_holder"]["pid"] == holder.pid
            assert status["lock_holder"]["name"] == "flock"
        finally:
            subprocess.run(["pkill", "-P", str(holder.pid)], check=False)
    assert agent.wait_for("finished", "t1").fields["machine_lock"] == "held"
    assert agent.ask("status")["waits_for"] is None
    assert agent.ask("status")["lock_holder"] is None


def test_a_grandchild_that_left_everything_does_not_outlive_its_trial(
    agent: AgentClient, site: AgentSite
) -> None:
    script = (
        "setsid sh -c 'env -i sleep 300 </dev/null >/dev/null 2>&1 & echo $!' & wait; sleep 0.1"
    )
    finished = agent.run_trial(shell("t1", script))
    assert not is_alive(int(finished["stdout"]))
    assert "left its group" in site.log()


# --- the daemon dies --------------------------------------------------------------------------


def test_a_killed_daemons_trial_dies_and_runs_again_once(
    either_site: AgentSite, tmp_path: Path
) -> None:
    agent = either_site.attach()
    agent.follow("run")
    count = tmp_path / "count"
    # the first run hangs, with a child that a SIGKILL of its parent would leave behind
    script = f"echo x >> {count}; [ $(wc -l < {count}) -gt 1 ] && exit 0; sleep 300 & wait"
    agent.submit("run", shell("t1", script), shell("t2", "echo after"))
    first = agent.wait_for("started", "t1").fields["process"]
    wait_until(count.exists, "the trial to begin")
    either_site.kill_daemon()
    assert is_alive(first["pid"])  # else there would be nothing to show

    back = either_site.attach()
    assert not is_alive(first["pid"])
    back.follow("run")
    back.wait_for("finished", "t2")
    assert kinds(back, "t1") == ["queued", "started", "interrupted", "started", "finished"]
    assert [e.seq for e in back.events] == list(range(1, len(back.events) + 1))
    interrupted = back.wait_for("interrupted", "t1").fields
    assert interrupted["attempt"] == 1 and interrupted["orderly"] is False
    assert back.wait_for("finished", "t1").fields["attempt"] == 2
    assert count.read_text() == "x\nx\n"
    times = [e.fields["health"]["monotonic_s"] for e in back.events if e.event == "started"]
    assert times == sorted(times)  # the interrupted one kept its place before t2


def test_a_trial_the_agent_keeps_dying_under_is_given_up(site: AgentSite) -> None:
    for attempt in range(1, protocol.MAX_ATTEMPTS + 1):
        agent = site.attach()
        agent.follow("run")
        agent.submit("run", shell("t1", "sleep 300"), shell("t2", "echo next"))
        wait_until(
            lambda a=agent, n=attempt: kinds(a, "t1").count("started") == n,  # type: ignore[misc]
            f"attempt {attempt}",
        )
        site.kill_daemon()
        agent.drop()
    back = site.attach()
    back.follow("run")
    lost = back.wait_for("finished", "t1").fields
    assert lost["lost"] is True and lost["reason"]
    assert (lost["exit_code"], lost["signal"], lost["attempt"]) == (None, None, 3)
    assert back.wait_for("finished", "t2").fields["stdout"] == "next\n"


def test_an_orderly_stop_puts_the_trial_back(site: AgentSite, tmp_path: Path) -> None:
    agent = site.attach()
    flag = tmp_path / "flag"
    agent.follow("run")
    agent.submit("run", shell("t1", f"[ -e {flag} ] || sleep 300; echo done"))
    first = agent.wait_for("started", "t1").fields["process"]
    pid = site.daemon_pid()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), "the daemon's end")
    assert not is_alive(first["pid"])
    flag.touch()
    back = site.attach()
    back.follow("run")
    assert back.wait_for("finished", "t1").fields["stdout"] == "done\n"
    assert back.wait_for("interrupted", "t1").fields["orderly"] is True


def test_a_torn_spool_is_mended(site: AgentSite) -> None:
    agent = site.attach()
    agent.run_trial(shell("t1", "echo one"))
    agent.drop()
    site.kill_daemon()
    events = site.home / "spool" / "run" / "here" / "events.jsonl"
    with events.open("ab") as file:
        file.write(b'{"seq":4,"time":"20')
    back = site.attach()
    assert back.follow("run") == {"last_seq": 3}
    assert back.run_trial(shell("t2", "echo two"))["stdout"] == "two\n"
    assert [e.seq for e in back.events] == [1, 2, 3, 4, 5, 6]
    assert "torn last line" in site.log()


def test_an_agent_that_cannot_record_a_trial_runs_none(site: AgentSite) -> None:
    agent = site.attach()
    agent.submit("run", shell("t1", "sleep 0.5"), shell("t2", "true"))
    agent.follow("run")
    agent.wait_for("started", "t1")
    pid = site.daemon_pid()
    events = site.home / "spool" / "run" / "here" / "events.jsonl"
    kept = events.rename(events.with_suffix(".kept"))
    events.mkdir()  # stands for a disk that takes no more
    wait_until(lambda: not is_alive(pid), "the daemon's end")
    assert "cannot write" in site.log() and "events.jsonl" in site.log()
    assert "t2" not in [e.trial_id for e in agent.events if e.event == "started"]

    events.rmdir()
    kept.rename(events)  # room again
    back = site.attach()
    back.follow("run")
    back.wait_for("finished", "t2")
    assert kinds(back, "t1") == ["queued", "started", "interrupted", "started", "finished"]


# --- one daemon, its beginning and its end -----------------------------------------------------


def test_a_second_daemon_names_the_holder(site: AgentSite) -> None:
    assert site.run("serve").returncode == 0
    second = site.run("serve")
    assert second.returncode == 3
    assert str(site.daemon_pid()) in second.stderr.decode()
    assert second.stdout == b""


def test_hello_tells_that_the_daemon_is_of_another_version(
    site: AgentSite, archive: AgentArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run("serve")
    sources = agent_archive._sources()
    monkeypatch.setattr(
        agent_archive, "_sources", lambda: {**sources, "orchestrate_agent/new.py": b"# new"}
    )
    newer = build_agent_archive()
    assert newer.sha256 != archive.sha256
    site.pyz = tmp_path / "newer.pyz"
    site.pyz.write_bytes(newer.data)
    agent = site.attach()
    assert agent.ask("hello", protocol=1)["agent_hash"] == archive.sha256
    agent.ask("shutdown", force=False)
    assert agent.process.wait(10) == 0
    assert site.attach().ask("hello", protocol=1)["agent_hash"] == newer.sha256


def test_what_is_printed_by_mistake_does_not_reach_the_wire() -> None:
    script = (
        "import os; from orchestrate_agent.daemon import relay; wire = relay._keep_stdout();"
        "print('oops', flush=True); os.write(1, b'raw oops'); os.system('echo child oops');"
        "os.write(wire, b'wire')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"wire" and done.stderr.count(b"oops") == 3


def test_many_attach_at_once_and_find_one_daemon(site: AgentSite) -> None:
    argv = [*site.argv("attach"), "--idle-s", "60"]
    relays = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    try:
        pids = set()
        for relay in relays:
            assert relay.stdin is not None and relay.stdout is not None
            assert relay.stdout.readline() == protocol.READY.encode() + b"\n"
            relay.stdin.write(protocol.encode(protocol.request(1, "hello", protocol=1)))
            relay.stdin.flush()
            pids.add(json.loads(relay.stdout.readline())["result"]["pid"])
        assert pids == {site.daemon_pid()}
    finally:
        for relay in relays:
            relay.kill()
            relay.communicate()


def test_idle_means_no_trial_and_no_connection(site: AgentSite) -> None:
    agent = site.attach(idle_s=0.5)
    pid = site.daemon_pid()
    time.sleep(0.8)  # it must not end while we are there
    assert agent.ask("status")["running"] is None
    agent.submit("run", shell("t1", "sleep 1"))
    agent.drop()
    wait_until(lambda: not is_alive(pid), "the idle exit")
    assert "idle" in site.log()
    back = site.attach()
    back.follow("run")
    back.wait_for("finished", "t1")
    assert kinds(back, "t1") == ["queued", "started", "finished"]


def test_a_home_that_is_refused_is_told_on_stderr(site: AgentSite) -> None:
    site.home.mkdir()
    site.home.chmod(0o777)
    for command in ("serve", "attach"):
        done = site.run(command)
        assert done.returncode == 2 and b"chmod 700" in done.stderr and done.stdout == b""


def test_a_daemon_that_cannot_start_says_why(site: AgentSite) -> None:
    site.run("logs")  # makes the home
    (site.home / "agent.sock").mkdir()
    done = site.run("attach")
    assert done.returncode == 2
    assert b"agent.sock" in done.stderr or b"Is a directory" in done.stderr


def test_a_command_line_that_is_wrong(site: AgentSite) -> None:
    for arguments in (
        ("put", "abc:5"),
        ("put", f"{'ab' * 32}:-1"),
        ("nonsense",),
        ("attach", "--idle-s", "-1"),
    ):
        done = site.run(*arguments)
        assert done.returncode == 2 and done.stderr and not done.stdout


def test_facts_and_logs(site: AgentSite) -> None:
    assert json.loads(site.run("facts").stdout)["cpu"]
    assert site.run("logs").stdout == b""
    site.run("serve")
    assert b"listens" in site.run("logs").stdout


def test_it_runs_from_a_relative_path(site: AgentSite) -> None:
    argv = [site.python, "-I", site.pyz.name, "serve", "--home", str(site.home)]
    done = subprocess.run(argv, cwd=site.pyz.parent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        site.attach().run_trial(trial("t1", "/bin/ls", "{agent}"))["stdout"] == f"{site.compiled}\n"
    )


def test_a_python_that_is_too_old_says_so(site: AgentSite) -> None:
    old = other_pythons("2.7") + other_pythons("3.7")
    if not old:
        pytest.skip("no Python before 3.8 on this machine")
    for python in old:
        done = subprocess.run([python, str(site.pyz), "facts"], capture_output=True, check=False)
        assert done.returncode == 2 and b"needs 3.8 or later" in done.stderr


def test_nothing_listens_on_the_network(agent: AgentClient, site: AgentSite) -> None:
    pid = site.daemon_pid()
    links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    unix = Path("/proc/net/unix").read_text().split()
    assert inodes and inodes <= set(unix)


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace needs root")
def test_a_proc_of_another_namespace_is_refused(site: AgentSite) -> None:
    """What it says of a number is about somebody else's process there."""
    argv = ["unshare", "--mount", "--pid", "--fork", *site.argv("serve")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("namespaces are not permitted here")
    assert done.returncode == 2
    assert "/proc shows this process as" in done.stderr and "--mount-proc" in done.stderr


# --- probe ------------------------------------------------------------------------------------


def test_probe_finds_the_runtimes_of_another_python(agent: AgentClient) -> None:
    asked = ["ai-edge-litert", "tensorflow", "torch"]
    found = agent.ask("probe", python=sys.executable, runtimes=asked)
    assert found["version"] == "{}.{}.{}".format(*sys.version_info[:3])
    for name in asked:
        try:
            assert found["runtimes"][name] == metadata.version(name)
        except metadata.PackageNotFoundError:
            assert name not in found["runtimes"]


def test_a_python_that_is_none(agent: AgentClient) -> None:
    for python, kind in (
        ("~/no/such/python", "no_python"),
        ("no-such-python", "no_python"),
        ("/bin/false", "probe_failed"),
        ("/bin/echo", "probe_failed"),
    ):
        error = refused(agent, "probe", python=python, runtimes=[])
        assert error.kind == kind
        assert str(Path(python).expanduser()) in str(error)


# --- the machine-wide lock ---------------------------------------------------------------------

_HOLD = """
import fcntl, os, sys
fd = os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """Another user's daemon in mid-trial, as far as the lock can tell."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_an_exclusive_trial_waits_for_the_machine(
    agent: AgentClient, holder: subprocess.Popen[bytes]
) -> None:
    agent.follow("run")
    agent.submit("run", shell("t1", "echo alone", exclusive=True))
    wait_until(lambda: agent.ask("status")["running"] is not None, "the trial to be taken")
    assert agent.ask("status")["running"]["state"] == "waiting"
    agent.wait_for("queued", "t1")
    assert kinds(agent, "t1") == ["queued"]
    holder.kill()
    finished = agent.wait_for("finished", "t1", 60).fields
    assert (finished["stdout"], finished["machine_lock"]) == ("alone\n", "held")


def test_one_that_waits_for_the_machine_can_be_cancelled(
    agent: AgentClient, holder: subprocess.Popen[bytes]
) -> None:
    agent.follow("run")
    agent.submit("run", shell("t1", "true", exclusive=True), shell("t2", "echo no lock"))
    wait_until(lambda: agent.ask("status")["running"] is not None, "the trial to be taken")
    cancelled = agent.ask("cancel", run_id="run", device="here", running=False)
    assert sorted(cancelled["cancelled"]) == ["t1", "t2"]
    agent.wait_for("cancelled", "t1")
    finished = agent.run_trial(shell("t3", "echo free"))
    assert (finished["stdout"], finished["machine_lock"]) == ("free\n", None)
    holder.kill()
    # the wait that was given up must not keep the machine when its turn comes
    assert agent.run_trial(shell("t4", "echo mine", exclusive=True))["machine_lock"] == "held"


def test_a_daemon_that_waits_for_the_machine_can_be_stopped(
    agent: AgentClient, site: AgentSite, holder: subprocess.Popen[bytes]
) -> None:
    agent.submit("run", shell("t1", "true", exclusive=True))
    wait_until(lambda: agent.ask("status")["running"] is not None, "the trial to be taken")
    pid = site.daemon_pid()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), "the daemon's end")
    assert holder.poll() is None


# --- hostile lines -----------------------------------------------------------------------------


_HOSTILE = [
    (b"[" * 100_000, "bad_json"),
    (b"\xff\xfe\x00", "bad_json"),
    (b"null", "bad_json"),
    (b"{}", "bad_request"),
    (b'{"id":"1","op":"status"}', "bad_request"),
    (b'{"id":1,"op":"__class__"}', "bad_request"),
    (b'{"id":1,"op":"submit","run_id":"..","device":"d","trials":[]}', "bad_request"),
    (b'{"id":1,"op":"events","run_id":"r","device":"d","from_seq":0}', "bad_request"),
    (b'{"id":1,"op":"hello","protocol":99}', "protocol"),
]


def test_a_hostile_line_gets_an_error_and_the_next_one_an_answer(agent: AgentClient) -> None:
    for line, kind in _HOSTILE:
        reply = agent.exchange(line + b"\n")
        assert isinstance(reply, Reply) and reply.error is not None
        assert reply.error.kind == kind, line[:60]
        assert agent.ask("status")["queued"] == 0


def test_a_line_of_100_mb_ends_the_connection_and_nothing_else(
    agent: AgentClient, site: AgentSite
) -> None:
    pid = site.daemon_pid()
    with site.connect() as sock:
        chunk, sent = b"x" * 1_000_000, 0
        try:
            while sent < 100_000_000:
                sent += sock.send(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 2 * protocol.MAX_LINE_BYTES
    peak = Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]
    assert int(peak) < 150_000  # kB
    assert agent.ask("status")["queued"] == 0


# --- blobs ------------------------------------------------------------------------------------


def test_put_stores_once(either_site: AgentSite) -> None:
    data = os.urandom(3_000_000)
    sha = either_site.put(data)
    path = either_site.home / "blobs" / sha
    assert path.read_bytes() == data and stat.S_IMODE(path.stat().st_mode) == 0o600
    other = b"another"
    names = (f"{sha}:{len(data)}", f"{hashlib.sha256(other).hexdigest()}:{len(other)}")
    again = either_site.run("put", *names, stdin=data + other)
    assert (again.returncode, again.stdout) == (0, b"present\nstored\n")


@pytest.mark.parametrize("sent", [b"wrong bytes!", b"short", b""])
def test_wrong_or_short_bytes_never_land(site: AgentSite, sent: bytes) -> None:
    sha = hashlib.sha256(b"right bytes!").hexdigest()
    done = site.run("put", f"{sha}:12", stdin=sent)
    assert done.returncode == 4 and done.stderr.count(b"\n") == 1 and done.stdout == b""
    assert list((site.home / "blobs").iterdir()) == []


def test_a_blob_that_does_not_fit_is_refused_before_it_is_sent(site: AgentSite) -> None:
    done = site.run("put", f"{'ab' * 32}:{10**15}")
    assert done.returncode == 5 and b"free" in done.stderr


def test_what_dead_transfers_left_is_removed_and_living_ones_stay(site: AgentSite) -> None:
    site.put(b"first")
    blobs = site.home / "blobs"
    stale, fresh = blobs / ".put-stale", blobs / ".put-fresh"
    stale.write_bytes(b"x")
    fresh.write_bytes(b"x")
    os.utime(stale, (1, 1))
    slow = subprocess.Popen(
        site.argv("put", f"{'ab' * 32}:1000"), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: not {*blobs.glob(".put-*")} <= {stale, fresh}, "the transfer to begin")
    (living,) = set(blobs.glob(".put-*")) - {stale, fresh}
    os.utime(living, (1, 1))
    site.put(b"second")
    assert not stale.exists() and fresh.exists() and living.exists()
    slow.communicate(b"x" * 1000)
    assert slow.returncode == 4 and not living.exists()


def test_a_full_disk_starts_no_trial_and_is_told_as_what_may_pass(
    tmp_path: Path, archive: AgentArchive
) -> None:
    reason = small_disk.why_not()
    if reason is not None:
        pytest.skip(reason)
    with small_disk.small_disk(tmp_path / "disk", 16) as disk:
        site = AgentSite(disk.folder, archive.data)
        try:
            agent = site.attach()
            agent.submit("run", shell("t1", "sleep 0.5"), shell("t2", "true"))
            agent.follow("run")
            agent.wait_for("started", "t1")
            pid = site.daemon_pid()
            disk.fill()
            wait_until(lambda: not is_alive(pid), "the daemon's end")
            assert "started" not in kinds(agent, "t2")
            done = site.run("attach")
            assert done.returncode == 75
            assert b"make room on that disk" in done.stderr
            disk.make_room()
            back = site.attach()
            back.follow("run")
            back.wait_for("finished", "t2")
            assert kinds(back, "t1")[-1] == "finished"
        finally:
            site.close()
