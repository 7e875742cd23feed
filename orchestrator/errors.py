"""Every exception this package raises on purpose.

::

    OrchestrateError
    ├── UsageError              what the user wrote is wrong; nothing was touched      (exit 2)
    │   ├── ConfigError         … in a YAML file, at a line and column
    │   └── RunNotFoundError    … there is no such run in results/
    ├── ModelBuildError         a model could not be built, inspected or found
    ├── ArtifactError           bytes are not what their hash says, or cannot be had
    ├── JournalError            a run on disk cannot be read or is in use
    ├── NoDeviceReachedError    not one device answered; nothing was measured          (exit 3)
    └── DeviceError             one device; the others go on
        ├── TransientDeviceError    the way there broke; worth another try
        └── PermanentDeviceError    trying again cannot help
            ├── HostKeyError            unknown or changed host key
            ├── AuthenticationError     the device does not let us in
            └── AgentError              the agent there refuses, or does not speak our protocol

A message names the place and the next step. Third-party exceptions are translated at the
boundary, ``raise Ours(...) from exc``. Only ``TransientDeviceError`` is ever retried, and while
devices measure ``JournalError``, since a disk that is full may get room again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class OrchestrateError(Exception):
    """Base of everything this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # the default calls the class with the text alone, and ours want more than that: an error
        # has to survive the way from another process
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[OrchestrateError], arguments: Any, state: Any) -> OrchestrateError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(state)
    return error


class UsageError(OrchestrateError):
    """What the user asked for cannot be done as written; nothing was touched."""


class ConfigError(UsageError):
    """A YAML file is wrong at a place.

    ``line`` and ``column`` count from 1; ``None`` where the whole file is meant.
    """

    def __init__(
        self, message: str, *, path: Path, line: int | None = None, column: int | None = None
    ) -> None:
        self.message = message
        self.path = path
        self.line = line
        self.column = column
        place = str(path)
        if line is not None:
            place += f":{line}"
            if column is not None:
                place += f":{column}"
        super().__init__(f"{place}: {message}")


class RunNotFoundError(UsageError):
    """There is no such run."""


class ModelBuildError(OrchestrateError):
    """A model could not be built, inspected or found."""


class ArtifactError(OrchestrateError):
    """Bytes are not what their hash says, or cannot be had."""


class JournalError(OrchestrateError):
    """A run on disk cannot be read, or another process is writing it."""


class NoDeviceReachedError(OrchestrateError):
    """Not one device could be reached; nothing was measured."""


class DeviceError(OrchestrateError):
    """One device failed; the others go on.

    ``device`` is its name in the inventory, ``reason`` what happened; the text has both.
    """

    def __init__(self, message: str, *, device: str) -> None:
        self.device = device
        self.reason = message
        super().__init__(f"{device}: {message}")


class TransientDeviceError(DeviceError):
    """The way to the device broke; another try may succeed."""


class PermanentDeviceError(DeviceError):
    """Trying again cannot help; somebody has to change something first."""


class HostKeyError(PermanentDeviceError):
    """The host key is unknown or has changed; the message holds the command to accept it."""


class AuthenticationError(PermanentDeviceError):
    """The device does not let us in with the keys we have."""


class AgentError(PermanentDeviceError):
    """The agent refuses a request, or does not speak our protocol."""
