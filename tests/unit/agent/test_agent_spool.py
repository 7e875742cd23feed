"""What the daemon remembers across a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrate_agent import home
from orchestrate_agent.daemon import spool
from orchestrate_agent.daemon.spool import SessionSpool, SpoolError
from orchestrate_agent.daemon.trial_queue import TrialQueue
from orchestrate_agent.protocol import Event, TrialRequest

REQUEST = TrialRequest("t1", ("true",), 5.0)


@pytest.fixture(autouse=True)
def in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # so that the old working directory comes back
    umask = os.umask(0o022)
    home.enter(str(tmp_path / "home"))
    os.umask(umask)
    return tmp_path / "home"


def written(count: int) -> SessionSpool:
    session = SessionSpool("run", "here")
    session.add_trials([REQUEST])
    for number in range(count):
        session.add_events([("queued", "t1", {"number": number})])
    return session


def reload() -> tuple[SessionSpool, list[TrialRequest], list[Event]]:
    session = SessionSpool("run", "here")
    return session, session.load_trials(), list(session.load_events())


def test_everything_comes_back() -> None:
    written(3)
    session, trials, events = reload()
    assert trials == [REQUEST]
    assert [(e.seq, e.fields["number"]) for e in events] == [(1, 0), (2, 1), (3, 2)]
    assert session.add_events([("started", "t1", {})])[0].seq == 4


@pytest.mark.parametrize("torn", [b'{"seq":3,"ti', b"\x00\x00\x00", b'{"seq":3}\x00\n', b"{"])
def test_a_torn_last_line_is_cut_off_and_reported(
    torn: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    session = written(2)
    path = Path(session.folder, spool.EVENTS)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    session, _, events = reload()
    assert [e.seq for e in events] == [1, 2]
    assert "torn last line" in capfd.readouterr().err
    session.add_events([("started", "t1", {})])
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]


def test_damage_in_the_middle_is_not_taken_for_a_crash() -> None:
    session = written(3)
    path = Path(session.folder, spool.EVENTS)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"garbage\n" + lines[2])
    with pytest.raises(SpoolError, match="line 2"):
        reload()


def test_a_damaged_session_is_set_aside_whole_and_the_daemon_goes_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    session = written(3)
    path = Path(session.folder, spool.EVENTS)
    damaged = b"garbage\n" + path.read_bytes()
    path.write_bytes(damaged)
    queue = TrialQueue()
    queue.load()
    assert queue.status()["sessions"] == []
    assert "run/here cannot be read" in capfd.readouterr().err
    (kept,) = Path(home.SPOOL).glob(".damaged-*")
    assert (kept / spool.EVENTS).read_bytes() == damaged


def test_a_trial_accepted_before_the_crash_but_told_to_nobody_is_queued() -> None:
    SessionSpool("run", "here").add_trials([REQUEST])
    queue = TrialQueue()
    queue.load()
    assert queue.status()["queued"] == 1
    _, _, events = reload()
    assert [(e.event, e.trial_id) for e in events] == [("queued", "t1")]


def test_a_broken_release_is_finished_by_the_next_daemon() -> None:
    written(1)
    Path(home.SPOOL, "run").rename(Path(home.SPOOL, ".released-x"))
    assert spool.sessions() == []
    assert list(Path(home.SPOOL).iterdir()) == []


def test_what_cannot_be_written_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    session = written(1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SpoolError, match="No space left"):
            session.add_events([("started", "t1", {})])
    assert session.last_seq == 1
    session.add_events([("started", "t1", {})])
    assert [e.seq for e in reload()[2]] == [1, 2]


def test_a_reader_never_goes_beyond_what_is_synced() -> None:
    session = written(2)
    reader = session.open_events()
    size = session.events_size
    session.add_events([("started", "t1", {})])
    assert len(list(reader.lines(size))) == 2
    assert reader.at(size) and not reader.at(session.events_size)
    assert [json.loads(line)["seq"] for line in reader.lines(session.events_size)] == [3]
    reader.close()


def test_files_are_the_owners_alone() -> None:
    session = written(1)
    for path in Path(session.folder).iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_a_clock_that_was_set_back_reorders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials queued later run later, whatever the wall clock said then."""
    queue = TrialQueue()
    for number, moment in enumerate(("2026-11-21T12:00:00", "2026-11-21T09:00:00")):
        monkeypatch.setattr(home, "now", lambda moment=moment: f"{moment}.000+00:00")
        trials = [TrialRequest(f"t{number}{each}", ("true",), 5.0) for each in "ba"]
        queue.submit("run", "here", trials)
    again = TrialQueue()
    again.load()
    taken = []
    for _ in range(4):
        entries = again.take()
        assert entries is not None
        taken += [entry.request.trial_id for entry in entries]
    assert taken == ["t0b", "t0a", "t1b", "t1a"]
