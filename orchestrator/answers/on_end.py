"""``run --on-end COMMAND``: the user's own program, told how the run ended.

The command is taken from the command line alone, never from a run's folder, and is started without
a shell: what a run or a device is called is a value in its environment and nothing else.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence

from orchestrator.answer import ExitCode
from orchestrator.errors import UsageError
from orchestrator.runs.directory import RunDirectory

#: Seconds that it may take; the answer waits for it.
LONGEST_S = 60.0
_STDERR = 2


def parse_command(text: str | None) -> tuple[str, ...]:
    """The words of the command; none where there is none. Raises UsageError where it cannot be
    started, which is better known before a run than at its end."""
    if text is None:
        return ()
    try:
        words = tuple(shlex.split(text))
    except ValueError as exc:
        raise UsageError(f"--on-end: {exc} in {text!r}") from exc
    if not words:
        raise UsageError("--on-end: no command; name a program, or leave it out")
    if shutil.which(words[0]) is None:
        raise UsageError(
            f"--on-end: there is no program {words[0]!r} that can be started; name one by its "
            f"path. No shell reads the command: for one write sh -c '...'"
        )
    return words


def start_command(
    words: Sequence[str],
    directory: RunDirectory,
    outcome: str,
    code: ExitCode,
    say: Callable[[str], None],
) -> None:
    """Start the command and wait for it; ``say`` is told where it did not end well."""
    if not words:
        return
    environment = {
        **os.environ,
        "ORCHESTRATE_RUN": str(directory.path.absolute()),
        "ORCHESTRATE_RUN_ID": directory.run_id,
        "ORCHESTRATE_OUTCOME": outcome,
        "ORCHESTRATE_EXIT_CODE": str(int(code)),
    }
    try:
        # its output goes with our messages: stdout has the answer alone
        done = subprocess.run(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        say(f"--on-end: {words[0]} took more than {LONGEST_S:.0f} s and was ended")
    except OSError as exc:
        say(f"--on-end: {words[0]} could not be started ({exc.strerror})")
    else:
        if done.returncode:
            say(f"--on-end: {words[0]} ended with {done.returncode}")
