"""The page of a run that goes on, `watch`, and what is told when it ends."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli, live, watching
from orchestrator.analysis import analyse
from orchestrator.answer import ExitCode
from orchestrator.answers.on_end import parse_command, start_command
from orchestrator.errors import JournalError, UsageError
from orchestrator.fleet.progress import DeviceProgress, State
from orchestrator.report.live import STALE_S, is_going_on, to_page, to_text
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import FILE_NAME, Journal, JournalTail, has_writer, read_journal
from orchestrator.runs.manifest import read_manifest
from orchestrator.runs.standing import BETWEEN, DONE, LOST, PAUSED, RUNNING, Standing
from orchestrator.watching import Watch
from tests.live_views import fleet_at_work
from tests.pages import EVIL

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = next((ROOT / "results").rglob("journal.jsonl")).parent
LINES = (REFERENCE / FILE_NAME).read_bytes().splitlines(keepends=True)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A copy of the reference run whose journal has no line yet."""
    path = tmp_path / "results" / REFERENCE.name
    path.mkdir(parents=True)
    shutil.copy(REFERENCE / "run.json", path)
    (path / FILE_NAME).touch()
    return RunDirectory(path)


def grow(run: RunDirectory, lines: int) -> None:
    (run.path / FILE_NAME).write_bytes(b"".join(LINES[:lines]))


def append(run: RunDirectory, *events: dict[str, Any]) -> None:
    device_seq = {"here": 100_000}
    with (run.path / FILE_NAME).open("a") as file:
        for event in events:
            name = event.get("device", "here")
            device_seq[name] = device_seq.get(name, 0) + 1
            line = {"format": 1, "seq": device_seq[name], "time": "2026-01-01T00:00:00Z"}
            file.write(json.dumps({**line, "device": name, **event}) + "\n")


def finished(**fields: Any) -> dict[str, Any]:
    line = next(json.loads(each) for each in LINES if b'"event":"finished"' in each[:200])
    del line["seq"], line["time"]
    return {**line, **fields}


# -- the journal, while it is written -------------------------------------------------------------


def test_a_tail_has_every_event_once_and_waits_for_half_a_line(run: RunDirectory) -> None:
    tail, path, found = JournalTail(run.path / FILE_NAME), run.path / FILE_NAME, []
    whole = b"".join(LINES)
    for end in range(0, len(whole) + 50_000, 50_000):
        path.write_bytes(whole[:end])
        found += list(tail.read())
    assert tuple(found) == read_journal(REFERENCE / FILE_NAME).events
    assert tail.generation == 0
    assert list(tail.read()) == []


def test_a_tail_begins_again_where_another_file_stands_there(run: RunDirectory) -> None:
    tail = JournalTail(run.path / FILE_NAME)
    grow(run, 20)
    assert len(list(tail.read())) == 20
    grow(run, 10)
    assert (len(list(tail.read())), tail.generation) == (10, 1)


def test_a_tail_follows_no_link(run: RunDirectory, tmp_path: Path) -> None:
    (run.path / FILE_NAME).unlink()
    (run.path / FILE_NAME).symlink_to(REFERENCE / FILE_NAME)
    with pytest.raises(JournalError, match="a link"):
        list(JournalTail(run.path / FILE_NAME).read())


@pytest.mark.skipif(sys.platform != "linux", reason="the system lists its locks on Linux alone")
def test_whoever_writes_a_run_is_seen_and_not_disturbed(run: RunDirectory) -> None:
    assert has_writer(run.path) is False
    with Journal(run.path):
        assert has_writer(run.path) is True
    assert has_writer(run.path) is False


# -- where a device stands ------------------------------------------------------------------------


