"""``orchestrate init``: the first inventory, and a first suite of one's own."""

from __future__ import annotations

from pathlib import Path

from orchestrator.answer import Answer, ExitCode
from orchestrator.commands.init import InitArguments
from orchestrator.config import load_suite, suite_path
from orchestrator.config.modeline import modeline
from orchestrator.config.values import check_name
from orchestrator.discovery import beginning_text, hosts_beside
from orchestrator.errors import ConfigError, UsageError

#: What a suite is made of where nobody says.
_BEGINNING = "quick"


def answer(arguments: InitArguments) -> Answer:
    """Write the file and say what to do next. Raises UsageError, also where it is there already."""
    if arguments.suite is None:
        if arguments.source is not None:
            raise UsageError(
                "--from names the suite that --suite begins with; add `--suite NAME`. An inventory "
                "of machines that are written down elsewhere: `orchestrate inventory --from KIND`"
            )
        return _inventory(arguments.output or Path("inventory.yaml"))
    return _suite(arguments.suite, arguments.source or _BEGINNING, arguments.output)


def _inventory(path: Path) -> Answer:
    hosts, notes = hosts_beside()
    text = beginning_text(hosts, notes, name=str(path))
    _write_new(
        path,
        modeline("inventory", path.parent) + text,
        f"look at it with `orchestrate devices --inventory {path}`",
    )
    found = f", and {len(hosts)} hosts of ~/.ssh/config commented out" if hosts else ""
    return Answer(f"{path}: this machine{found}\nnext: orchestrate run --inventory {path}\n")


def _suite(name: str, source: str, output: Path | None) -> Answer:
    path = output or Path("suites") / f"{_checked(name)}.yaml"
    begun = suite_path(source)
    lines = begun.read_text("utf-8").splitlines(keepends=True)
    if lines and lines[0].startswith("# yaml-language-server:"):
        del lines[0]
    text = "".join((modeline("suite", path.parent), f"# Begun as a copy of {source}.\n", *lines))
    _write_new(path, text, f"measure it with `--suite {name}`")
    said = f"{path}: a copy of {source}\nnext: orchestrate run --inventory FILE --suite {name}\n"
    try:
        load_suite(str(path))
    except ConfigError as exc:  # files that it names relative to its folder
        return Answer(
            f"{said}first mend what does not hold in that folder: {exc}\n", ExitCode.FAILED
        )
    return Answer(said)


def _checked(name: str) -> str:
    try:
        return check_name(name)
    except ValueError as exc:
        raise UsageError(f"--suite: {exc}") from exc


def _write_new(path: Path, text: str, otherwise: str) -> None:
    """Write a file that is not there yet. Raises UsageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        raise UsageError(
            f"{path}: is there already, and nothing is overwritten; {otherwise}, or name another "
            f"file: --output FILE"
        ) from exc
    except OSError as exc:
        raise UsageError(
            f"{path}: cannot be written ({exc.strerror}); name another --output"
        ) from exc
