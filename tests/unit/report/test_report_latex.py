"""LaTeX: escaped, and compiled where there is a LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.analysis import analyse
from orchestrator.cli import main
from orchestrator.report import render
from orchestrator.report.clean import latex
from orchestrator.report.latex import Typesetting
from tests import pages
from tests.analysis_runs import blocks_of, run_of


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("full_int8 & 50 %", r"full\_int8 \& 50 \%"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("a^b~c#d$e", r"a\textasciicircum{}b\textasciitilde{}c\#d\$e"),
        ("--resume ---", "-{}-resume -{}-{}-"),
        ("3.21× ±2 → 1 ÷ 2 – x…", r"3.21$\times$ $\pm$2 $\to$ 1 $\div$ 2 \textendash{} x\ldots{}"),
        ("é 中 \x1b[31m\u202e", "é [U+4E2D]"),
    ],
)
def test_escaping(text: str, escaped: str) -> None:
    assert latex(text) == escaped


def test_a_section_is_a_table_with_booktabs() -> None:
    table = pages.full(analyse(pages.run(devices=2, models=4)))
    shown = render(table, "latex")
    # energy and CO2 do not fit beside the rest
    assert re.findall(r"\\begin\{(table\*?)\}", shown) == ["table*", "table"]
    assert re.findall(r"\\end\{(table\*?)\}", shown) == ["table*", "table"]
    for rule in (r"\toprule", r"\bottomrule"):
        assert shown.count(rule) == 2
    rows = [line for line in shown.splitlines() if line.startswith("{}")]
    assert len(rows) == len(table.rows)
    assert re.search(r"\{\}dynamic\\_range & \d\.\d\d \[\d\.\d\d, \d\.\d\d\] & \$\\bl", shown)
    raised = [n for row in rows for n in re.findall(r"\^\{([\d,]+)\}", row)]
    numbers = {int(n) for each in raised for n in each.split(",")}
    explained = {int(n) for n in re.findall(r"^\[(\d+)\] \\texttt", shown, re.MULTILINE)}
    assert numbers and numbers == explained


def test_what_fits_no_column_goes_over_both() -> None:
    long = "a-network-of-the-reader-s-own-with-a-name-of-sixty-characters"
    times = {"float32": 9000.0, f"{long}-quantized": 3000.0}
    shown = render(analyse(run_of(blocks_of(times, 6))), "latex")
    assert r"\begin{table*}" in shown and r"\end{table*}" in shown
    assert r"\parbox{\textwidth}" in shown


def test_an_author_has_the_last_word() -> None:
    table = pages.full(analyse(pages.run(devices=2, models=2)))
    wanted = Typesetting(notes="none", label="tab:mine", caption="Ours, $n=6$")
    shown = render(table, "latex", typesetting=wanted)
    assert re.findall(r"\\label\{(.*?)\}", shown) == ["tab:mine", "tab:mine-2"]
    assert shown.count(r"\caption{Ours, $n=6$ (icelake-1 (icelake): litert") == 1
    typeset = [line for line in shown.splitlines() if not line.startswith("%")]
    assert not any("texttt" in line or "noise floor" in line for line in typeset)
    # what is left out of the page stays in the source
    assert "% noisy (" in shown


def test_what_belongs_to_latex_is_refused_elsewhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "last", "--results", str(tmp_path), "--label", "tab:mine"]) == 2
    assert "--label is for LaTeX; add --format latex" in capfd.readouterr().err


@pytest.mark.parametrize("which", ["usual", "hostile"])
def test_it_compiles(tmp_path: Path, which: str) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex on PATH")
    table = analyse(pages.run(devices=2, models=4)) if which == "usual" else pages.hostile()[0]
    shown = render(table, "latex")
    needed = "".join(re.findall(r"\\usepackage(?:\[\w+\])?\{\w+\}", shown.split(r"\begin")[0]))
    # a page of two columns, each as wide as the IEEE's
    page = r"\textwidth=516pt\hoffset=-60pt\columnsep=12pt"
    document = (
        rf"\documentclass[twocolumn]{{article}}{needed}{page}"
        rf"\begin{{document}}{shown}\end{{document}}"
    )
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper"],
        cwd=tmp_path, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    log = (tmp_path / "paper.log").read_text(encoding="utf-8", errors="replace")
    if "not found" in log:
        pytest.skip("this LaTeX lacks booktabs or amssymb")
    assert done.returncode == 0, log[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 1000
    if which == "usual":
        tables = shown.count(r"\begin{table")
        assert tables == 2
        assert "Overfull" not in log, log
