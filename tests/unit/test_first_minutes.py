"""The first minutes: a file to begin with, what is here, what to write into a bug report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator import __version__
from orchestrator.answers import doctor
from orchestrator.cli import main
from orchestrator.config import load_inventory, load_suite, shipped_suites
from orchestrator.installed import NEEDED, packages

HOSTS = """
Host cc1
    HostName 192.0.2.10
    User cc
Host here *.example.org
    Port 22
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and an empty folder in it that is the working one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path


# -- init -----------------------------------------------------------------------------------------


def test_the_first_inventory_is_this_machine(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert capfd.readouterr().out.endswith("next: orchestrate run --inventory inventory.yaml\n")
    inventory = load_inventory(Path("inventory.yaml"))
    assert [device.name for device in inventory.devices] == ["here"]
    assert inventory.suite == "quick"
    assert Path("inventory.yaml").read_text().startswith("# yaml-language-server: $schema=")


def test_hosts_that_ssh_knows_stand_there_commented_out(home: Path) -> None:
    (home / ".ssh" / "config").write_text(HOSTS)
    assert main(["init"]) == 0
    assert len(load_inventory(Path("inventory.yaml")).devices) == 1
    head, mark, tail = Path("inventory.yaml").read_text().partition("measure on.\n")
    Path("all.yaml").write_text(head + mark + tail.replace("  # ", "  "))
    devices = load_inventory(Path("all.yaml")).devices
    assert [(each.name, each.host) for each in devices] == [
        ("here", None), ("cc1", "cc1"), ("here-2", "here"),
    ]  # fmt: skip


def test_a_configuration_that_cannot_be_read_is_named(home: Path) -> None:
    (home / ".ssh" / "config").mkdir()
    assert main(["init"]) == 0
    assert "# Not taken over: " in Path("inventory.yaml").read_text()


@pytest.mark.usefixtures("home")
def test_nothing_is_overwritten(capfd: pytest.CaptureFixture[str]) -> None:
    Path("inventory.yaml").write_text("mine\n")
    assert main(["init"]) == 2
    said = capfd.readouterr().err
    assert "is there already, and nothing is overwritten" in said
    assert "orchestrate devices --inventory inventory.yaml" in said
    assert Path("inventory.yaml").read_text() == "mine\n"


@pytest.mark.usefixtures("home")
def test_a_suite_begins_as_a_copy(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--suite", "mine", "--from", "quick"]) == 0
    assert "--suite mine" in capfd.readouterr().out
    mine, quick = load_suite("suites/mine.yaml"), load_suite(str(shipped_suites()["quick"]))
    assert mine.to_json() == {**quick.to_json(), "name": "mine"}
    assert Path("suites/mine.yaml").read_text().count("yaml-language-server") == 1
    assert main(["init", "--suite", "mine"]) == 2


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--from", "quick"], "add `--suite NAME`"),
        (["--suite", "a/b"], "could not be a file name"),
        (["--suite", "mine", "--from", "quik"], "did you mean `quick`?"),
    ],
)
def test_a_mistake_says_what_to_write(
    line: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *line]) == 2
    assert said in capfd.readouterr().err
    assert list(Path().iterdir()) == []


# -- doctor and --version -------------------------------------------------------------------------


def test_every_extra_says_what_its_lack_costs() -> None:
    unknown = doctor.cost_of("no such extra", ())
    extras = [extra for extra in packages() if extra != NEEDED]
    assert {"charts", "models", "torch"} <= set(extras)
    for extra in extras:
        assert doctor.cost_of(extra, packages()[extra]) != unknown, extra


def test_what_is_missing_is_named_with_its_cost(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert main(["doctor", "--json"]) == 0
    checks = {each["name"]: each for each in json.loads(capfd.readouterr().out)["checks"]}
    assert {name for name, each in checks.items() if each["group"] == "program"} == {
        "C compiler", "ssh-keyscan", "ssh-agent", "adb", "pip",
    }  # fmt: skip
    assert not checks["adb"]["here"]
    assert checks["adb"]["cost"] == "Android devices are not reached"
    assert checks["packages"]["here"]


def test_a_folder_that_cannot_be_written_is_grave(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--models", str(tmp_path / "file" / "models")]) == 1
    assert "nothing is measured before this is mended: models" in capfd.readouterr().out


def test_the_version_says_what_is_installed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    first, second, *rest = capfd.readouterr().out.splitlines()
    assert first == f"orchestrate {__version__}"
    assert second.startswith("Python 3.")
    assert any(line.startswith("needs: fabric ") for line in rest)


def test_what_is_printed_is_a_schema(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "suite"]) == 0
    assert "models" in json.loads(capfd.readouterr().out)["properties"]
