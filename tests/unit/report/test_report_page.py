"""report.html: all there is on one page, which loads nothing, runs nothing and believes nobody."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.analysis import SpeedupTable, analyse
from orchestrator.errors import OrchestrateError
from orchestrator.report import charts, render, repeat, write_charts
from orchestrator.report.draughtsman import Draughtsman
from orchestrator.report.inline_svg import inline
from orchestrator.report.markup import Markup, element, join
from tests import pages
from tests.analysis_runs import BASELINE, FACTORS, bad, blocks_of, ok, run_of

SECTIONS = [
    "table", "published", "heat-map", "forest", "bars", "processes", "cost", "warm-up", "findings",
    "failures", "method", "weights", "devices", "repeat",
]  # fmt: skip
DRAWN = {"heat-map", "forest", "bars", "processes", "cost", "warm-up"}


class Page(HTMLParser):
    """Elements with their attributes, ids, and the text outside style sheets."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.sections: list[str] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(text)
        assert self._inside == [], "an element is left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert len(given) == len(attrs), f"<{tag}> names an attribute twice"
        self.elements.append((tag, given))
        if tag not in ("img", "input", "meta"):
            self._inside.append(tag)
        if tag == "section":
            self.sections.append(given["id"])

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def ids(self) -> Iterator[str]:
        return (given["id"] for _, given in self.elements if "id" in given)


@pytest.fixture(scope="module")
def table() -> SpeedupTable:
    return pages.full(analyse(pages.run(devices=2, models=4)))


@pytest.fixture(scope="module")
def page(table: SpeedupTable) -> Page:
    behind = pages.background(pages.run(devices=2, models=4))
    return Page(render(table, "html", background=behind))


@pytest.fixture
def drawn() -> None:
    if not charts.available():
        pytest.skip("needs the extra `charts`")


def test_every_section_is_there(page: Page, drawn: None) -> None:
    assert page.sections == SECTIONS
    targets = {given["href"][1:] for tag, given in page.elements if tag == "a"}
    assert targets <= set(page.ids())
    assert len(set(page.ids())) == len(list(page.ids()))


def test_the_table_says_what_the_analysis_says(page: Page, table: SpeedupTable) -> None:
    for row in table.rows:
        assert row.scheme in page.text
    assert "✗ invalid" in page.text and "it broke" in page.text
    assert "= 1.010× [0.900, 1.100]" in page.text  # by mean
    assert "▲ 1.20× [1.10, 1.30]" in page.text  # by minimum
    assert "12.5 → 6.25" in page.text and "energy from RAPL package." in page.text
    assert "1.50 → 0.750" in page.text
    assert "conditions uncontrolled." in page.text
    assert "random(seed=0)" in page.text


def test_a_verdict_is_a_sign_and_a_word_before_it_is_a_colour(page: Page) -> None:
    said = [given["class"] for tag, given in page.elements if "verdict " in given.get("class", "")]
    assert {"verdict faster", "verdict slower", "verdict indistinguishable"} <= set(said)
    assert re.search(r"▲ faster", page.text)
    assert re.search(r"▼ slower", page.text)


def test_published_figures_stand_beside_ours(page: Page) -> None:
    assert "1.40× [1.35, 1.45]" in page.text
    assert "contradicts" in page.text
    assert "slower, magnitude not known" in page.text


def test_the_way_to_repeat_it_is_exact(page: Page) -> None:
    behind = pages.background(pages.run(devices=2, models=4))
    told = repeat.command(behind.manifest)
    assert told is not None
    line = told.replace(" \\\n", "")
    assert line.split("  ")[:6] == [
        "orchestrate run",
        "--inventory 'my inventory.yaml'",
        "--suite seven-cnns",
        "--blocks 6:20",
        "--precision 0.02",
        "--budget 240s",
    ]
    assert line.endswith("--seed 42  --device icelake-1  --device cascadelake-1")
    for artifact in behind.manifest.artifacts:
        assert artifact.sha256 in page.text


def test_an_imported_run_claims_no_command() -> None:
    record = pages.run(devices=1, models=1)
    behind = pages.background(record)
    imported = dataclasses.replace(behind.manifest, inventory={})
    behind = dataclasses.replace(behind, manifest=imported)
    text = Page(render(analyse(record), "html", background=behind)).text
    assert "no command of orchestrate measured it" in text
    assert "orchestrate run" not in text


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 10**400, "x", [], {}, True])
def test_an_odd_fact_costs_no_page(odd: object) -> None:
    facts = repeat.facts_of(
        {"cpu": {"base_mhz": odd, "features": odd}, "memory": {"total_bytes": odd}}
    )
    assert all(isinstance(value, str) for value in facts.values())
    assert repeat.facts_of({"cpu": odd, "memory": odd}) == {}


