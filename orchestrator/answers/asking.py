"""One question to every device of a command at once, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from orchestrator.answer import ExitCode
from orchestrator.config import Device
from orchestrator.errors import AgentError, DeviceError, NoDeviceReachedError

T = TypeVar("T")


@dataclass(frozen=True)
class DeviceAnswer(Generic[T]):
    """One device and its answer, or why there is none; ``reached``: its agent said why."""

    device: str
    answer: T | None
    error: str | None
    reached: bool = True

    @property
    def trouble(self) -> str:
        """Says why there is no answer."""
        return f"{self.error}" if self.reached else f"not reached: {self.error}"


def ask_all(chosen: Sequence[Device], question: Callable[[Device], T]) -> Sequence[DeviceAnswer[T]]:
    """Ask every device at once. Raises NoDeviceReachedError where none answers."""

    def ask(device: Device) -> DeviceAnswer[T]:
        try:
            return DeviceAnswer(device.name, question(device), None)
        except DeviceError as exc:
            return DeviceAnswer(device.name, None, exc.reason, isinstance(exc, AgentError))

    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        asked = list(pool.map(ask, chosen))
    if not any(a.reached for a in asked):
        errors = [f"{a.device}: {a.error}" for a in asked]
        raise NoDeviceReachedError("\n".join(["no device could be reached", *errors]))
    return asked


def exit_code(asked: Sequence[DeviceAnswer[Any]]) -> ExitCode:
    return ExitCode.FAILED if any(a.answer is None for a in asked) else ExitCode.OK
