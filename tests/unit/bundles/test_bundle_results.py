"""What a bundle brings back is hostile input: honest files come in once, all others not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent import protocol
from orchestrate_agent.carried import results as written
from orchestrate_agent.errors import AgentError
from orchestrate_agent.protocol import TrialRequest
from orchestrator.bundles import importing
from orchestrator.bundles.importing import import_results
from orchestrator.bundles.making import join, plan_of
from orchestrator.config import Inventory
from orchestrator.console import Console
from orchestrator.errors import OrchestrateError, UsageError
from orchestrator.plan import DevicePlan, make_plan
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import Journal, read_journal
from orchestrator.runs.manifest import Manifest, read_manifest, write_manifest
from orchestrator.runs.records import ArtifactRecord
from tests.unit.test_plan import device, suite

RUN = "20261121T000000Z-abcdef"
SEED = 7
FACTS = {"system": {"architecture": "x86_64"}, "cpu": {"model_name": "A", "logical_cpus": 2}}
FINISHED = {
    "attempt": 1, "exit_code": 1, "signal": None, "timed_out": False, "oom_killed": False,
    "wall_s": 1.5, "stdout": "", "stderr": "no", "stdout_bytes": 0, "stderr_bytes": 2,
    "health_before": None, "health": None, "rusage": {"user_s": 1.0}, "machine_lock": None,
    "conditions": None, "power": None, "lost": False, "reason": None,
}  # fmt: skip
Json = dict[str, Any]


class Place:
    """A run that awaits the results of ``away``, and files that claim to hold them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        devices = [
            device("here"), device("away", transport="bundle", expect={"model_name": "A"}),
            device("other", transport="bundle"),
        ]  # fmt: skip
        asked = suite(protocol={"blocks": "6"}, schemes=["float32", "float16"])
        plan = make_plan(devices, asked, seed=SEED)
        self.part: DevicePlan = plan.device("away")
        self.others: DevicePlan = plan.device("other")
        self.directory = RunDirectory.create(self.results, RUN)
        inventory = Inventory(path=folder / "inventory.yaml", devices=tuple(devices))
        manifest = Manifest(
            run_id=RUN,
            created="2026-11-21T00:00:00Z",
            seed=SEED,
            inventory=inventory.to_json(),
            suite=asked.to_json(),
            devices=("here", "away"),
            versions={},
            artifacts=tuple(ArtifactRecord(v, "0" * 64, 1, "imagenet") for v in plan.variants),
        )
        write_manifest(self.directory.path, manifest)
        Journal(self.directory.path).close()
        self.file = folder / "results-away.zip"

    def events(self, trials: int = 3, part: DevicePlan | None = None) -> list[Json]:
        """Of that many trials, in the plan's order."""
        found: list[Json] = []
        for trial in (part or self.part).trials[:trials]:
            for kind, more in (("queued", {}), ("started", {"attempt": 1}), ("finished", FINISHED)):
                head = {"seq": len(found) + 1, "time": f"2026-11-21T00:00:{len(found):02d}+00:00"}
                found.append({**head, "event": kind, "trial_id": trial.trial_id, **more})
        return found

    def write(self, events: Sequence[Json | bytes], /, **about: Any) -> None:
        """As the bundle does it; ``about`` replaces what it says of them."""
        lines = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
        start = {"time": "now", "facts": FACTS, "runtimes": {}, "agent_hash": "0" * 64}
        session = written.Session(RUN, "away", [start])
        written.write(str(self.file), session, lambda: lines)
        if about:
            with zipfile.ZipFile(self.file) as archive:
                said = {**json.loads(archive.read(written.ABOUT)), **about}
                self.pack((written.EVENTS, archive.read(written.EVENTS)),
                          (written.ABOUT, json.dumps(said).encode()))  # fmt: skip

    def pack(self, *members: tuple[str | zipfile.ZipInfo, bytes], **options: Any) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", **options) as archive:
            for name, data in members:
                archive.writestr(name, data)
        self.file.write_bytes(buffer.getvalue())

    def members(self) -> dict[str, bytes]:
        with zipfile.ZipFile(self.file) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def bring(self) -> int:
        return import_results(self.file, self.results, self.folder / "models").added

    def journal(self) -> list[str]:
        return [e["event"] for e in read_journal(self.directory.path / "journal.jsonl").events]

    def everything(self) -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and path != self.file
        }

    def refuses(self, words: str) -> None:
        before = self.everything()
        with pytest.raises(UsageError, match=words):
            self.bring()
        assert self.everything() == before
        assert not (self.folder.parent / "evil").exists()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "in"
    folder.mkdir()
    made = Place(folder)
    made.write(made.events())
    return made


