"""``orchestrate export``: a run as one file, with or without who measured and where."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator import plain_files
from orchestrator.analysis import analyse
from orchestrator.analysis.table import SpeedupTable
from orchestrator.answer import Answer
from orchestrator.commands.export import ExportArguments
from orchestrator.errors import OrchestrateError, UsageError
from orchestrator.published import publications
from orchestrator.report import write_reports
from orchestrator.report.background import read_background
from orchestrator.report.citation import citation, read_me
from orchestrator.runs import archive
from orchestrator.runs.anonymous import Pseudonyms, lines_of
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import FILE_NAME as JOURNAL
from orchestrator.runs.journal import JournalReader
from orchestrator.runs.manifest import FILE_NAME as MANIFEST
from orchestrator.runs.manifest import MAX_BYTES, read_manifest

#: A raw log has some kilobytes, an imported file some megabytes.
_LONGEST_LOG_BYTES = 128 * 2**20


def answer(arguments: ExportArguments) -> Answer:
    """Write the file, and answer with what is in it and what was replaced."""
    directory = RunDirectory.find(arguments.results, arguments.run)
    output = arguments.output
    if output.is_symlink() or output.is_dir():
        raise UsageError(f"{output}: is a link or a folder; name a file")
    with tempfile.TemporaryDirectory(prefix="orchestrate-export-") as folder:
        copy = RunDirectory(Path(folder) / directory.run_id)
        copy.logs.mkdir(parents=True)
        try:
            names = _write_anonymous(directory, copy) if arguments.anonymous else None
            if names is None:
                _copy(directory, copy)
            table = _write_derived(copy, anonymous=arguments.anonymous)
            if names is not None:
                _check(copy, names)
        except OSError as exc:
            raise OrchestrateError(
                f"{exc.filename or directory.path}: cannot be exported ({exc.strerror or exc})"
            ) from exc
        about = {"run_id": table.run_id, "anonymous": arguments.anonymous}
        try:
            archive.pack(copy.path, output, about)
        except OSError as exc:
            raise UsageError(f"{output}: cannot be written ({exc.strerror or exc})") from exc
    size = output.stat().st_size / 1e6
    head = f"{output}: run {table.run_id}, {sum(table.outcomes.values())} trials, {size:.1f} MB"
    as_it_is = ["names of hosts and users, paths and serials are in it: --anonymous replaces them"]
    told = as_it_is if names is None else _told(names)
    return Answer("".join(f"{line}\n" for line in (head, *told)))


def _logs(directory: RunDirectory) -> Iterator[tuple[str, bytes]]:
    """Each raw log by its name. A link, or what is not a plain file, is refused by OSError."""
    for path in sorted(directory.logs.iterdir()):
        name = f"logs/{path.name}"
        yield (
            path.name,
            plain_files.read(directory.path, name, most_bytes=_LONGEST_LOG_BYTES),
        )


def _copy(directory: RunDirectory, copy: RunDirectory) -> None:
    read_manifest(directory.path)  # whatever is packed can be read again
    for name in (MANIFEST, JOURNAL):
        with (
            plain_files.opened(directory.path, name, most_bytes=2**40) as source,
            plain_files.created(copy.path / name) as target,
        ):
            shutil.copyfileobj(source, target)
    for name, data in _logs(directory):
        copy.keep(name, data)


def _write_anonymous(directory: RunDirectory, copy: RunDirectory) -> Pseudonyms:
    """Write the run's own files without who measured and where; returns the stand-ins."""
    read_manifest(directory.path)  # refuses, with words, what is not a manifest
    manifest = json.loads(plain_files.read(directory.path, MANIFEST, most_bytes=MAX_BYTES))
    names = _here()
    names.learn_manifest(manifest)
    for event in JournalReader(directory.path / JOURNAL):
        names.learn_event(event)
    for _, data in _logs(directory):
        names.learn_text(data.decode("utf-8", "backslashreplace"))
    names.seal()
    text = json.dumps(names.manifest(manifest), indent=1) + "\n"
    plain_files.write(copy.path, MANIFEST, text.encode())
    events = (names.json(event) for event in JournalReader(directory.path / JOURNAL))
    with plain_files.created(copy.path / JOURNAL) as file:
        file.writelines(lines_of(events))
    for name, data in _logs(directory):
        other = names.identifier(f"logs/{name}").removeprefix("logs/")
        text = names.log(data.decode("utf-8", "backslashreplace"))
        copy.keep(other, text.encode("utf-8", "backslashreplace"))
    return names


def _here() -> Pseudonyms:
    """What this machine and its user are called."""
    users = [os.environ.get("USER", "")]
    with suppress(KeyError, OSError):  # a container may have no name for its user
        users.append(getpass.getuser())
    return Pseudonyms(hosts=(os.uname().nodename,), users=users)


def _check(copy: RunDirectory, names: Pseudonyms) -> None:
    """Raise OrchestrateError where an original is still somewhere in the files or their names."""
    for path in sorted(copy.path.rglob("*")):
        name = path.relative_to(copy.path).as_posix()
        found = names.leftovers(name)
        if path.is_file():
            found += names.leftovers(path.read_bytes().decode("utf-8", "backslashreplace"))
        if found:
            raise OrchestrateError(
                f"{name}: still has {', '.join(repr(each) for each in found[:5])} in a place where "
                f"it could not be replaced; nothing was exported. Take it out of the run's folder "
                f"by hand (of a copy), then export that"
            )


def _told(names: Pseudonyms) -> Iterable[str]:
    counts = [f"{count} {kind}" for kind, count in sorted(names.counts.items()) if count]
    yield f"replaced: {', '.join(counts) or 'nothing'}; no original was found afterwards"
    for word, why in sorted(names.kept.items()):
        yield f"left in texts: {word!r}, {why}"
    if names.devices:
        yield (
            f"left as they are: the devices' names ({', '.join(names.devices)}) and the models'; "
            f"read them once"
        )


def _write_derived(copy: RunDirectory, *, anonymous: bool) -> SpeedupTable:
    """Make the reports of the copy out of its own journal, and what it is cited by."""
    record = copy.read()
    table = analyse(record, publications())
    write_reports(table, copy.path, read_background(copy, record, table))
    manifest = read_manifest(copy.path)
    digest = archive.sha256_of(copy.path, JOURNAL)
    cited = citation(manifest, table, digest, anonymous=anonymous)
    plain_files.write(copy.path, archive.CITATION, cited.encode())
    plain_files.write(copy.path, "README.md", read_me(manifest, table).encode())
    return table
