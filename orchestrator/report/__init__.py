"""Speed-ups → terminal, csv, json, markdown. Reads a SpeedupTable and computes nothing new."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from orchestrator.analysis.table import SpeedupTable
from orchestrator.errors import OrchestrateError, UsageError

FORMATS = ("text", "csv", "json", "markdown")

#: Where nobody says how wide the terminal is.
DEFAULT_WIDTH = 100

#: What `write_reports` leaves beside the journal.
FILES = {"csv": "speedup.csv", "json": "speedup.json", "markdown": "speedup.md"}


def render(
    table: SpeedupTable, report_format: str, *, width: int | None = None, color: bool = False
) -> str:
    """The table in one of ``FORMATS``. ``width`` (columns) and ``color`` concern text alone.

    Raises UsageError on a format that does not exist.
    """
    # each format imports what it needs: rich for text, nothing heavy for the others
    if report_format == "text":
        from orchestrator.report.text import to_text  # noqa: PLC0415

        return to_text(table, width=width or DEFAULT_WIDTH, color=color)
    if report_format == "markdown":
        from orchestrator.report.markdown import to_markdown  # noqa: PLC0415

        return to_markdown(table)
    if report_format in {"csv", "json"}:
        from orchestrator.report import flat  # noqa: PLC0415

        return flat.to_csv(table) if report_format == "csv" else flat.to_json(table)
    raise UsageError(f"no report format {report_format!r}; choose one of: {', '.join(FORMATS)}")


def write_reports(table: SpeedupTable, run_dir: Path) -> tuple[Path, ...]:
    """Write speedup.csv, speedup.json and speedup.md into ``run_dir``, each all or nothing; and
    sweep.svg and sweep.png where a factor varied and the extra ``charts`` is installed.

    Raises OrchestrateError where a file cannot be written; the journal is not touched.
    """
    from orchestrator.report import charts  # noqa: PLC0415  # as above

    files = {name: render(table, shape).encode() for shape, name in FILES.items()}
    written = []
    for name, data in (files | charts.draw(table.sweeps)).items():
        path = run_dir / name
        try:
            _replace(path, data)
        except OSError as exc:
            raise OrchestrateError(
                f"{path}: cannot be written ({exc.strerror or exc}); the journal is complete, "
                f"make room or fix permissions and run `orchestrate report {table.run_id}`"
            ) from exc
        written.append(path)
    return tuple(written)


def _replace(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, 0o644)  # mkstemp's 0600 would hide a result from colleagues
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
