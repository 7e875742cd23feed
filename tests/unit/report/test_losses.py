"""Of the page: where a scheme loses, class by class, and the samples that changed their answer."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace

import pytest

from orchestrator.analysis import SpeedupTable, analyse
from orchestrator.report import charts, losses, render
from orchestrator.report.background import Background
from tests import pages
from tests.analysis_runs import BASELINE, run_of
from tests.unit.analysis.test_accuracy import INT8, answered, samples_of, scores
from tests.unit.measures.accuracy import made
from tests.unit.report.test_report_page import Page

PICTURE = b"\xff\xd8 a picture"


@pytest.fixture(autouse=True)
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds, and are looked at elsewhere."""
    monkeypatch.setattr(charts, "available", lambda: False)


@pytest.fixture(scope="module")
def table() -> SpeedupTable:
    base, labels = scores(3)
    treated, _ = scores(8)
    outputs = {BASELINE: made.answers(base), INT8: made.answers(treated)}
    return analyse(answered(samples_of(labels), outputs))


def behind(table: SpeedupTable, **changes: object) -> Background:
    plain = pages.background(pages.run(devices=1, models=1))
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_every_class_and_changed_sample_of_the_table_is_on_the_page(table: SpeedupTable) -> None:
    (row,) = table.accuracy
    page = Page(render(table, "html"))
    assert row.classes and len(row.changed) == 60
    for each in row.classes:
        said = f"{100 * each.baseline:.1f} → {100 * each.treatment:.1f} {each.lost} {each.gained}"
        assert f"{each.name} {each.samples} {said}" in page.text
    for sample in row.changed:
        right = {True: "right", False: "wrong"}
        answers = (
            f"{answer} ({right[answer == sample.label]})"
            for answer in (sample.baseline, sample.treatment)
        )
        assert " ".join((sample.key, sample.label, *answers)) in page.text
    changed = round((1 - (row.agreement[0].same_top1.value or 0)) * row.samples)  # type: ignore[union-attr]
    assert f"{row.lost} lost, {row.gained} gained, {changed} answers changed" in page.text
    assert f"{changed - 60} more samples changed too." in page.text


def test_it_is_folded_and_loads_and_runs_nothing(table: SpeedupTable) -> None:
    keys = [each.key for each in table.accuracy[0].changed]
    text = render(table, "html", background=behind(table, pictures=dict.fromkeys(keys, PICTURE)))
    page = Page(text)
    opened = [given for tag, given in page.elements if tag == "details"]
    assert opened and not any("open" in given for given in opened)
    (policy,) = (
        given["content"] for _, given in page.elements if "Policy" in given.get("http-equiv", "")
    )
    assert "img-src data:" in policy and "default-src 'none'" in policy
    shown = [given for tag, given in page.elements if tag == "img"]
    assert len(shown) == losses.MOST_PICTURES
    source = f"data:image/jpeg;base64,{b64encode(PICTURE).decode()}"
    assert all(given["src"] == source and given["alt"] for given in shown)
    assert "<script" not in text and not re.search(r"\bon\w+=", text)


def test_without_pictures_none_may_be_loaded_and_why_is_said(table: SpeedupTable) -> None:
    text = render(table, "html", background=behind(table, pictures_missing="no <b>folder</b>"))
    assert "img-src" not in text and "<img" not in text
    assert "Pictures are missing: no &lt;b&gt;folder&lt;/b&gt;." in text


def test_every_comparison_gets_as_many_pictures_as_the_others(table: SpeedupTable) -> None:
    (row,) = table.accuracy
    few = replace(row, changed=row.changed[:5])
    picked = losses.pictured((row, few, row))
    counts = [sum(place == each for place, _ in picked) for each in range(3)]
    assert sum(counts) == losses.MOST_PICTURES and counts == [18, 5, 17]
    assert losses.pictured(()) == ()


def test_a_page_of_many_comparisons_names_some_samples_of_each(table: SpeedupTable) -> None:
    (row,) = table.accuracy
    many = replace(table, accuracy=(row,) * 300)
    page = Page(render(many, "html"))
    assert page.text.count(f" {row.changed[4].key} {row.changed[4].label} ") == 300
    assert f" {row.changed[5].key} {row.changed[5].label} " not in page.text


def test_what_samples_are_called_becomes_no_markup(table: SpeedupTable) -> None:
    (row,) = table.accuracy
    evil = tuple(replace(e, key=pages.EVIL, label=pages.EVIL) for e in row.changed)
    hostile = replace(table, accuracy=(replace(row, changed=evil),))
    page = Page(render(hostile, "html"))
    assert not {tag for tag, _ in page.elements} & {"script", "img"}


def test_a_run_without_accuracy_has_no_such_part() -> None:
    assert "class by class" not in render(analyse(run_of([])), "html")