def test_a_device_is_followed_from_its_first_event_to_its_last(run: RunDirectory) -> None:
    watch, seen = Watch(run), []
    for lines in range(len(LINES) + 1):
        grow(run, lines)
        now, is_new = watch.look()
        assert is_new == (lines > 0)
        (device,) = now.devices
        seen.append(device.state)
        if device.state == RUNNING:
            assert device.detail.startswith(("mobilenet_v1 ", "resnet50 "))
    assert list(dict.fromkeys(seen)) == ["not heard of yet", "ready", "prepared", RUNNING, BETWEEN]
    (device,) = now.devices
    count = sum(b'"event":"finished"' in line[:200] for line in LINES)
    assert (device.done, device.failed, device.expected) == (count, 0, count)
    assert device.microarchitecture == "cascadelake"
    assert device.load is not None and device.mhz is not None
    assert device.temperature_c is None  # the machine does not tell
    append(run, {"event": "device_done"})
    now, _ = watch.look()
    assert (now.devices[0].state, now.over) == (DONE, True)


def test_time_to_go_is_told_from_the_plan(run: RunDirectory) -> None:
    grow(run, len(LINES) // 3)
    (device,) = Watch(run).look()[0].devices
    assert device.expected is not None and device.expected > device.done > 0
    assert device.eta_s is not None and 10 < device.eta_s < 600


def test_a_trial_that_the_plan_does_not_have_ends_the_telling_of_it(run: RunDirectory) -> None:
    grow(run, len(LINES) // 3)
    append(run, finished(trial_id="here.another"))
    (device,) = Watch(run).look()[0].devices
    assert (device.expected, device.eta_s) == (None, None)


def test_failures_are_counted_by_reason_with_their_remedy(run: RunDirectory) -> None:
    grow(run, 30)
    remedy = {"code": "x", "message": "seen", "remedy": "do this", "forbids": False}
    bad = finished(outcome="failed", reason="it broke", findings=[])
    append(run, bad, bad, {**bad, "scheme": "full_int8", "findings": [remedy]})
    now, _ = Watch(run).look()
    (device,) = now.devices
    assert [(f.scheme, f.count, f.remedy) for f in device.failures] == [
        ("float32", 2, ""), ("full_int8", 1, "do this"),
    ]  # fmt: skip
    assert device.failed == 3
    assert device.finding is not None and device.finding.finding.code == "x"
    text = to_text(live.view_of(now), width=200, color=False)
    assert "2 memory trials ended failed: it broke. Remedy: see logs/" in text
    assert "Remedy: do this" in text


def test_throttling_and_the_hottest_place_are_told(run: RunDirectory) -> None:
    health = {"temperature_c": 50.0, "load1": 1.5, "jetson": {"temperatures_c": {"gpu": 61.5}}}
    during = {"throttle_reasons": ["thermal"], "held_back_s": 0.25}
    append(run, finished(health=health, during=during))
    (device,) = Watch(run).look()[0].devices
    assert (device.temperature_c, device.load) == (61.5, 1.5)
    assert device.throttled == "thermal, held back 0.2 s by a CPU limit"


@pytest.mark.parametrize("value", ["hot", float("1e300"), {"a": 1}, True])
def test_what_is_not_a_number_is_not_shown_as_one(run: RunDirectory, value: Any) -> None:
    append(run, finished(health={"temperature_c": value}, during={"held_back_s": value}))
    (device,) = Watch(run).look()[0].devices
    assert (device.temperature_c, device.throttled) == (None, "")


def test_lost_and_paused_devices_say_why_and_come_back() -> None:
    standing = Standing(read_manifest(REFERENCE))
    pause = {"event": "stopped", "group": "g", "reason": "the lease ends", "resumable": True}
    for event, state in (
        ({"event": "device_lost", "reason": "no route"}, LOST),
        ({"event": "device_ready", "facts": {}}, "ready"),
        (pause, PAUSED),
    ):
        standing.take({"device": "here", "time": "t", **event})
        assert standing.devices[0].state == state
    assert standing.devices[0].detail == "the lease ends"


# -- the table so far -----------------------------------------------------------------------------


def test_the_table_is_computed_no_more_often_than_its_share(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock: list[float] = [0.0]
    taken: list[float] = []
    real = analyse

    def slow(*arguments: Any) -> Any:
        taken.append(clock[0])
        cpu[0] += 2.0
        return real(*arguments)

    cpu = [0.0]
    monkeypatch.setattr("orchestrator.watching.analyse", slow)
    monkeypatch.setattr("orchestrator.watching.time.thread_time", lambda: cpu[0])
    watch = Watch(run, clock=lambda: clock[0])
    for second in range(100):
        clock[0] = float(second)
        grow(run, 120 + 2 * second)
        watch.look()
    # two seconds of work are a twentieth of forty
    assert taken == [0.0, 40.0, 80.0]
    assert watch.look(whole=True)[0].table_trials == watch.look()[0].trials


def test_a_very_long_journal_has_no_table_while_it_grows(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_TRIALS", 5)
    grow(run, 200)
    now, _ = Watch(run).look()
    assert now.table is None
    assert "more than 5 trials" in now.table_note
    assert "more than 5 trials" in to_page(live.view_of(now), datetime.now(timezone.utc))


# -- the page -------------------------------------------------------------------------------------


def page_of(run: RunDirectory) -> str:
    return (run.path / live.FILE_NAME).read_text(encoding="utf-8")


def wait_for(run: RunDirectory, words: str) -> str:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        if (run.path / live.FILE_NAME).exists() and words in page_of(run):
            return page_of(run)
        time.sleep(0.02)
    raise AssertionError(f"{words!r} never came")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.01)


@pytest.fixture
def page(run: RunDirectory, quick: None) -> Iterator[live.LivePage]:
    kept = live.LivePage(lambda _: None)
    kept.begin(run)
    yield kept
    kept.end("Complete.")


def test_the_page_goes_along_and_ends_with_the_run(run: RunDirectory, page: live.LivePage) -> None:
    text = wait_for(run, "not heard of yet")
    assert is_going_on(text)
    assert "nobody writes this page any more" in text
    grow(run, len(LINES) // 2)
    wait_for(run, "mobilenet_v1 ")
    page.observe(DeviceProgress("here", State.RETRYING, "the link broke; again in 8 s"))
    wait_for(run, "retrying: the link broke")
    grow(run, len(LINES))
    (run.path / "report.html").touch()
    page.end("Complete.")
    text = page_of(run)
    assert not is_going_on(text)
    assert "Complete." in text and 'href="report.html"' in text
    assert "▲ faster" in text
    assert "<script" not in text and "default-src &#x27;none&#x27;" in text


def test_nothing_is_written_while_nothing_is_new(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    writes: list[int] = []
    looks: list[int] = []
    real = Watch.look

    def look(self: Watch, *, whole: bool = False) -> Any:
        looks.append(1)
        return real(self, whole=whole)

    monkeypatch.setattr(live, "_write", lambda *_: writes.append(1))
    monkeypatch.setattr(Watch, "look", look)
    kept = live.LivePage(lambda _: None)
    kept.begin(run)
    while len(looks) < 30:
        time.sleep(0.005)
    assert len(writes) == 1
    kept.end("")


def test_a_page_that_cannot_be_written_costs_nothing_but_itself(
    run: RunDirectory, quick: None
) -> None:
    (run.path / live.FILE_NAME).mkdir()
    said: list[str] = []
    kept = live.LivePage(said.append)
    kept.begin(run)
    while len(said) < 2:
        time.sleep(0.005)
    kept.end("Complete.")
    assert said[0].startswith(f"run {run.run_id} in ") and "file://" in said[0]
    assert "live.html is no longer written" in said[1]


def test_a_killed_controller_s_page_is_corrected_by_whoever_watches(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    grow(run, len(LINES) // 2)
    now, _ = Watch(run).look()
    page = run.path / live.FILE_NAME
    page.write_text(to_page(live.view_of(now), datetime.now(timezone.utc)))
    assert live.how_it_ended(run) == ""  # young: a controller elsewhere may be writing it
    old = time.time() - STALE_S - 1
    os.utime(page, (old, old))
    with (run.path / FILE_NAME).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert sys.platform != "linux" or live.how_it_ended(run) == ""  # it is being written
    assert cli.main(["watch", str(run.path)]) == 0
    assert "ended without a word" in capsys.readouterr().out
    assert "ended without a word" in page_of(run)
    assert not is_going_on(page_of(run))
    # and whoever looks again is told the same, but not that it was killed
    assert live.how_it_ended(run).startswith("Not complete; orchestrate run --resume")


def test_a_hostile_run_is_shown_as_text(run: RunDirectory) -> None:
    bad = finished(outcome="failed", reason=EVIL, findings=[], model=EVIL, scheme=EVIL)
    planned = {k: bad[k] for k in ("trial_id", "kind", "model", "scheme", "block", "replicate")}
    factors = {k: bad[k] for k in ("runner", "runtime", "delegate", "threads", "batch", "isa")}
    stranger = {"device": EVIL}
    append(
        run,
        {**stranger, "event": "device_ready", "facts": {"cpu": {"microarchitecture": EVIL}}},
        {**stranger, "event": "planned", **planned, **factors},
        {**stranger, "event": "started", "trial_id": bad["trial_id"]},
        {**bad, **stranger},
        {**stranger, "event": "device_lost", "reason": EVIL},
    )
    view = live.view_of(Watch(run).look()[0], EVIL)
    page = to_page(view, datetime.now(timezone.utc))
    assert "<script" not in page and "<img" not in page and "\x1b" not in page
    assert "\x1b" not in to_text(view, width=100, color=False)


def test_what_many_devices_have_is_said_once_and_an_end_has_no_time_to_go() -> None:
    view = fleet_at_work()
    page = to_page(view, datetime.now(timezone.utc))
    assert page.count("the clock was lowered in 2 of 30 trials") == 1
    assert "icelake-1, cascadelake-1, throttled: the clock was lowered" in page
    assert "about 13 min 0 s to go" in page
    ended = to_page(dataclasses.replace(view, ended="Complete."), datetime.now(timezone.utc))
    assert "about" not in ended and "min 0 s" not in ended


def test_watch_answers_once_where_there_is_no_terminal(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    grow(run, len(LINES) // 2)
    assert cli.main(["watch", str(run.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == 1
    (device,) = document["devices"]
    assert device["device"] == "here" and 0 < device["done"] < device["expected"]
    assert all(row["blocks"] for row in document["speedups"])


# -- the end --------------------------------------------------------------------------------------


def test_a_command_at_the_end_has_the_run_in_its_environment(
    run: RunDirectory, tmp_path: Path
) -> None:
    target = tmp_path / "told"
    code = "import os, sys; open(sys.argv[1], 'w').write(repr({k: v for k, v in "
    code += "os.environ.items() if k.startswith('ORCHESTRATE_')}))"
    program = tmp_path / "program.py"
    program.write_text(code)
    said: list[str] = []
    evil = RunDirectory(tmp_path / "$(touch owned); a b")
    words = parse_command(f"{sys.executable} {program} {target}")
    start_command(words, evil, "failed", ExitCode.FAILED, said.append)
    told = eval(target.read_text())
    assert told["ORCHESTRATE_RUN"] == str(evil.path)
    assert told["ORCHESTRATE_RUN_ID"] == "$(touch owned); a b"
    assert (told["ORCHESTRATE_OUTCOME"], told["ORCHESTRATE_EXIT_CODE"]) == ("failed", "1")
    assert said == []
    assert not (tmp_path / "owned").exists()


def test_a_command_that_fails_is_said(run: RunDirectory) -> None:
    said: list[str] = []
    words = parse_command(f"{sys.executable} -c 'raise SystemExit(3)'")
    start_command(words, run, "ok", ExitCode.OK, said.append)
    assert said == [f"--on-end: {sys.executable} ended with 3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no command"), ("no-such-program-at-all x", "there is no program"), ("'", "quotation")],
)
def test_a_command_that_cannot_be_started_is_known_before_the_run(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_command(text)
