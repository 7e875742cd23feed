"""Speed-ups → terminal, csv, json, markdown, latex, html. A SpeedupTable in, nothing computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import plain_files
from orchestrator.analysis.table import SpeedupTable
from orchestrator.errors import OrchestrateError, UsageError

if TYPE_CHECKING:
    from orchestrator.report.background import Background
    from orchestrator.report.latex import Typesetting

FORMATS = ("text", "csv", "json", "markdown", "latex", "html")

#: Where nobody says how wide the terminal is.
DEFAULT_WIDTH = 100

#: What `write_reports` leaves beside the journal.
FILES = {
    "csv": "speedup.csv",
    "json": "speedup.json",
    "markdown": "speedup.md",
    "html": "report.html",
}


def render(
    table: SpeedupTable,
    report_format: str,
    *,
    width: int | None = None,
    color: bool = False,
    background: Background | None = None,
    verbose: bool = True,
    typesetting: Typesetting | None = None,
) -> str:
    """The table in one of ``FORMATS``. ``width`` (columns), ``color`` and ``verbose`` (all of it,
    and not what is read first alone) concern text, ``background`` html, ``typesetting`` latex.

    Raises UsageError on a format that does not exist.
    """
    # each format imports what it needs: rich for text, nothing heavy for the others
    if report_format == "text":
        from orchestrator.report.text import to_short_text, to_text  # noqa: PLC0415

        set_type = to_text if verbose else to_short_text
        return set_type(table, width=width or DEFAULT_WIDTH, color=color)
    if report_format == "markdown":
        from orchestrator.report.markdown import to_markdown  # noqa: PLC0415

        return to_markdown(table)
    if report_format == "latex":
        from orchestrator.report.latex import to_latex  # noqa: PLC0415

        return to_latex(table, typesetting)
    if report_format == "html":
        from orchestrator.report.html import to_html  # noqa: PLC0415

        return to_html(table, background)
    if report_format in {"csv", "json"}:
        from orchestrator.report import flat  # noqa: PLC0415

        return flat.to_csv(table) if report_format == "csv" else flat.to_json(table)
    raise UsageError(f"no report format {report_format!r}; choose one of: {', '.join(FORMATS)}")


def write_reports(
    table: SpeedupTable,
    run_dir: Path,
    background: Background | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Path, ...]:
    """Write speedup.csv, speedup.json, speedup.md and report.html into ``run_dir``, each all or
    nothing; figures.csv where trials found figures other than time, accuracy.csv where accuracy was
    measured, tails.csv where single times were read; and sweep.svg and sweep.png
    where a factor varied and the extra ``charts`` is installed. The tables come first, and whatever
    happens to a chart they stay; of one that cannot be drawn ``say`` is told why.

    Raises OrchestrateError where a file cannot be written; the journal is not touched.
    """
    from orchestrator.report import charts  # noqa: PLC0415  # as above

    written: tuple[Path, ...] = ()
    if table.figures:
        from orchestrator.report import flat  # noqa: PLC0415  # as above

        figures = {"figures.csv": flat.figures_to_csv(table).encode()}
        written += _write_files(figures, run_dir, table.run_id)
    if table.accuracy:
        from orchestrator.report import flat  # noqa: PLC0415  # as above

        shares = {"accuracy.csv": flat.accuracy_to_csv(table).encode()}
        written += _write_files(shares, run_dir, table.run_id)
    if table.tails:
        from orchestrator.report import flat  # noqa: PLC0415  # as above

        tails = {"tails.csv": flat.tails_to_csv(table).encode()}
        written += _write_files(tails, run_dir, table.run_id)
    for shape, name in FILES.items():
        shown = replace(table, tails=()) if shape == "markdown" else table
        text = render(shown, shape, background=background)
        written += _write_files({name: text.encode()}, run_dir, table.run_id)
    return written + _write_files(charts.draw(table.sweeps, say), run_dir, table.run_id)


def write_charts(
    table: SpeedupTable,
    folder: Path,
    background: Background | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Path, ...]:
    """Write every chart of the page into ``folder`` as SVG and PNG, making it where it is not; of
    one that cannot be drawn ``say`` is told why.

    Raises OrchestrateError where a file cannot be written, or the extra ``charts`` is missing.
    """
    from orchestrator.report import charts  # noqa: PLC0415  # as above
    from orchestrator.report.draughtsman import NotDrawnError  # noqa: PLC0415  # as above

    if not charts.available():
        raise OrchestrateError(f"charts need the extra `charts`: {charts.EXTRA}")
    files: dict[str, bytes] = {}
    try:
        drawings = charts.drawings(table, background)
        if background is not None and background.explanation is not None:
            drawings += charts.explanation(background.explanation)
        files = charts.all_files(drawings, say)
    except NotDrawnError as exc:
        say(str(exc))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OrchestrateError(
            f"{folder}: cannot be made ({exc.strerror or exc}); choose another folder"
        ) from exc
    return _write_files(files, folder, table.run_id)


def _write_files(files: Mapping[str, bytes], folder: Path, run_id: str) -> tuple[Path, ...]:
    """Write each of the files all or nothing. Raises OrchestrateError where one cannot be
    written."""
    written = []
    for name, data in files.items():
        path = folder / name
        try:
            plain_files.write(folder, name, data)
        except OSError as exc:
            raise OrchestrateError(
                f"{path}: cannot be written ({exc.strerror or exc}); the journal is complete, "
                f"make room or fix permissions and run `orchestrate report {run_id}`"
            ) from exc
        written.append(path)
    return tuple(written)
