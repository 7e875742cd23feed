"""``orchestrate completion``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from orchestrator.commands.shared import Arguments, becomes

HELP = (
    "Print what makes a shell complete commands, options, devices, suites, models and runs: "
    '`eval "$(orchestrate completion bash)"` in ~/.bashrc, the same with zsh in ~/.zshrc (below '
    "compinit), `orchestrate completion fish | source` in fish's config."
)


@dataclass(frozen=True, kw_only=True)
class CompletionArguments(Arguments):
    """What ``orchestrate completion`` was told."""

    ANSWERED_BY = "completion:answer"

    shell: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    becomes(parser, CompletionArguments)
