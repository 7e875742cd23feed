"""What the agent says when it cannot go on, and the exit code that goes with it."""

from __future__ import annotations

import errno

EXIT_FAILED = 2
EXIT_HELD = 3
EXIT_WRONG_BYTES = 4
EXIT_NO_SPACE = 5
#: What is in the way may be gone in a minute: worth another try. The number is sysexits' own.
EXIT_PASSING = 75

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
#: A machine that is short of something, which may come back.
SHORTAGE = (*NO_SPACE, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class AgentError(Exception):
    """The command ends: ``message`` goes to stderr, ``exit_code`` to the caller."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
