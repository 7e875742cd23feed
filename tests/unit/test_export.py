"""A run as one file: what is taken out, that nothing of it is left, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli
from orchestrator.errors import UsageError
from orchestrator.runs import archive
from orchestrator.runs.anonymous import Pseudonyms
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import FILE_NAME
from orchestrator.runs.rawlog import stdout_of

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = next((ROOT / "results").rglob("journal.jsonl")).parent

USER, HOST, ADDRESS = "quentinia", "secret-node-7", "192.0.2.77"
SERIAL, BOOT = "9f3c0aa1b2c3d4e5", "b72aaca2-b5e6-4fbd-9e9c-28bc7bb35a95"
MACHINE = "b4addaea781f308d"
FOLDER = f"/home/{USER}/double-blind/study"
ORIGINALS = (USER, HOST, ADDRESS, SERIAL, BOOT, MACHINE, "double-blind", "bastion-of-lab")


@pytest.fixture(scope="module", autouse=True)
def no_charts() -> Iterator[None]:
    """They take seconds, and have nothing in them that the tables have not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.report.charts.available", lambda: False)
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference run, of somebody who would not be known, on a device with a host's name."""
    tmp_path = tmp_path_factory.mktemp("somebody")
    path = tmp_path / "results" / REFERENCE.name
    shutil.copytree(REFERENCE, path)
    device = f"{HOST}"
    manifest = json.loads((path / "run.json").read_text().replace('"here"', f'"{device}"'))
    manifest["inventory"]["devices"][0] |= {
        "transport": "ssh", "host": ADDRESS, "user": USER, "gateway": f"{USER}@bastion-of-lab:22",
        "key_file": f"~/{USER}-keys/id", "workdir": f"{FOLDER}/agent", "site": "lab-x",
    }  # fmt: skip
    manifest["facts"][device] |= {"hostname": HOST, "serial": SERIAL}
    (path / "run.json").write_text(json.dumps(manifest))
    text = (path / FILE_NAME).read_text()
    text = re.sub(r'"here(?=["./])', f'"{device}', text)
    text = text.replace("logs/here.", f"logs/{device}.")
    text = text.replace('"hostname":"vm"', f'"hostname":"{HOST}","serial":"{SERIAL}"')
    (path / FILE_NAME).write_text(text)
    why = f"ssh {USER}@{ADDRESS}: no route to {HOST}.lab.example (see {FOLDER}/log.txt)"
    lost = {"format": 1, "seq": 397, "time": "t", "device": device, "event": "device_lost"}
    with (path / FILE_NAME).open("a") as file:
        file.write(json.dumps({**lost, "reason": why}) + "\n")
    for log in (path / "logs").iterdir():
        found = log.read_text().replace("/tmp/clone", FOLDER)
        found = found.replace("INFO: Created", f"{FOLDER}/x.py: INFO: on {HOST} Created")
        lines = found.split("\n")
        body = found[found.index("# stderr") :].split("\n", 1)[1].removesuffix("\n")
        found = found.replace(
            next(line for line in lines if line.startswith("# stderr, ")),
            f"# stderr, {len(body)} characters:",
        )
        log.unlink()
        (log.parent / log.name.replace("here.", f"{device}.")).write_text(found)
    return path.parent


def export(results: Path, folder: Path, *more: str) -> Path:
    target = folder / "run.zip"
    line = ["export", "last", "--results", str(results), "--output", str(target), *more]
    assert cli.main(line) == 0
    return target