def test_the_limits_of_a_control_group_are_among_the_facts() -> None:
    told = {"cpu": {"cpu_quota": 0.5}, "memory": {"cgroup_limit_bytes": 512 * 2**20}}
    assert repeat.facts_of(told) == {"CPU quota": "0.5", "Memory limit": "0.537 GB"}


def test_devices_have_their_facts_and_no_names_of_hosts(page: Page) -> None:
    assert "6.1.0" in page.text
    assert "16.0 GB" in page.text
    assert "secret" not in page.text


def test_it_forbids_itself_everything_but_its_own_style(table: SpeedupTable) -> None:
    text = render(table, "html")
    page = Page(text)
    (policy,) = (
        given["content"] for _, given in page.elements if "Policy" in given.get("http-equiv", "")
    )
    (css,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "img",
        "link",
        "iframe",
        "use",
        "image",
    }
    for _, given in page.elements:
        assert not [n for n in given if n.startswith("on") or n in {"style", "src", "xlink:href"}]
        assert given.get("href", "#").startswith("#")
    assert "url(" not in css and "@import" not in css
    assert "http" not in text.replace("http-equiv", "")


def test_charts_take_the_colours_of_the_page(page: Page, drawn: None) -> None:
    svgs = [given for tag, given in page.elements if tag == "svg"]
    assert len(svgs) == 1 + 2 * (len(DRAWN) - 1)
    assert all(given["role"] == "img" and given["aria-label"] for given in svgs)
    colours = {given[n] for _, given in page.elements for n in ("fill", "stroke") if n in given}
    assert {"var(--ink)", "var(--line)", "var(--floor)", "var(--faster)"} <= colours
    assert not colours & {"#000", "#000000", "black", "#fff", "white"}  # unreadable on one paper


def test_without_the_extra_the_tables_stay_and_what_to_install_is_said(
    table: SpeedupTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(charts, "available", lambda: False)
    page = Page(render(table, "html"))
    assert charts.EXTRA in page.text
    assert "mobilenet_v1" in page.text
    assert not [tag for tag, _ in page.elements if tag == "svg"]
    with pytest.raises(OrchestrateError, match="pip install"):
        write_charts(table, tmp_path)


def test_a_chart_that_cannot_be_drawn_is_said_and_costs_no_page(
    table: SpeedupTable, monkeypatch: pytest.MonkeyPatch, drawn: None
) -> None:
    refusal, ask = {"refused": "no such mark\nand more"}, Draughtsman._ask
    monkeypatch.setattr(Draughtsman, "_ask", lambda *a: refusal if "shape" in a[1] else ask(*a))
    text = Page(render(table, "html")).text
    assert "the chart heat-map cannot be drawn (no such mark); the tables have its figures" in text


def test_an_empty_table_is_a_page() -> None:
    empty = dataclasses.replace(analyse(pages.run(1, 1)), rows=(), distributions=(), problems=())
    assert "Nothing was compared" in Page(render(empty, "html")).text


@pytest.mark.usefixtures("drawn")
def test_charts_of_a_large_fleet_are_bounded_and_the_page_says_so(
    table: SpeedupTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "MOST_DRAWN", 1)
    page = Page(render(table, "html"))
    assert [tag for tag, _ in page.elements].count("svg") == 1 + 4  # no curves without logs
    assert "Drawn for 1 of 2 devices and settings; all of them: orchestrate report" in page.text


# -- what others say ------------------------------------------------------------------------------


def test_nothing_that_others_say_becomes_markup() -> None:
    table, behind = pages.hostile()
    text = render(table, "html", background=behind)
    page = Page(text)
    assert "<script" not in text and "<img" not in text
    assert "\x1b" not in text and "\u202e" not in text
    assert "alert(1)" in page.text  # shown as what it is
    known = set(Page(render(pages.full(analyse(pages.run(1, 1))), "html")).ids())
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", i) for i in {*page.ids()} - known)
    assert "not understood: 7" in page.text


def test_text_is_escaped_unless_it_is_ours() -> None:
    made = element("p", "a<b ", element("b", "c&d"), title='"x"')
    assert made == '<p title="&quot;x&quot;">a&lt;b <b>c&amp;d</b></p>'
    assert join(["<i>", Markup("<i>")]) == "&lt;i&gt;<i>"


def test_an_svg_keeps_what_is_known_and_loses_the_rest() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'width="9" onload="x()"><script>x()</script><style>*{}</style>'
        '<a xlink:href="javascript:x()"><path d="M0,0"/></a><foreignObject/>'
        '<path d="M0.12345,1" fill="url(#x)" stroke="#1C2026" style="x" id="i"/>'
        "<text>&lt;b&gt;</text></svg>"
    )
    assert inline(svg, 'a "b"') == (
        '<svg role="img" aria-label="a &quot;b&quot;" width="9">'
        '<path d="M0.12,1" fill="none" stroke="var(--ink)"></path><text>&lt;b&gt;</text></svg>'
    )
    with pytest.raises(OrchestrateError, match="not XML"):
        inline("<svg>", "broken")


