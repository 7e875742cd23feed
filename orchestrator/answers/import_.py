"""``orchestrate import``: what bundles brought back, or logs, as a run."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator import plain_files
from orchestrator.analysis import analyse
from orchestrator.analysis.tails import with_quick_tails
from orchestrator.answer import Answer, ExitCode
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.bundles.importing import import_results
from orchestrator.bundles.results import MAGIC
from orchestrator.commands.import_ import ImportArguments
from orchestrator.console import Console
from orchestrator.errors import UsageError
from orchestrator.imports import naming, table
from orchestrator.imports.logs import ImportHints, ReadLogs, read_logs
from orchestrator.imports.save import save
from orchestrator.imports.trials import ImportedFigure, place, same_sizes
from orchestrator.measurement import Outcome
from orchestrator.published import publications
from orchestrator.report import render, write_reports
from orchestrator.report.background import read_background
from orchestrator.runs import archive
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.records import RunRecord


def answer(arguments: ImportArguments) -> Answer:
    """Merge what bundles brought back into its runs, or make a run of logs and tables; answer with
    the tables."""
    paths = list(dict.fromkeys(arguments.file))
    exports = [path for path in paths if _is_export(path)]
    if exports and len(exports) < len(paths):
        raise UsageError(f"{exports[0]} is an exported run, and others are not; import them apart")
    if exports:
        return _import_exports(arguments, exports)
    zips = [path for path in paths if _is_zip(path)]
    if not zips:
        return _import_logs(arguments)
    if len(zips) < len(paths):
        raise UsageError(
            f"{zips[0]} is what a bundle brought back, and others are not; import them apart"
        )
    return _import_results(arguments, zips)


def _import_results(arguments: ImportArguments, paths: Sequence[Path]) -> Answer:
    arrived = []
    with Console() as console:
        for path in paths:
            each = import_results(path, arguments.results, arguments.models)
            arrived.append(each)
            left = "" if each.complete else "; not all of its part: run the bundle again there"
            run = each.directory.run_id
            console.say(f"{path}: {each.added} new trials of {each.device} in run {run}{left}")
    texts, failed = [], False
    for directory in dict.fromkeys(each.directory for each in arrived):
        record = directory.read()
        # without what looked at files in another runner's place (``record.checks``)
        failed |= any(trial.outcome is not Outcome.OK for trial in record.trials)
        texts.append(_report(arguments, directory, record))
    return Answer("\n".join(texts), ExitCode.FAILED if failed else ExitCode.OK)


def _import_exports(arguments: ImportArguments, paths: Sequence[Path]) -> Answer:
    texts = []
    with Console() as console:
        for path in paths:
            directory = archive.unpack(path, arguments.results)
            console.say(f"{path}: run {directory.run_id} in {directory.path}")
            texts.append(_report(arguments, directory, directory.read()))
    return Answer("\n".join(texts))


def _report(arguments: ImportArguments, directory: RunDirectory, record: RunRecord) -> str:
    """Write the run's reports anew; its table."""
    found = analyse(record, publications())
    whole = with_quick_tails(record, found)
    write_reports(whole, directory.path, read_background(directory, record, found))
    shown, shape = (whole, "json") if arguments.json else (found, "text")
    return render(shown, shape, width=answer_width(), color=colour_wanted())


def _import_logs(arguments: ImportArguments) -> Answer:
    told = _told(arguments)
    files = {str(path): _bytes(path) for path in dict.fromkeys(arguments.file)}
    figures, remarks = _read_all(files, told)
    same = same_sizes(figures)
    figures = [f.with_finding(same[f.variant]) if f.variant in same else f for f in figures]
    _check_baseline(figures, arguments.baseline)
    directory = save(arguments.results, place(figures), files, arguments.baseline)
    text = _report(arguments, directory, directory.read())
    failed = [f.reading.reason for f in figures if f.reading.outcome is not Outcome.OK]
    with Console() as console:
        for line in [*remarks, *filter(None, failed)]:
            console.say(line)
    return Answer(text, ExitCode.FAILED if failed or remarks else ExitCode.OK)


