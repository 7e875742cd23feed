"""What a received run's folder would start here is asked about once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli, trust
from orchestrator.config import Inventory, load_inventory
from orchestrator.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = next((ROOT / "results").rglob("journal.jsonl")).parent


def received(folder: Path, **device: Any) -> Path:
    """A run that was begun and has measured nothing yet, whose device is reached in this way."""
    path = folder / REFERENCE.name
    shutil.copytree(REFERENCE, path)
    manifest = json.loads((path / "run.json").read_text())
    manifest["inventory"]["devices"] = [{"name": "here", **device}]
    (path / "run.json").write_text(json.dumps(manifest))
    (path / "journal.jsonl").write_bytes(b"")
    return path


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    return tmp_path / "started"


def test_the_command_of_a_received_folder_is_asked_about_once(
    tmp_path: Path, proof: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = received(tmp_path, transport="exec", exec=f"touch {proof}")
    resume = ["run", "--resume", str(run), "--models", str(tmp_path / "models")]
    assert cli.main(resume) == 2
    said = capsys.readouterr().err
    assert f"here: exec: touch {proof}" in said
    assert "--trust" in said
    assert not proof.exists()
    # its models are not here, and before that nothing is started
    assert cli.main([*resume, "--trust"]) == 1
    assert "holds no" in capsys.readouterr().err
    assert cli.main(resume) == 1


def test_so_is_all_else_that_is_started_here(tmp_path: Path) -> None:
    for number, device in enumerate(
        [
            {"transport": "ssh", "ssh_config": str(tmp_path / "ssh_config")},
            {"transport": "local", "python": str(tmp_path / "python")},
            {"transport": "local", "benchmark_model": str(tmp_path / "benchmark_model")},
            {"transport": "adb", "serial": "1A2B", "python": str(tmp_path / "python3")},
        ]
    ):
        run = received(tmp_path / str(number), **device)
        assert cli.main(["run", "--resume", str(run)]) == 2, device


def test_nothing_is_asked_where_nothing_of_the_folders_is_started(tmp_path: Path) -> None:
    for number, device in enumerate(
        [{"transport": "local"}, {"transport": "ssh", "python": "python3.12"}]
    ):
        run = received(tmp_path / str(number), **device)
        command = ["run", "--resume", str(run), "--models", str(tmp_path / "models")]
        assert cli.main(command) == 1, device


def inventory(folder: Path, command: str) -> Inventory:
    path = folder / "inventory.yaml"
    path.write_text(f"devices: [{{name: box, transport: exec, exec: {command}}}]\n")
    return load_inventory(path)


def test_what_an_own_inventory_starts_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    own = inventory(tmp_path, "docker exec -i NAME")
    with pytest.raises(UsageError, match="exec: docker exec -i NAME"):
        trust.check(own, "run")
    trust.remember(own)
    trust.check(own, "run")
    with pytest.raises(UsageError, match="exec: docker exec -i OTHER"):
        trust.check(inventory(tmp_path, "docker exec -i OTHER"), "run")


def test_a_run_remembers_what_its_inventory_starts(tmp_path: Path) -> None:
    own = inventory(tmp_path, "/bin/false")
    folders = ["--results", str(tmp_path / "results"), "--models", str(tmp_path / "models")]
    assert cli.main(["run", "--inventory", str(own.path), "--suite", "quick", *folders]) == 3
    trust.check(own, "run")


def test_what_cannot_be_remembered_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    own = inventory(tmp_path, "docker exec -i NAME")
    trust.remember(own)
    with pytest.raises(UsageError, match="--trust"):
        trust.check(own, "run")


def test_trust_belongs_to_resume(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--trust", "--inventory", "inventory.yaml"]) == 2
    assert "--resume" in capsys.readouterr().err


# -- the command of a suite, which the devices run -----------------------------------------------


def with_command(folder: Path, word: Path) -> Path:
    """A run whose suite has its devices run this."""
    run = received(folder, transport="local")
    manifest = json.loads((run / "run.json").read_text())
    manifest["suite"] = {
        "name": "theirs",
        "models": ["nap"],
        "user_models": [
            {
                "name": "nap",
                "files": [
                    {"path": name, "label": name, "scheme": name, "arguments": [str(word)]}
                    for name in ("float32", "int8")
                ],
            }
        ],
        "runner": "command",
        "command": {
            "argv": ["touch", "{arguments}"],
            "environment": {"PATH": "/a b"},
            "figures": {"time": {"wall": True}},
        },
        "protocol": manifest["suite"]["protocol"] | {"memory": {"trials": 0}},
        "baseline": "float32",
    }
    (run / "run.json").write_text(json.dumps(manifest))
    return run


def test_the_command_of_a_received_suite_is_asked_about_whatever_the_inventory(
    tmp_path: Path, proof: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = with_command(tmp_path, proof)
    models = ["--models", str(tmp_path / "models")]
    mine = tmp_path / "mine.yaml"
    mine.write_text("devices: [{name: here, transport: local}]\n")
    resume = ["run", "--resume", str(run), *models]
    for command in (
        resume,
        [*resume, "--inventory", str(mine)],
        ["bundle", "--run", str(run), "--device", "here", *models],
    ):
        assert cli.main(command) == 2
        said = capsys.readouterr().err
        assert "theirs: command: 'PATH=/a b' touch '{arguments}'" in said
        assert f"(nap int8: {proof})" in said and "add --trust" in said
    assert not proof.exists()
    assert cli.main([*resume, "--trust"]) == 1  # its files are not here
    assert "holds no" in capsys.readouterr().err
    assert cli.main(resume) == 1
    assert "--trust" not in capsys.readouterr().err


def test_a_report_of_a_received_run_starts_nothing(tmp_path: Path, proof: Path) -> None:
    run = with_command(tmp_path, proof)
    for form in ("text", "json", "html"):
        assert cli.main(["report", str(run), "--format", form]) == 0
    assert not proof.exists()
