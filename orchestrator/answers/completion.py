"""``orchestrate completion``: what a shell must know to complete our command lines.

argcomplete asks this program at every press of the key, so that names of devices, suites and runs
are those of the moment, in three shells from one function each (``names``). shtab writes the whole
grammar into the shell's own language beforehand, and would need each of these functions once more
in each shell's.
"""

from __future__ import annotations

from argcomplete.shell_integration import shellcode

from orchestrator.answer import Answer
from orchestrator.commands.completion import CompletionArguments

_PROGRAM = "orchestrate"


def answer(arguments: CompletionArguments) -> Answer:
    """Print the shell's code."""
    return Answer(shellcode([_PROGRAM], shell=arguments.shell).lstrip("\n"))
