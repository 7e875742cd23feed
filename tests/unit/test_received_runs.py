"""A run's folder that somebody else made: nothing outside of it changes, nothing waits, every
refusal names the place."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli
from orchestrator.analysis import analyse
from orchestrator.errors import JournalError
from orchestrator.measurement import Outcome
from orchestrator.report import FILES, write_reports
from orchestrator.report.background import read_background
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import FILE_NAME, Journal, read_journal
from orchestrator.runs.lines import LINE, line_problem, read_line
from orchestrator.runs.manifest import FILE_NAME as MANIFEST
from orchestrator.runs.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = next((ROOT / "results").rglob("journal.jsonl")).parent


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    path = tmp_path / "results" / REFERENCE.name
    shutil.copytree(REFERENCE, path)
    return RunDirectory(path)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "precious").write_bytes(b"precious")
    return path


def untouched(outside: Path) -> bool:
    return [(p.name, p.read_bytes()) for p in outside.iterdir()] == [("precious", b"precious")]


def linked(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


# --- links ---------------------------------------------------------------------------------------


def test_a_journal_that_is_a_link_is_neither_read_nor_written(
    run: RunDirectory, outside: Path
) -> None:
    linked(run.path / FILE_NAME, outside / "precious")
    with pytest.raises(JournalError, match=r"journal\.jsonl.*a link"):
        run.read()
    with pytest.raises(JournalError, match=r"journal\.jsonl.*a link"):
        Journal(run.path)
    assert untouched(outside)


@pytest.mark.parametrize("target", ["precious", "absent"])
def test_a_torn_line_is_not_set_aside_through_a_link(
    run: RunDirectory, outside: Path, target: str
) -> None:
    with (run.path / FILE_NAME).open("ab") as file:
        file.write(b'{"seq": torn')
    linked(run.path / "journal.torn", outside / target)
    before = (run.path / FILE_NAME).read_bytes()
    with pytest.raises(JournalError, match=r"journal\.torn.*a link"):
        Journal(run.path)
    assert untouched(outside)
    assert (run.path / FILE_NAME).read_bytes() == before


def test_logs_that_are_a_link_are_neither_read_nor_written(
    run: RunDirectory, outside: Path
) -> None:
    linked(run.logs, outside)
    with pytest.raises(JournalError, match=r"logs in it is a link"):
        run.write_log("trial", "text")
    record = run.read()
    assert read_background(run, record, analyse(record)).curves == ()
    assert untouched(outside)


def test_reports_replace_links_and_do_not_follow_them(run: RunDirectory, outside: Path) -> None:
    for name in FILES.values():
        linked(run.path / name, outside / "precious")
    record = run.read()
    table = analyse(record)
    write_reports(table, run.path, read_background(run, record, table))
    assert untouched(outside)
    assert not [name for name in FILES.values() if (run.path / name).is_symlink()]


def test_an_output_that_is_a_link_is_refused(
    run: RunDirectory, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linked(run.path / "report.html", outside / "precious")
    output = ["--format", "html", "--output", str(run.path / "report.html")]
    assert cli.main(["report", str(run.path), *output]) == 2
    assert "is a link" in capsys.readouterr().err
    assert untouched(outside)


# --- what is not a plain file, and what is too large ----------------------------------------------


@pytest.mark.parametrize("name", [MANIFEST, FILE_NAME])
@pytest.mark.parametrize("kind", ["pipe", "sparse", "device", "folder", "link"])
def test_what_cannot_be_read_is_refused_at_once(
    run: RunDirectory, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.path / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2**42)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "run.json")
    assert cli.main(["report", str(run.path)]) == 1
    assert name in capsys.readouterr().err
    with pytest.raises(JournalError, match=name):
        read_manifest(run.path)
        Journal(run.path)
    assert cli.main(["runs", "--results", str(run.path.parent)]) == 0


def test_logs_that_cannot_be_read_draw_no_curve(run: RunDirectory) -> None:
    for number, path in enumerate(sorted(run.logs.iterdir())):
        path.unlink()
        if number % 3 == 0:
            os.mkfifo(path)
        elif number % 3 == 1:
            path.symlink_to("/dev/zero")
        else:
            with path.open("wb") as file:
                file.truncate(2**42)
    record = run.read()
    assert read_background(run, record, analyse(record)).curves == ()


# --- a journal's lines ---------------------------------------------------------------------------


def changed(run: RunDirectory, event: str, **fields: Any) -> int:
    """Change the first line of that event; returns its number."""
    path = run.path / FILE_NAME
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    number = next(n for n, line in enumerate(lines) if line["event"] == event)
    lines[number] |= fields
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    return number + 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"steady": {"count": 5, "median_us": "fast"}}, "steady.median_us is not a number"),
        ({"steady": {"count": True}}, "steady.count is not a whole number"),
        ({"steady": [1, 2]}, "steady is not an object"),
        ({"warmup": {"count": 1, "mean_us": 1e300}}, "warmup.mean_us is not a number"),
        ({"memory": {"peak_bytes": 0.5}}, "memory.peak_bytes is not a whole number"),
        ({"delegation": {"delegated_nodes": "2"}}, "delegation.delegated_nodes is not"),
        ({"findings": None}, "findings is not a list"),
        ({"findings": [{"code": ["x"]}]}, r"findings\[0\].code is not text"),
        ({"conditions": {"pinned": 3}}, "conditions.pinned is not a list"),
        ({"conditions": {"reasons": None}}, "conditions.reasons is not a list"),
        ({"health_before": {"governor": {}}}, "health_before.governor is not text"),
        ({"health_before": {"jetson": {"power_mode": []}}}, "jetson.power_mode is not text"),
        ({"isa_proof": "yes"}, "isa_proof is not an object"),
        ({"energy": {"joules": "many"}}, "energy.joules is not a number"),
        ({"artifact_sha256": 12}, "artifact_sha256 is not text"),
        ({"threads": None}, "threads is not a whole number"),
        ({"model": None}, "model is not text"),
        ({"reason": 5}, "reason is not text"),
        ({"wall_s": []}, "wall_s is not a number"),
        ({"operators": [{"kind": 1}]}, r"operators\[0\].kind is not text"),
        ({"outcome": "splendid"}, "splendid"),
        ({"kind": "dance"}, "dance"),
        (
            {"energy": {"joules": -1, "inferences": 1, "source": "x", "window_s": 1}},
            "not an energy",
        ),
        ({"steady_window_s": [1]}, "another kind of value"),
    ],
    ids=str,
)
def test_a_field_of_another_shape_is_refused_with_its_line(
    run: RunDirectory, fields: dict[str, Any], said: str
) -> None:
    line = changed(run, "finished", **fields)
    with pytest.raises(JournalError, match=rf"{FILE_NAME}:{line}: .*{said}"):
        run.read()


@pytest.mark.parametrize(
    ("event", "fields", "said"),
    [
        ("device_ready", {"facts": None}, "facts is not an object"),
        ("device_ready", {"facts": {"cpu": "fast"}}, "facts.cpu is not an object"),
        ("stopped", {"group": 7}, "group is not text"),
        ("planned", {"block": "first"}, "block is not a whole number"),
        ("planned", {"trial_id": "never.finished", "duet": {"half": 1}}, "partner"),
    ],
)
def test_so_is_one_of_any_other_event(
    run: RunDirectory, event: str, fields: dict[str, Any], said: str
) -> None:
    line = changed(run, event, **fields)
    with pytest.raises(JournalError, match=rf"{FILE_NAME}:{line}: .*{said}"):
        run.read()


def test_the_quick_look_and_the_thorough_one_say_the_same(run: RunDirectory) -> None:
    lines = (run.path / FILE_NAME).read_bytes().splitlines(keepends=True)
    for line in lines:
        event = json.loads(line)
        found = read_line(line)
        assert found is not None
        assert found.keys() == event.keys() & LINE.keys()
        assert line_problem(event) is None
        for name in found:
            event[name] = object()
            assert line_problem(event) is not None, name
            event[name] = found[name]


class Watched(dict[str, Any]):
    """Keeps note of the keys that were asked for."""

    def __init__(self, data: dict[str, Any], name: str, asked: set[str]) -> None:
        super().__init__(data)
        self._name, self._asked = name, asked

    def get(self, key: str, default: Any = None) -> Any:
        self._asked.add(f"{self._name}.{key}")
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._asked.add(f"{self._name}.{key}")
        return super().__getitem__(key)


def test_all_that_is_read_of_a_trials_machine_has_a_shape(run: RunDirectory) -> None:
    """What no shape lists is left out while reading, and would look as if nobody had told it."""
    asked: set[str] = set()
    record = run.read()
    for trial in record.trials:
        for name in ("health_before", "health_after", "conditions"):
            data = {"jetson": Watched({"l4t": "36"}, "jetson", asked)}
            object.__setattr__(trial, name, Watched(data, name, asked))
    table = analyse(record)
    write_reports(table, run.path, read_background(run, record, table))
    shapes = {"health_after": LINE["health"], "jetson": LINE["health"]["jetson"]}
    for place in asked:
        name, _, key = place.partition(".")
        assert key in (shapes.get(name) or LINE[name]), place
    assert {"health_before.governor", "jetson.clocks_locked", "conditions.pinned"} <= asked


def test_a_run_that_is_read_whole_and_quickly_is_the_same(run: RunDirectory) -> None:
    events = read_journal(run.path / FILE_NAME).events
    record = run.read()
    finished = [event for event in events if event["event"] == "finished"]
    assert [each.trial.trial_id for each in record.trials] == [e["trial_id"] for e in finished]
    for each, event in zip(record.trials, finished, strict=True):
        assert (each.outcome is Outcome.OK) == (event["outcome"] == "ok")
        assert each.wall_s == event["wall_s"]
        assert each.measurement is not None
        assert each.measurement.timing.median_us == event["steady"]["median_us"]


# --- a manifest ----------------------------------------------------------------------------------


def test_why_a_scheme_changed_nothing_is_read(run: RunDirectory) -> None:
    data = json.loads((run.path / MANIFEST).read_text())
    data["artifacts"][0]["no_op"] = "it has no layer to quantize"
    (run.path / MANIFEST).write_text(json.dumps(data))
    assert read_manifest(run.path).artifacts[0].no_op == "it has no layer to quantize"


def test_a_manifest_of_before_signatures_and_exports_were_kept_is_read(run: RunDirectory) -> None:
    data = json.loads((run.path / MANIFEST).read_text())
    for artifact in data["artifacts"]:
        for later in ("inputs", "signature", "default_signature", "exported"):
            artifact.pop(later, None)
    (run.path / MANIFEST).write_text(json.dumps(data))
    read = read_manifest(run.path).artifacts
    assert {(a.inputs, a.signature, a.default_signature, a.exported) for a in read} == {
        ((), None, None, None)
    }
