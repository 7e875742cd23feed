"""What the trials of accuracy answered, sample by sample, out of their raw logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import plain_files
from orchestrator.errors import JournalError
from orchestrator.frameworks.reading import child_output
from orchestrator.runs.rawlog import stdout_of
from orchestrator.runs.records import TrialRecord

if TYPE_CHECKING:
    from orchestrator.measures.accuracy.answers import SampleAnswer

#: An agent keeps 1 MiB of each stream of a process, and an escape of JSON has six bytes at most.
_LONGEST_BYTES = 16 * 2**20


def read_answers(run: Path, record: TrialRecord) -> tuple[SampleAnswer, ...]:
    """Return what a trial answered, in the order of its samples; nothing of another trial.

    Raises JournalError where the log is missing, or holds other answers than were written.
    """
    answers = None if record.measurement is None else record.measurement.answers
    if answers is None:
        return ()
    name = f"logs/{record.trial.trial_id}.txt"
    # it imports numpy, which most reports do without
    from orchestrator.measures.accuracy import wire  # noqa: PLC0415

    try:
        data = plain_files.read(run, name, most_bytes=_LONGEST_BYTES)
        stdout = stdout_of(data.decode("utf-8", errors="replace"))
        lines = wire.lines_of(stdout)
        told = child_output.only(stdout.splitlines(), child_output.RESULT).get("answered")
        found = wire.read_answers(lines, told if isinstance(told, list) else [], answers.first)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise _unscored(run / name, str(why)) from exc
    if wire.digest_of(lines) != answers.digest:
        raise _unscored(run / name, "its answers are not those that the journal tells of")
    return found


def _unscored(path: Path, why: str) -> JournalError:
    return JournalError(f"{path}: cannot be scored ({why}); restore the log from a copy")