# -- the charts themselves -------------------------------------------------------------------------


@pytest.mark.usefixtures("drawn")
def test_every_chart_is_valid_vega_lite(
    table: SpeedupTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "VALIDATE", True)
    behind = pages.background(pages.run(devices=2, models=4))
    found = charts.drawings(table, behind)
    assert {each.kind for each in found} == DRAWN
    assert len({each.name for each in found}) == len(found)
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", each.name) for each in found)


_ODD_RUNS = {
    "one block": [ok(BASELINE, 0, 3000.0), ok("full_int8", 0, 2000.0)],
    "no treatment": [ok(BASELINE, block, 3000.0) for block in range(7)],
    "nothing ended ok": [bad(BASELINE, 0), bad("full_int8", 0)],
    "far apart": blocks_of({BASELINE: 1e9, "full_int8": 1.0}, 6),
    "all noise": blocks_of(
        {BASELINE: 1e3, "full_int8": 900.0}, 6, noise=lambda rng: rng.gauss(0, 2)
    ),
    "more schemes than colours": blocks_of(
        {BASELINE: 1e3, **{f"scheme{number}": 900.0 for number in range(9)}}, 6
    ),
    "a sweep": [
        trial
        for threads in (1, 2)
        for trial in blocks_of(
            {BASELINE: 1e3, "full_int8": 500.0},
            6,
            factors=dataclasses.replace(FACTORS, threads=threads),
        )
    ],
}


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("which", _ODD_RUNS)
def test_every_kind_of_run_has_a_page_without_a_broken_chart(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "VALIDATE", True)
    text = render(analyse(run_of(_ODD_RUNS[which])), "html")
    Page(text)
    assert "cannot be drawn" not in text
    assert not re.search(r"\b(NaN|Infinity|undefined)\b", text)


@pytest.mark.usefixtures("drawn")
def test_charts_show_the_tables_figures(table: SpeedupTable) -> None:
    found = {each.name: each for each in charts.drawings(table)}
    forest = _figures(found["forest-1-icelake-1"])
    rows = [row for row in table.rows if row.device == "icelake-1"]
    assert [(f["speedup"], f["low"], f["high"]) for f in forest] == [
        (row.speedup, row.ci_low, row.ci_high) for row in rows
    ]
    assert [f["floor"] for f in forest] == [row.noise_floor for row in rows]
    times = [d for d in table.distributions if d.device == "icelake-1"]
    bars = _figures(found["bars-1-icelake-1"])
    assert [(b["ms"], b["low"], b["high"]) for b in bars] == [
        (d.centre_ms, d.low_ms, d.high_ms) for d in times
    ]
    assert len(_figures(found["processes-1-icelake-1"])) == sum(len(d.centres_ms) for d in times)
    assert len(_figures(found["heat-map"])) == len(table.rows)


@pytest.mark.usefixtures("drawn")
def test_charts_are_files_too(table: SpeedupTable, tmp_path: Path) -> None:
    small = dataclasses.replace(table, rows=table.rows[:2], distributions=())
    written = write_charts(small, tmp_path / "charts")
    assert {path.name for path in written} >= {"heat-map.svg", "heat-map.png"}
    assert all(path.stat().st_size > 1000 for path in written)


def _figures(drawing: Any) -> list[dict[str, Any]]:
    (rows,) = drawing.specification["datasets"].values()
    found: list[dict[str, Any]] = rows
    return found