def test_an_honest_file_comes_in_once_and_a_later_one_adds_the_rest(place: Place) -> None:
    assert place.bring() == 3
    assert place.journal() == [
        "device_ready", "planned", "planned", "planned", *["queued", "started", "finished"] * 3,
    ]  # fmt: skip
    before = place.everything()
    assert place.bring() == 0
    assert place.everything() == before
    events = place.events(len(place.part.trials))
    # what was under way when the first file was written
    place.write(events[:-1])
    assert place.bring() == len(place.part.trials) - 4
    place.write(events)
    assert place.bring() == 1
    assert place.journal().count("finished") == len(place.part.trials)
    place.write(events[:6])  # an older file
    assert place.bring() == 0
    assert len(list(place.directory.logs.iterdir())) == len(place.part.trials)


def lines(place: Place) -> list[Json]:
    """Without the times at which they were written."""
    found = read_journal(place.directory.path / "journal.jsonl").events
    return [{name: value for name, value in event.items() if name != "time"} for event in found]


@pytest.mark.parametrize("written_until", [0, 1, 3, 4, 7])
def test_an_import_that_dies_half_way_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_until: int
) -> None:
    """In the middle of a batch or of a line: run again it comes to the same."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "torn").mkdir()
    monkeypatch.setattr(importing, "_AT_ONCE", 5)
    whole, torn = Place(tmp_path / "whole"), Place(tmp_path / "torn")
    for place in (whole, torn):
        place.write(place.events(8))
    whole.bring()

    write_log, left = RunDirectory.write_log, iter(range(written_until))

    def dies(directory: RunDirectory, trial_id: str, text: str) -> str:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return write_log(directory, trial_id, text)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunDirectory, "write_log", dies)
        torn.bring()
    path = torn.directory.path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    torn.bring()
    assert [e for e in lines(torn) if e["event"] != "planned"] == [
        e for e in lines(whole) if e["event"] != "planned"
    ]
    assert {p.name for p in torn.directory.logs.iterdir()} == {
        p.name for p in whole.directory.logs.iterdir()
    }


def test_the_journal_is_synced_once_for_many_events(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    place.write(place.events(len(place.part.trials)))
    assert place.bring() == len(place.part.trials) > 10
    assert len(synced) < 6


def test_a_variant_that_fails_twice_ends_its_group(place: Place) -> None:
    place.write(place.events(8))
    place.bring()
    stopped = [
        event["reason"]
        for event in read_journal(place.directory.path / "journal.jsonl").events
        if event["event"] == "stopped"
    ]
    assert stopped == ["the baseline float32 gives no result"] * len(stopped) != []


def cut(place: Place) -> None:
    place.file.write_bytes(place.file.read_bytes()[:-10])


def half(place: Place) -> None:
    data = place.file.read_bytes()
    place.file.write_bytes(data[: len(data) // 2])


def another_member(place: Place, name: str) -> None:
    place.pack(*place.members().items(), (name, b"evil"))


def renamed(place: Place, name: str) -> None:
    members = place.members()
    place.pack((name, members[written.EVENTS]), (written.ABOUT, members[written.ABOUT]))


def twice(place: Place) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        another_member(place, written.EVENTS)


def same_name_only(place: Place) -> None:
    about = place.members()[written.ABOUT]
    with pytest.warns(UserWarning, match="Duplicate"):
        place.pack((written.ABOUT, about), (written.ABOUT, about))


def link(place: Place) -> None:
    members = place.members()
    info = zipfile.ZipInfo(written.EVENTS)
    info.external_attr = 0o120777 << 16
    place.pack((info, b"/etc/passwd"), (written.ABOUT, members[written.ABOUT]))


def squeezed(place: Place) -> None:
    place.pack(*place.members().items(), compression=zipfile.ZIP_LZMA)


def encrypted(place: Place) -> None:
    data = bytearray(place.file.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    place.file.write_bytes(data)


def bomb(place: Place) -> None:
    members = {**place.members(), written.EVENTS: b"0" * 50_000_000}
    place.pack(*members.items(), compression=zipfile.ZIP_DEFLATED)


def bomb_that_lies(place: Place) -> None:
    bomb(place)
    data = place.file.read_bytes()
    size = (50_000_000).to_bytes(4, "little")
    place.file.write_bytes(data.replace(size, (1000).to_bytes(4, "little")))


def a_million_members(place: Place) -> None:
    data = bytearray(place.file.read_bytes())
    data[-12:-10] = data[-14:-12] = b"\xff\xff"
    place.file.write_bytes(data)


def large_directory(place: Place) -> None:
    data = bytearray(place.file.read_bytes())
    data[-10:-6] = b"\xff\xff\xff\x7f"
    place.file.write_bytes(data)


def zip64(place: Place) -> None:
    data = place.file.read_bytes()
    place.file.write_bytes(data[:-22] + b"PK\x06\x07" + b"\0" * 16 + data[-22:])


def flipped(place: Place) -> None:
    place.pack(*place.members().items())
    data = bytearray(place.file.read_bytes())
    data[200] ^= 1
    place.file.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut, "it was cut off"),
        (half, "it was cut off"),
        (lambda p: p.file.write_bytes(b"PK\x03\x04"), "it was cut off"),
        (lambda p: p.file.write_bytes(p.file.read_bytes() + b"more"), "packed by something else"),
        (lambda p: another_member(p, "../../evil"), "it has other members"),
        (lambda p: another_member(p, "/tmp/evil"), "it has other members"),
        (lambda p: another_member(p, "logs/"), "it has other members"),
        (lambda p: renamed(p, "../../evil"), "it has other members"),
        (lambda p: renamed(p, "/evil"), "it has other members"),
        (lambda p: renamed(p, "events.jsonl/"), "it has other members"),
        (twice, "it has other members"),
        (same_name_only, "it has other members"),
        (link, "is not a plain file"),
        (squeezed, "packed in a way"),
        (encrypted, "packed in a way"),
        (bomb, r"would have 50000000 bytes of \d+"),
        (bomb_that_lies, "no results of a bundle"),
        (a_million_members, "it has other members"),
        (large_directory, "it has other members"),
        (zip64, "no results of a bundle"),
        (flipped, "no results of a bundle"),
    ],
)
def test_an_archive_that_is_none_of_ours_is_refused(
    place: Place, change: Callable[[Place], object], words: str
) -> None:
    change(place)
    place.refuses(words)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"format": 99}, "written by a later version"),
        ({"format": None}, "format is missing"),
        ({"run_id": "../../in/results"}, "no such name"),
        ({"run_id": "20261121T000000Z-000000"}, "which is not in"),
        ({"run_id": 5}, "run_id is not text"),
        ({"device": "here"}, "has no bundle for a device called here"),
        ({"device": "other"}, "has no bundle for a device called other"),
        ({"device": "no\nwhere"}, "no such name"),
        ({"starts": []}, "starts do not say"),
        ({"starts": [None]}, "starts do not say"),
        ({"starts": [{"facts": {"cpu": "fast"}}]}, r"starts\[0\].facts.cpu is not an object"),
        ({"starts": [{"facts": {"cpu": {"model_name": "B"}}}]}, "expects model_name A"),
        ({"starts": [{"facts": {"x": "y" * 300_000}}]}, "the limit is 262144"),
        ({"starts": [{"facts": FACTS}] * 1001}, "starts do not say"),
        ({"events": {"count": 9, "sha256": "0" * 64}}, "not those that it says it has"),
        ({"events": {"count": 10**30, "sha256": "0" * 64}}, "count is not a whole number"),
        ({"events": {"sha256": "0" * 64}}, "events is not complete"),
        ({"more": [[[[]]]] * 90_000}, "more than 200000 lists and objects"),
    ],
)
def test_what_it_says_of_itself_is_checked(place: Place, about: Json, words: str) -> None:
    place.write(place.events(), **about)
    place.refuses(words)


def test_nesting_is_bounded_everywhere(place: Place) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    events = place.members()[written.EVENTS]
    place.pack((written.EVENTS, events), (written.ABOUT, b'{"format": 1, "run_id": ' + deep + b"}"))
    place.refuses("not JSON|nested deeper than 64 levels")
    place.write([*place.events(1), b'{"seq": 4, "time": ' + deep + b"}"])
    place.refuses("not JSON|nested deeper than 64 levels")


def changed(place: Place, number: int, **fields: Any) -> list[Json]:
    events = place.events()
    events[number] = {**events[number], **fields}
    return events


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (lambda p: changed(p, 3, trial_id="away.unknown.memory.0"), "not under way: away.unknown"),
        (lambda p: p.events(3, p.others), "not under way: other.mobilenet"),
        (lambda p: changed(p, 0, trial_id="../../../evil"), "trial_id must be a name"),
        (lambda p: p.events()[1:], "sent event 2 where 1 comes next"),
        (lambda p: [*p.events()[:4], *p.events()[5:]], "sent event 6 where 5 comes next"),
        (lambda p: changed(p, 0, event="started"), "not under way"),
        (lambda p: changed(p, 1, event="finished", **FINISHED), "not under way"),
        (lambda p: changed(p, 0, event="planned"), "'planned' is not an event of a trial"),
        (lambda p: changed(p, 0, seq=2**60), "seq must be an integer"),
        (lambda p: changed(p, 2, wall_s="long"), "wall_s is not a number"),
        (lambda p: changed(p, 2, wall_s=1e300), "wall_s is not a number"),
        (lambda p: changed(p, 2, exit_code=2**70), "exit_code is not a whole number"),
        (lambda p: changed(p, 2, stdout=["x"]), "shown as text"),
        (lambda p: changed(p, 2, health={"cpu_s": {"user": "x"}}), "health.cpu_s.user"),
        (lambda p: changed(p, 1, more="x" * 300_000), "the limit is 262144"),
        (lambda p: [*p.events(1), b'{"seq": NaN}'], "NaN is not JSON"),
        (lambda p: [*p.events(1), b'{"seq": 1e999}'], "beyond any number"),
        (lambda p: [*p.events(1), b'{"seq": ' + b"9" * 5000 + b"}"], "digits"),
        (lambda p: [*p.events(1), b"\xff\xfe"], "not JSON"),
        (lambda p: [*p.events(1), b""], "not JSON"),
        (lambda p: [*p.events(1), b"x" * protocol.MAX_LINE_BYTES], "the limit is 16777216"),
    ],
)
def test_events_are_held_against_the_plan_and_the_protocol(
    place: Place, events: Callable[[Place], Sequence[Json | bytes]], words: str
) -> None:
    place.write(events(place))
    if words == "shown as text":
        place.bring()  # what is not text is shown as one: it fails the trial and nothing else
        assert place.journal().count("finished") == 3
        return
    place.refuses(words)


def test_a_torn_line_is_no_event(place: Place) -> None:
    members = place.members()
    torn = {**members, written.EVENTS: members[written.EVENTS][:-1]}
    place.pack(*torn.items())
    place.refuses("torn, or too long")


def test_a_trial_has_few_events(place: Place) -> None:
    events = place.events(1)[:2]
    for number in range(3, 1500):
        events.append({**events[1], "seq": number, "event": ("interrupted", "started")[number % 2]})
    place.write(events)
    place.refuses("more than 1000 events of")


def test_a_bundle_begun_anew_is_not_mixed_with_what_was_imported(place: Place) -> None:
    place.bring()
    events = changed(place, 4, time="2026-11-22T00:00:00+00:00")
    place.write(events)
    place.refuses("was begun anew")


def test_any_flipped_bytes_are_refused_or_harmless(place: Place, tmp_path: Path) -> None:
    data = place.file.read_bytes()
    draw = random.Random(1)
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        place.file.write_bytes(broken)
        try:
            place.bring()
        except OrchestrateError as exc:
            assert len(str(exc)) < 2000
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    place.file.write_bytes(data)
    place.bring()
    assert place.journal().count("finished") == 3


def test_what_compresses_too_well_is_stored_so_that_it_is_no_bomb(place: Place) -> None:
    events = changed(place, 2, stderr="x" * 900_000, stderr_bytes=900_000)
    place.write(events)
    assert place.file.stat().st_size > 900_000
    assert place.bring() == 3


def test_a_full_disk_leaves_the_earlier_results_and_no_half_of_new_ones(place: Place) -> None:
    before = place.file.read_bytes()

    def lines() -> Iterator[bytes]:
        yield b"{}"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AgentError, match="nothing that was measured is lost"):
        written.write(str(place.file), written.Session(RUN, "away", []), lines)
    assert place.file.read_bytes() == before
    assert [path.name for path in place.folder.glob("*.partial")] == []


def test_results_of_something_else_are_not_overwritten_or_gone_on_from(place: Place) -> None:
    requests = {
        trial.trial_id: TrialRequest(trial.trial_id, ("true",), 5.0) for trial in place.part.trials
    }
    for run_id, name in ((RUN, "other"), ("another", "away")):
        with pytest.raises(AgentError, match="has the results of away in run"):
            written.restore(str(place.file), run_id, name, requests)
    cut(place)
    with pytest.raises(AgentError, match=r"move .* away"):
        written.restore(str(place.file), RUN, "away", requests)


def test_an_import_that_died_is_completed_by_the_next(place: Place) -> None:
    place.bring()
    path = place.directory.path / "journal.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    expected = [(e["event"], e.get("agent_seq")) for e in read_journal(path).events]
    for kept in range(len(whole)):
        path.write_bytes(b"".join(whole[:kept]) + whole[kept][: len(whole[kept]) // 2])
        assert place.bring() == sum(event == "finished" for event, _ in expected[kept:])
        told = [(e["event"], e.get("agent_seq")) for e in read_journal(path).events]
        # `planned` lines come in one piece, so that a torn one takes those after it along
        assert sorted(told, key=str) == sorted(expected, key=str)


def test_a_device_joins_by_an_inventory_that_has_it(place: Place) -> None:
    before = read_manifest(place.directory.path)
    listed = Inventory.from_json(before.inventory).devices
    late = device("late", transport="bundle")
    newer = Inventory(path=place.folder / "newer.yaml", devices=(*listed, late, device("near")))
    with Console(io.StringIO()) as console:
        with pytest.raises(UsageError, match="no device is called"):
            join(place.directory, "late", None, place.folder, console)
        with pytest.raises(UsageError, match="`orchestrate run` reaches it"):
            join(place.directory, "near", newer, place.folder, console)
        assert read_manifest(place.directory.path) == before
        for _ in range(2):
            join(place.directory, "late", newer, place.folder, console)
    after = read_manifest(place.directory.path)
    assert after.devices == ("here", "away", "late")
    assert after.bundled == {"away", "late"}
    assert after.inventory["devices"][:3] == before.inventory["devices"]
    plan = make_plan(
        [late], suite(protocol={"blocks": "6"}, schemes=["float32", "float16"]), seed=SEED
    )
    assert plan_of(after, "late")[2] == plan.device("late")


def test_what_is_expected_of_a_device_can_be_corrected_until_something_came(place: Place) -> None:
    def expecting(**facts: str) -> Inventory:
        return Inventory(
            path=place.folder / "newer.yaml",
            devices=(device("away", transport="bundle", expect=facts), device("here", site="x")),
        )

    def expected() -> object:
        return plan_of(read_manifest(place.directory.path), "away")[0].expect

    before = read_manifest(place.directory.path)
    with Console(io.StringIO()) as console:
        join(place.directory, "away", expecting(model_name="B"), place.folder, console)
        assert expected() == {"model_name": "B"}
        place.refuses("expects model_name B, the device reports A")
        join(place.directory, "away", expecting(model_name="A"), place.folder, console)
        assert read_manifest(place.directory.path) == before
        assert place.bring() == 3
        join(place.directory, "away", expecting(model_name="C"), place.folder, console)
        with pytest.raises(UsageError, match="`orchestrate run` reaches it"):
            join(place.directory, "here", expecting(), place.folder, console)
    assert read_manifest(place.directory.path) == before