def _read_all(
    files: Mapping[str, bytes], told: ImportHints
) -> tuple[list[ImportedFigure], list[str]]:
    """What all files hold. Raises UsageError with what is wrong in any of them."""
    figures: list[ImportedFigure] = []
    remarks: list[str] = []
    wrong: list[str] = []
    for name, data in files.items():
        try:
            read = _read(name, data, told)
        except UsageError as exc:
            wrong.append(str(exc))
            continue
        figures += read.figures
        remarks += read.remarks
    if wrong:
        raise UsageError("\n".join(wrong))
    return figures, remarks


def _told(arguments: ImportArguments) -> ImportHints:
    model, scheme = arguments.model, arguments.scheme
    if (model is None) != (scheme is None):
        raise UsageError("--model and --scheme go together: they say what every process ran")
    named = {}
    if arguments.map is not None:
        named = naming.read_table(
            str(arguments.map), _text(str(arguments.map), _bytes(arguments.map))
        )
    variant = None
    if model is not None and scheme is not None:
        variant = naming.variant_named("--model, --scheme", model, scheme)
    return ImportHints(
        device=arguments.device,
        microarchitecture=arguments.microarchitecture,
        variant=variant,
        table=named,
        threads=arguments.threads,
        delegate=arguments.delegate or "",
    )


def _read(name: str, data: bytes, told: ImportHints) -> ReadLogs:
    text = _text(name, data)
    if table.is_table(text):
        return ReadLogs(table.read_table(name, text), ())
    return read_logs(name, text, told)


def _is_export(path: Path) -> bool:
    try:
        return archive.is_export(path)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read ({exc.strerror})") from exc


def _is_zip(path: Path) -> bool:
    try:
        with plain_files.opened_named(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read ({exc.strerror})") from exc


#: A log has some kilobytes, and a folder of them in one file some megabytes.
_MAX_BYTES = 128 * 2**20
#: By so much of a file its encoding is told.
_HEAD_BYTES = 512
_LEAST_ZEROS = 8


def _bytes(path: Path) -> bytes:
    try:
        with plain_files.opened_named(path) as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read ({exc.strerror})") from exc
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{path}: larger than {_MAX_BYTES // 2**20} MiB; import it in parts")
    return data


def _text(name: str, data: bytes) -> str:
    """Logs hold paths in whatever encoding: what is not UTF-8 is shown as escapes, not lost.

    Windows PowerShell's ``>`` writes UTF-16.
    """
    encoding = _encoding(data)
    if encoding == "utf-8-sig" and b"\x00" in data:
        raise UsageError(
            f"{name}: not a text file: byte {data.index(0) + 1} is 0. Where PowerShell appended to "
            f"a file of another encoding (`>>`), write it anew with `| Out-File -Encoding utf8`"
        )
    return data.decode(encoding, "backslashreplace").replace("\r\n", "\n")


def _encoding(data: bytes) -> str:
    """UTF-16 by its mark, or by every other byte of its beginning being 0; else UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = data[: _HEAD_BYTES - len(data[:_HEAD_BYTES]) % 2]
    for encoding, zeros, others in (
        ("utf-16-le", head[1::2], head[::2]),
        ("utf-16-be", head[::2], head[1::2]),
    ):
        if len(zeros) >= _LEAST_ZEROS and not any(zeros) and all(others):
            return encoding
    return "utf-8-sig"


def _check_baseline(figures: list[ImportedFigure], baseline: str) -> None:
    schemes = sorted({f.variant.scheme for f in figures})
    if baseline not in schemes:
        raise UsageError(
            f"nothing in the files is {baseline}, which the others are compared with; there are: "
            f"{', '.join(schemes)}. Name one with --baseline"
        )
