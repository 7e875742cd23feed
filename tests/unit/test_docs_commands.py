"""The commands that the pages show are run for real, where that takes a moment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator import cli
from tests.unit.test_docs import OURS, ROOT, YAML, named

#: What is not run here, why, and the test that does run it.
ELSEWHERE = {
    "run": ("measures for minutes", "tests/integration/test_run.py"),
    "devices": ("starts agents on machines", "tests/integration/test_devices.py"),
    "bundle": ("carries built models", "tests/integration/test_bundle.py"),
    "import": ("reads logs that others have", "tests/unit/imports/test_imports.py"),
    "init": ("writes over no file, and one is here", "tests/unit/test_first_minutes.py"),
    "export": ("draws charts, which takes seconds", "tests/unit/test_export.py"),
    "inventory": ("asks what the user has", "tests/integration/test_discovery.py"),
    "models": ("reads the user's files", "tests/unit/frameworks/test_zoo_inspect.py"),
}
#: What takes seconds for its charts.
DRAWN = ("draws charts, which takes seconds", "tests/unit/report/test_report_page.py")
#: Suites of the user's own files, which are read before anything is planned.
OF_FILES = ("mine",)
USER_FILES = ("reads the user's files", "tests/integration/test_run_user_files.py")

#: Runs that the pages speak of; all are the one that is kept here.
RUNS = ("20261120T182924Z-274654", "20261121T164956Z-2b271e")


def why_not(words: list[str]) -> tuple[str, str] | None:
    """Why a command is not run here, and where it is; None where it is."""
    if words[1] == "plan" and words[-1] in OF_FILES:
        return USER_FILES
    if words[1] == "report" and {"html", "--charts"} & {*words}:
        return DRAWN
    return ELSEWHERE.get(words[1])


HERE = {tuple(words[1:]): page for page, _, words in OURS if why_not(words) is None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository's folder with what the pages' commands name: inventories, suites, runs."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("inventory.yaml", "chameleon.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "suites").mkdir()
    for page, text in YAML:
        first = text.splitlines()[0]
        if first.startswith("# suites/"):
            (folder / first.removeprefix("# ")).write_text(text, "utf-8")
        elif page.name == "chameleon.md":
            (folder / "fleet.yaml").write_text(text, "utf-8")
    kept = ROOT / "results" / "reference" / RUNS[0]
    for run in RUNS:
        to = folder / "results" / run
        shutil.copytree(kept, to)
        manifest = json.loads((to / "run.json").read_text("utf-8"))
        (to / "run.json").write_text(json.dumps({**manifest, "run_id": run}), "utf-8")
        shutil.copytree(to, folder / "results" / "reference" / run)
    return folder


@pytest.mark.parametrize("words", HERE, ids=" ".join)
def test_a_command_that_a_page_shows_does_what_it_says(
    words: tuple[str, ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    code = cli.main(words)
    said = capsys.readouterr()
    assert code == 0, f"{named(HERE[words])}: {said.err}"
    written = words[words.index("--output") + 1] if "--output" in words else None
    assert (folder / written).stat().st_size if written else said.out


def test_what_is_not_run_here_is_run_elsewhere() -> None:
    for reason, test in (*ELSEWHERE.values(), USER_FILES, DRAWN):
        assert (ROOT / test).is_file(), reason
    used = {words[1] for _, _, words in OURS if words[1] in ELSEWHERE}
    assert sorted(ELSEWHERE.keys() - used) == [], "no page shows it: delete its line"
