"""An explanation → terminal, json, markdown, html. ``words`` makes the sentences, ``parts`` what
every format shows; the formats differ in nothing else. Nothing is computed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.analysis.explain.explanation import Explanation

FORMATS = ("text", "json", "markdown", "html")


def render(found: Explanation, report_format: str, *, width: int = 100, color: bool = False) -> str:
    """The explanation in one of ``FORMATS``; ``width`` (columns) and ``color`` concern text alone.

    Raises UsageError on a format that does not exist.
    """
    # each format imports what it needs: altair for html, rich for text
    if report_format == "text":
        from orchestrator.report.explain.text import to_text  # noqa: PLC0415

        return to_text(found, width=width, color=color)
    if report_format == "markdown":
        from orchestrator.report.explain.markdown import to_markdown  # noqa: PLC0415

        return to_markdown(found)
    if report_format == "json":
        from orchestrator.report.explain.flat import to_json  # noqa: PLC0415

        return to_json(found)
    if report_format == "html":
        from orchestrator.report.explain.page import to_html  # noqa: PLC0415

        return to_html(found)
    raise UsageError(f"no format {report_format!r}; choose one of: {', '.join(FORMATS)}")