@pytest.fixture(scope="module")
def anonymous(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(results, tmp_path_factory.mktemp("anonymous"), "--anonymous")


@pytest.fixture(scope="module")
def plain_file(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(results, tmp_path_factory.mktemp("plain"))


@pytest.fixture
def plain(plain_file: Path, tmp_path: Path) -> Path:
    """A copy of the run's export, to be spoilt."""
    return Path(shutil.copy(plain_file, tmp_path))


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archived:
        return {name: archived.read(name) for name in archived.namelist()}


def test_nothing_of_who_and_where_is_left_and_what_was_measured_is(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = export(results, tmp_path, "--anonymous")
    told = capsys.readouterr().out
    assert "no original was found afterwards" in told
    found = members(path)
    for name, data in found.items():
        text = f"{name}\n{data.decode('utf-8', 'replace')}".lower()
        assert [each for each in ORIGINALS if each.lower() in text] == [], name
    # the same again through another door
    other = tmp_path / "elsewhere"
    assert cli.main(["import", str(path), "--results", str(other)]) == 0
    capsys.readouterr()
    before, after = (_rows(folder, capsys) for folder in (results, other))
    assert len(before) == len(after) > 0
    for old, new in zip(before, after, strict=True):
        assert new["device"] == "device-1"
        assert {k: v for k, v in new.items() if k != "device"} == {
            k: v for k, v in old.items() if k != "device"
        }


def _rows(results: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert cli.main(["report", "last", "--results", str(results), "--format", "json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["speedups"]
    return rows


def test_a_stand_in_is_the_same_in_every_file(anonymous: Path) -> None:
    found = members(anonymous)
    manifest = json.loads(found["run.json"])
    (device,) = manifest["inventory"]["devices"]
    assert device.keys() <= {"name", "transport", "expect", "exclusive"}
    facts = manifest["facts"]["device-1"]
    host = facts["hostname"]
    assert re.fullmatch(r"host-\d+", host)
    assert facts["machine_id"] is None
    events = [json.loads(line) for line in found[FILE_NAME].splitlines()]
    ready = next(e for e in events if e["event"] == "device_ready")
    assert (ready["device"], ready["facts"]["hostname"]) == ("device-1", host)
    lost = events[-1]["reason"]
    assert host in lost and "/path-" in lost and lost.endswith("/log.txt)")
    logs = {name: data.decode() for name, data in found.items() if name.startswith("logs/")}
    assert {e["log"] for e in events if e["event"] == "finished"} == logs.keys()
    log = next(iter(logs.values()))
    assert "@orchestrate-result" in stdout_of(log)
    stderr = log[log.index("# stderr, ") :]
    head, body = stderr.split("\n", 1)
    assert int(head.split()[2]) == len(body.removesuffix("\n"))
    assert f"on {host} Created" in body


def test_the_file_says_how_it_is_cited_and_has_its_own_hashes(anonymous: Path, plain: Path) -> None:
    found = members(anonymous)
    about = json.loads(found["export.json"])
    assert about["anonymous"] is True
    for name, told in about["files"].items():
        assert hashlib.sha256(found[name]).hexdigest() == told["sha256"]
    cited = found["CITATION.cff"].decode()
    assert "cff-version: 1.2.0" in cited and "cascadelake" in cited
    assert f'value: "sha256:{hashlib.sha256(found[FILE_NAME]).hexdigest()}"' in cited
    assert "Anonymous" in cited
    assert b"Anonymous" not in members(plain)["CITATION.cff"]


def test_without_the_option_the_file_is_the_run_as_it_is_and_says_so(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = members(export(results, tmp_path))
    assert "--anonymous replaces them" in capsys.readouterr().out
    run = results / REFERENCE.name
    assert found[FILE_NAME] == (run / FILE_NAME).read_bytes()
    assert {n for n in found if n.startswith("logs/")} == {
        f"logs/{path.name}" for path in (run / "logs").iterdir()
    }


def test_the_same_run_gives_the_same_bytes(results: Path, anonymous: Path, tmp_path: Path) -> None:
    assert export(results, tmp_path, "--anonymous").read_bytes() == anonymous.read_bytes()


def test_a_run_that_is_there_is_not_imported_over(
    results: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["import", str(plain), "--results", str(results)]) == 2
    assert f"run {REFERENCE.name} is in {results} already" in capsys.readouterr().err


# -- what is replaced -----------------------------------------------------------------------------


def sealed(*words: str, manifest: dict[str, Any] | None = None) -> Pseudonyms:
    names = Pseudonyms(hosts=words)
    names.learn_manifest(manifest or {})
    names.seal()
    return names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see /home/ann/x/y.txt and /home/ann/x/z", "see /path-1/y.txt and /path-1/z"),
        ("~/secret/models/a.bin", "/path-1/a.bin"),
        ("/usr/lib/x.so: no such file", "/usr/lib/x.so: no such file"),
        ("https://storage.example/a/b", "https://storage.example/a/b"),
        ("12 MB/s and 1/2, and/or a", "12 MB/s and 1/2, and/or a"),
        ("--x=/data/one/two --y", "--x=/path-1/two --y"),
        (r"C:\Users\ann\logs\a.txt", "/path-1/a.txt"),
        ("from 10.1.2.3 to 127.0.0.1", "from address-1 to 127.0.0.1"),
        ("version 2.16.1, 1.2.3.4.5", "version 2.16.1, 1.2.3.4.5"),
        ("fe80::1ff:fe23:4567:890a at 12:30:45", "address-1 at 12:30:45"),
        ("aa:bb:cc:dd:ee:ff", "hardware-address-1"),
        ("ann@lab.example", "address-1"),
        ("box, BOX.lab and boxes", "host-1, host-1.lab and boxes"),
    ],
)
def test_a_text_is_replaced_where_it_tells_something(text: str, expected: str) -> None:
    assert sealed("box").text(text) == expected


def test_a_word_of_the_measurement_stays_and_is_told() -> None:
    names = sealed("haswell", manifest={"facts": {"d": {"cpu": {"microarchitecture": "haswell"}}}})
    assert names.text("on haswell") == "on haswell"
    assert names.kept == {"haswell": "also a word of the measurement"}
    assert names.json({"hostname": "haswell"}) == {"hostname": "host-1"}


def test_answers_stay_byte_by_byte() -> None:
    line = '@orchestrate-sample {"values": "/box/AAAA/box"}'
    assert sealed("box").log(f"box\n{line}\n") == f"host-1\n{line}\n"


# -- a file from a stranger -----------------------------------------------------------------------


def made_again(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The export with changed members, its own list made to fit."""
    found = members(path)
    del found["export.json"]
    change(found)
    files = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        for name, data in found.items()
    }
    about = {"format": 1, "run_id": REFERENCE.name, "files": files}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archived:
        archived.writestr("export.json", json.dumps(about))
        for name, data in found.items():
            archived.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../outside", "no export has a member"),
        ("logs/../../outside", "no export has a member"),
        ("/etc/passwd", "no export has a member"),
        ("logs/.hidden", "no export has a member"),
        ("live.html", "no export has a member"),
    ],
)
def test_a_member_that_leads_elsewhere_is_refused(
    plain: Path, tmp_path: Path, name: str, said: str
) -> None:
    path = made_again(plain, lambda found: found.update({name: b"x"}))
    with pytest.raises(UsageError, match=said):
        archive.unpack(path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_page_of_a_stranger_s_is_not_taken(plain: Path, tmp_path: Path) -> None:
    evil = {"report.html": b"<script>alert(1)</script>"}
    path = made_again(plain, lambda found: found.update(evil))
    directory = archive.unpack(path, tmp_path / "other")
    assert not (directory.path / "report.html").exists()
    assert directory.read().run_id == REFERENCE.name


def test_a_bomb_a_link_a_cut_and_a_lie_are_refused(plain: Path, tmp_path: Path) -> None:
    path = plain
    whole = path.read_bytes()
    other = tmp_path / "other"

    made_again(path, lambda found: found.update({"logs/a.txt": b"\0" * 50_000_000}))
    with pytest.raises(UsageError, match=r"would have 50000000 bytes"):
        archive.unpack(path, other)

    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cut off"):
        archive.unpack(path, other)

    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archived:
        info = zipfile.ZipInfo("logs/link.txt")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archived.writestr(info, "/etc/passwd")
    with pytest.raises(UsageError, match="not a plain file"):
        archive.unpack(path, other)

    path.write_bytes(whole)
    found = members(path)
    with zipfile.ZipFile(path, "w") as archived:
        for name, data in found.items():
            archived.writestr(name, data + b" " if name == "run.json" else data)
    with pytest.raises(UsageError, match=r"run\.json is not what export\.json says"):
        archive.unpack(path, other)
    assert not any(other.iterdir())


def test_a_journal_that_cannot_be_read_is_refused_and_leaves_nothing(
    plain: Path, tmp_path: Path
) -> None:
    path = made_again(plain, lambda found: found.update({FILE_NAME: b'{"x": 1}\n'}))
    with pytest.raises(UsageError, match="an event needs seq"):
        archive.unpack(path, tmp_path / "other")
    assert not any((tmp_path / "other").iterdir())


def test_links_in_a_received_folder_are_not_packed(results: Path, tmp_path: Path) -> None:
    run = RunDirectory(Path(shutil.copytree(results, tmp_path / "copy")) / REFERENCE.name)
    (run.logs / "zz.txt").symlink_to("/etc/passwd")
    target = tmp_path / "run.zip"
    line = ["export", str(run.path), "--output", str(target)]
    assert cli.main([*line, "--anonymous"]) == 1
    assert cli.main(line) == 1
    assert not target.exists()
