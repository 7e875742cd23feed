"""The site of many runs: what it says without its script, and that it believes nobody."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from base64 import b64encode
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.report import leaderboard
from orchestrator.report.markup import scripted
from orchestrator.report.page import shipped
from orchestrator.runs.directory import RunDirectory
from tests.pages import EVIL
from tests.unit.analysis.test_merged import a_run
from tests.unit.report.test_report_page import Page

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = next((ROOT / "results").rglob("journal.jsonl")).parent
LATER = "20261121T000000Z-abcdef"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference run, the same a day later under another id, and a folder that cannot be
    read."""
    folder = tmp_path_factory.mktemp("runs")
    for name in (REFERENCE.name, LATER, "20261122T000000Z-000000"):
        shutil.copytree(REFERENCE, folder / name)
    manifest = folder / LATER / "run.json"
    text = manifest.read_text().replace(REFERENCE.name, LATER)
    manifest.write_text(text.replace("2026-11-20T", "2026-11-21T"))
    return folder


@pytest.fixture(scope="module")
def site(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site") / "public"
    assert cli.main(["leaderboard", str(results), "--output", str(target)]) == 0
    return target


def test_the_site_has_every_run_and_says_which_it_leaves_out(results: Path, site: Path) -> None:
    names = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert names == {
        "index.html", "leaderboard.json", f"runs/{REFERENCE.name}.html", f"runs/{LATER}.html",
    }  # fmt: skip
    document = json.loads((site / "leaderboard.json").read_text())
    assert document["format"] == leaderboard.JSON_FORMAT
    assert [each["run_id"] for each in document["runs"]] == [REFERENCE.name, LATER]
    assert len(document["comparisons"]) == 2 * 6
    (skipped,) = document["skipped"]
    assert f"says that it is run {REFERENCE.name}" in skipped


def test_every_figure_leads_to_its_evidence(site: Path) -> None:
    text = (site / "index.html").read_text()
    page = Page(text)
    links = [given["href"] for tag, given in page.elements if tag == "a"]
    cells = [link for link in links if link.startswith("runs/") and "#" in link]
    assert len(cells) == 12 + 6  # the list, and the overview's newest
    for link in cells:
        path, _, anchor = link.partition("#")
        assert f'id="{anchor}"' in (site / path).read_text()
    evidence = Page((site / f"runs/{LATER}.html").read_text())
    assert "logs/here.mobilenet_v1.float32.b000" in evidence.text
    assert "SHA-256 c1301e6a7a0b7c6d" in evidence.text
    assert not [tag for tag, _ in evidence.elements if tag == "script"]


def test_the_overview_shows_the_newest_run_and_averages_nothing(site: Path) -> None:
    text = (site / "index.html").read_text()
    overview = text[text.index('id="overview"') : text.index('id="list"')]
    assert f"runs/{LATER}.html#" in overview
    assert f"runs/{REFERENCE.name}.html#" not in overview
    assert overview.count("+1") == 6


def test_the_one_script_is_ours_and_the_policy_permits_no_other(site: Path) -> None:
    text = (site / "index.html").read_text()
    page = Page(text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert scripts == [shipped("leaderboard.js")]
    digest = b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    (policy,) = [
        given["content"]
        for tag, given in page.elements
        if given.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert f"; script-src 'sha256-{digest}'; base-uri 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert not [g for _, g in page.elements if any(name.startswith("on") for name in g)]
    with pytest.raises(ValueError, match="markup"):
        scripted("'</script>'")


def test_the_script_makes_no_markup_of_text_and_loads_nothing() -> None:
    code = shipped("leaderboard.js")
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval", "Function(",
                 "fetch", "XMLHttp", "import", "http"):  # fmt: skip
        assert word not in code


def test_a_hostile_run_is_text_in_every_file() -> None:
    stranger = a_run(EVIL, EVIL, model=EVIL, facts={EVIL: {"cpu": {"microarchitecture": EVIL}}})
    record = dataclasses.replace(stranger.record, suite=EVIL)
    stranger = dataclasses.replace(stranger, record=record)
    entries = leaderboard.entries_of(stranger, LATER)
    runs = [leaderboard.run_to_json(stranger, LATER)]
    index = leaderboard.index(entries, runs, [EVIL])
    assert index.count("<script") == 1 and "<img" not in index and "\x1b" not in index
    page = leaderboard.evidence(stranger, entries)
    assert "<script" not in page and "<img" not in page and "\x1b" not in page
    assert "\x1b" not in leaderboard.to_json(entries, runs, [EVIL])


def test_a_folder_without_runs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["leaderboard", str(tmp_path), "--output", str(tmp_path / "site")]
    assert cli.main(line) == 2
    assert "holds no run" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_the_data_is_what_a_run_s_own_file_has(site: Path, results: Path) -> None:
    document = json.loads((site / "leaderboard.json").read_text())
    own = json.loads((results / LATER / "speedup.json").read_text())["speedups"]
    mine = [each for each in document["comparisons"] if each["run_id"] == LATER]
    assert [each["speedup"] for each in mine] == [each["speedup"] for each in own]
    assert RunDirectory(results / LATER).read().run_id == LATER
