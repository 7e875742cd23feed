"""``logs/<trial-id>.txt``: a trial's raw output with what is needed to read it again.

A few ``# name: value`` lines (JSON values), then each stream after a line that says how many
characters it has, so that whatever a runner prints cannot be mistaken for our own lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator import plain_files
from orchestrator.frameworks.reading import child_output
from orchestrator.frameworks.runner import Evidence
from orchestrator.runs.passing_on import argv_to_keep
from orchestrator.runs.records import TrialRecord

#: The first such line is ours: above it stand values in JSON, which have no line breaks.
_STDOUT = re.compile(r"^# stdout, ([0-9]{1,12}) characters:\n", re.MULTILINE)
#: A child's log has some kilobytes; what is much longer is not read.
_LONGEST_BYTES = 4_000_000
_STEADY = re.compile(r"^# steady_us: (\[.*\])$", re.MULTILINE)


def render(
    argv: Sequence[str],
    evidence: Evidence,
    power: Mapping[str, Any] | None = None,
    steady_us: Sequence[float] = (),
) -> str:
    """The log's text. ``argv`` is the command as submitted, blobs by hash and our own Python
    by a placeholder; ``power`` the readings of the device's meter, where it has one (see
    ``orchestrate_agent.protocol``); ``steady_us`` the single times of the steady phase, where the
    output does not hold them in the form of our own children."""
    head: dict[str, Any] = {
        "argv": argv_to_keep(argv),
        "exit_code": evidence.exit_code,
        "signal": evidence.signal,
        "timed_out": evidence.timed_out,
        "oom_killed": evidence.oom_killed,
        "oom_memory": evidence.oom_memory,
        "wall_s": evidence.wall_s,
        "stdout_bytes": evidence.stdout_bytes,
        "stderr_bytes": evidence.stderr_bytes,
    }
    if evidence.launch is not None:
        head["launch"] = evidence.launch
    if power is not None:
        head["power"] = power
    if steady_us:
        head["steady_us"] = list(steady_us)
    lines = [f"# {name}: {json.dumps(value)}" for name, value in head.items()]
    for name, text in (("stdout", evidence.stdout), ("stderr", evidence.stderr)):
        lines += [f"# {name}, {len(text)} characters:", text]
    return "\n".join(lines) + "\n"


def stdout_of(log: str) -> str:
    """What the runner printed, out of a log's text; empty where there is none in it."""
    match = _STDOUT.search(log)
    return "" if match is None else log[match.end() : match.end() + int(match[1])]


def single_times(steady_us: Sequence[float]) -> str:
    """The line that a log of somebody else's begins with, where its single times were read."""
    return f"# steady_us: {json.dumps(list(steady_us))}\n"


def read_times(folder: Path, record: TrialRecord) -> tuple[float, ...]:
    """Read the single times of a trial's steady phase out of its log in a run's folder, in µs; none
    where the log is missing, is not a plain file or does not tell them."""
    try:
        return steady_us_of(read_log(folder, record.trial.trial_id))
    except OSError:
        return ()


def read_log(folder: Path, trial_id: str) -> str:
    """Read a trial's log. Raises OSError where it is missing, enormous or not a plain file."""
    data = plain_files.read(folder, f"logs/{trial_id}.txt", most_bytes=_LONGEST_BYTES)
    return data.decode("utf-8", errors="replace")


def steady_us_of(log: str) -> tuple[float, ...]:
    """The single times of the steady phase, out of a log's text; empty where it does not tell.

    They are what was read when the trial ended: nothing of the runner's is interpreted again.
    """
    match = _STDOUT.search(log)
    head = log[: match.start()] if match is not None else log
    found = _STEADY.search(head)
    try:
        if found is not None:
            told = {"steady_us": json.loads(found[1])}
        else:
            told = child_output.only(stdout_of(log).splitlines(), child_output.RESULT)
        return tuple(child_output.times_of(told, "steady_us"))
    except (ValueError, RecursionError):
        return ()
