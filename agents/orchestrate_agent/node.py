"""The node that trials run on, as the daemon sees it: this machine, or one that it speaks for."""

from __future__ import annotations

import threading
from typing import (
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

from orchestrate_agent.children.probe import probe
from orchestrate_agent.machine import facts, health, survey
from orchestrate_agent.machine.lock import MachineLock
from orchestrate_agent.process.launch import base_environment, find_executable
from orchestrate_agent.process.trial import Ending, Process
from orchestrate_agent.protocol import Json
from orchestrate_agent.sysfs import Tree


class Blobs(Protocol):
    """The files that were pushed there. The methods but ``present`` raise DamagedBlobError."""

    def present(self, blobs: Iterable[str]) -> FrozenSet[str]: ...
    def path(self, sha256: str) -> str: ...
    def executable(self, sha256: str) -> str: ...


class Lock(Protocol):
    """See :class:`orchestrate_agent.machine.lock.MachineLock`."""

    def acquire(self, given_up: Callable[[], bool]) -> Optional[str]: ...
    def release(self) -> None: ...


class Command(NamedTuple):
    """What a trial runs, its placeholders replaced; ``env`` is its own part of the environment."""

    argv: Tuple[str, ...]
    env: Dict[str, str]
    timeout_s: float
    cpus: Optional[Tuple[int, ...]]
    exclusive: bool
    name: str


class Node(Protocol):
    """The machine that trials run on. Where it is another machine, everything but :meth:`process`
    raises DeviceLostError."""

    @property
    def blobs(self) -> Blobs: ...
    @property
    def tree(self) -> Tree:
        """The files that describe it."""
        ...

    def facts(self) -> Json: ...
    def probe(self, python: str, runtimes: Sequence[str]) -> Json: ...
    def health(self) -> Json: ...
    def lock(self, changed: threading.Condition) -> Lock: ...
    def lock_holder(self) -> Optional[Json]:
        """Tell who has that lock: {pid, user, name}; None where nobody has it, or nobody can
        tell."""
        ...

    def process(self, command: Command, folder: str) -> Process:
        """Bring the command's process to its gate, in ``folder``, which is its own. Raises
        StartError."""
        ...

    def ended(self, ending: Ending, process: Process, folder: str) -> Ending:
        """Return how the command ended there, given how the process here did."""
        ...


class ThisNode:
    """The machine that the agent runs on."""

    def __init__(self, blobs: Blobs, root: str = "/") -> None:
        """``root`` is where the files are that describe the machine; a test has its own."""
        self.blobs = blobs
        self.tree = Tree(root)

    def facts(self) -> Json:
        return facts.collect()

    def probe(self, python: str, runtimes: Sequence[str]) -> Json:
        return probe(python, runtimes)

    def health(self) -> Json:
        return health.of_machine(self.tree)

    def lock(self, changed: threading.Condition) -> Lock:
        return MachineLock(changed)

    def lock_holder(self) -> Optional[Json]:
        holder: Optional[Json] = survey.lock(self.tree)["holder"]
        return holder

    def process(self, command: Command, folder: str) -> Process:
        env = {**base_environment(), "TMPDIR": folder, **command.env}
        return Process(
            (find_executable(command.argv[0], env["PATH"]), *command.argv[1:]),
            env=env,
            cwd=folder,
            timeout_s=command.timeout_s,
            cpus=command.cpus,
            name=command.name,
        )

    def ended(self, ending: Ending, process: Process, folder: str) -> Ending:
        return ending
