"""The page in a real browser, offline: light and dark, wide and phone, with a full fleet."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.analysis import analyse
from orchestrator.analysis.drift.comparison import ReadRun
from orchestrator.analysis.explain.explanation import explain
from orchestrator.datasets import images
from orchestrator.published import publications
from orchestrator.report import charts, leaderboard, render
from orchestrator.report.explain import render as render_explanation
from orchestrator.report.live import to_page
from tests import pages
from tests.analysis_runs import BASELINE
from tests.factorial_runs import factorial
from tests.live_views import fleet_at_work
from tests.unit.analysis.test_accuracy import answered, samples_of, scores
from tests.unit.analysis.test_compare import manifest
from tests.unit.datasets import making
from tests.unit.measures.accuracy import made

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
#: nine devices × ten models × five schemes
_LARGEST_BYTES = 5_000_000

pytestmark = [
    pytest.mark.skipif(_CHROMIUM is None, reason="there is no chromium on PATH"),
    pytest.mark.skipif(not charts.available(), reason="needs the extra `charts`"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    # as root, which containers are, Chromium refuses its own sandbox
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=_CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    record = pages.run()
    table = pages.full(analyse(record))
    assert len(table.rows) == 9 * 10 * 4
    path = tmp_path_factory.mktemp("page") / "report.html"
    text = render(table, "html", background=pages.background(record))
    path.write_text(text, encoding="utf-8")
    return path


_OVERFLOW = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
#: Text that its own background swallows: below 3 : 1 nobody can read it.
_CONTRAST = """() => {
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const worst = {};
  for (const node of document.querySelectorAll("h1,h2,p,td,th,summary,.verdict,a,svg text")) {
    // cells of a map bring their own background
    if (node.closest("#heat-map svg, #flips svg")) continue;
    const style = getComputedStyle(node);
    const colour = node.tagName === "text" ? style.fill : style.color;
    const ink = light(colour);
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 3) worst[colour] = node.textContent.slice(0, 40);
  }
  return [paper, worst];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1400, 900), (390, 844)], ids=["wide", "phone"])
def test_the_page_reads_well(
    browser: Browser, page_file: Path, scheme: Any, size: tuple[int, int]
) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(page_file.as_uri())
    assert asked == [page_file.as_uri()]
    assert said == []  # a style that the policy refuses is said here as well
    shown = page.eval_on_selector_all("section", "all => all.map(one => one.id)")
    assert {"table", "published", "forest", "bars", "heat-map", "devices", "repeat"} <= {*shown}
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    whole, window = page.evaluate(_OVERFLOW)
    assert whole <= window == size[0]
    assert page.locator("svg").count() == 1 + 9 * 5
    for chart in page.locator("svg").all()[:7]:
        box = chart.bounding_box()
        assert box is not None and box["width"] > 100 and box["height"] > 100
    paper, unreadable = page.evaluate(_CONTRAST)
    assert (paper > 0.5) == (scheme == "light")
    assert unreadable == {}
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1400, 900), (390, 844)], ids=["wide", "phone"])
def test_an_explanation_reads_well(
    browser: Browser, tmp_path: Path, scheme: Any, size: tuple[int, int]
) -> None:
    record = factorial()
    found = explain(record, analyse(record, publications()))
    path = tmp_path / "explain.html"
    path.write_text(render_explanation(found, "html"), encoding="utf-8")
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    assert said == []
    whole, window = page.evaluate(_OVERFLOW)
    assert whole <= window == size[0]
    assert page.locator("svg").count() == 3
    for chart in page.locator("svg").all():
        box = chart.bounding_box()
        assert box is not None and box["width"] > 100 and box["height"] > 100
    paper, unreadable = page.evaluate(_CONTRAST)
    assert (paper > 0.5) == (scheme == "light")
    assert unreadable == {}
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1400, 900), (390, 844)], ids=["wide", "phone"])
def test_accuracy_reads_well_and_its_pictures_are_shown(
    browser: Browser, tmp_path: Path, scheme: Any, size: tuple[int, int]
) -> None:
    path = tmp_path / "report.html"
    path.write_text(accuracy_page(tmp_path), encoding="utf-8")
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    whole, window = page.evaluate(_OVERFLOW)
    assert whole <= window == size[0]
    widths = page.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth)")
    assert len(widths) == 40 and set(widths) == {96}
    box = page.locator("#trade-off svg").bounding_box()
    assert box is not None and box["width"] > 100 and box["height"] > 100
    _, unreadable = page.evaluate(_CONTRAST)
    assert unreadable == {}
    context.close()


def accuracy_page(folder: Path) -> str:
    """A page of a scheme that changes many answers, with a picture of each sample."""
    base, labels = scores(3)
    treated, _ = scores(8)
    outputs = {BASELINE: made.answers(base), "full_int8": made.answers(treated)}
    table = analyse(answered(samples_of(labels), outputs))
    picture = making.picture(folder / "sample.png")
    content = images.thumbnail_of(picture.read_bytes(), picture, 96)
    behind = dataclasses.replace(
        pages.background(pages.run(devices=1, models=1)),
        pictures={each.key: content for each in table.accuracy[0].changed},
    )
    return render(table, "html", background=behind)


def test_a_hostile_page_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    table, behind = pages.hostile()
    path = tmp_path / "hostile.html"
    path.write_text(render(table, "html", background=behind), encoding="utf-8")
    page = browser.new_page()
    said: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    assert said == []
    assert page.locator("script, img").count() == 0
    assert "alert(1)" in page.inner_text("body")


def test_a_full_fleets_page_can_be_mailed(page_file: Path) -> None:
    assert page_file.stat().st_size < _LARGEST_BYTES


def _looked_at(browser: Browser, path: Path, scheme: Any, size: tuple[int, int]) -> Page:
    """The page, offline; whatever it asks for, says or overflows with is a failure."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    whole, window = page.evaluate(_OVERFLOW)
    assert whole <= window == size[0]
    paper, unreadable = page.evaluate(_CONTRAST)
    assert (paper > 0.5) == (scheme == "light")
    assert (said, unreadable) == ([], {})
    return page


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", (1400, 900)), ("dark", (390, 844))], ids=["wide", "phone"]
)
def test_a_leaderboard_filters_and_sorts_and_reads_well(
    browser: Browser, tmp_path: Path, scheme: Any, size: tuple[int, int]
) -> None:
    run = ReadRun(manifest("20260101T000000Z-abcdef"), pages.run(models=3))
    entries = leaderboard.entries_of(run, "20260101T000000Z-abcdef")
    runs = [leaderboard.run_to_json(run, "20260101T000000Z-abcdef")]
    path = tmp_path / "index.html"
    path.write_text(leaderboard.index(entries, runs, []), encoding="utf-8")
    page = _looked_at(browser, path, scheme, size)
    rows = page.locator("#all tbody tr")
    assert rows.count() == len(entries) == 9 * 3 * 4
    page.select_option("select[data-by=model]", "resnet50")
    page.fill("#words", "float16 pi")
    assert page.locator("#all tbody tr:visible").count() == 2
    assert page.inner_text("#shown") == f"2 of {len(entries)} comparisons"
    assert page.locator("#overview tbody tr:visible").count() == 1
    page.fill("#words", "")
    page.select_option("select[data-by=device]", "pi5")
    assert page.locator("#overview thead th:visible").count() == 4
    page.select_option("select[data-by=device]", "")
    page.select_option("select[data-by=model]", "")
    speedup = page.locator("#all thead button", has_text="Speed-up")
    for falling in (False, True):
        speedup.click()
        found = page.eval_on_selector_all(
            "#all tbody tr", "all => all.map(row => row.cells[5].dataset.value)"
        )
        values = [float(value) for value in found if value]
        assert values == sorted(values, reverse=falling)
        assert found[-1] == ""  # what is invalid stays last
    page.context.close()


@pytest.mark.parametrize(
    ("scheme", "size"), [("dark", (1400, 900)), ("light", (390, 844))], ids=["wide", "phone"]
)
def test_a_live_page_of_nine_devices_reads_well_and_reads_itself_again(
    browser: Browser, tmp_path: Path, scheme: Any, size: tuple[int, int]
) -> None:
    view = fleet_at_work()
    path = tmp_path / "live.html"
    path.write_text(to_page(view, datetime.now(timezone.utc)), encoding="utf-8")
    page = _looked_at(browser, path, scheme, size)
    assert "going on" in page.inner_text("h1")
    assert page.locator("#devices tbody tr").count() == 9
    ended = dataclasses.replace(view, ended="Complete.", report=True)
    path.write_text(to_page(ended, datetime.now(timezone.utc)), encoding="utf-8")
    page.wait_for_selector("h1:has-text('ended')", timeout=20_000)  # without a hand on it
    page.context.close()
