"""What a node's Python can load: platform tags of wheels, and environment markers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ArtifactError

_VERSION = re.compile(r"3\.(\d{1,2})\.\d{1,2}[A-Za-z0-9.+]{0,20}")
_LIBC = re.compile(r"(glibc|musl) (\d)\.(\d{1,3})(?:\.\d{1,3})?")
_MACHINE = re.compile(r"[a-z0-9_]{1,20}")
#: What a 32-bit Python on a 64-bit kernel can load.
_NARROW = {"x86_64": "i686", "aarch64": "armv7l", "armv8l": "armv7l"}
_MACHINES_OF_32_BITS = ("i386", "i586", "i686", "armv6l", "armv7l", "armv8l")
#: What ``expect:`` has to say of a node that nobody can ask, for runtimes to be chosen for it.
STATED = ("architecture", "python", "libc")
#: The first glibc 2.x for which there may be wheels, of machines that are older than manylinux2014.
_OLDEST_GLIBC = {"x86_64": 5, "i686": 5}
_MANYLINUX2014 = 17
_NAMED = {_MANYLINUX2014: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class SiteTarget:
    """One kind of node. ``machine`` is that of its programs, ``markers`` what requirements ask."""

    python: str
    machine: str
    libc: tuple[str, int, int]
    markers: Mapping[str, str]

    def __str__(self) -> str:
        name, major, minor = self.libc
        return f"CPython {self.python} on {self.machine} with {name} {major}.{minor}"

    @property
    def tag(self) -> str:
        """The Python's tag, such as ``cp311``."""
        return "cp" + self.python.replace(".", "")

    @property
    def key(self) -> str:
        """What tells targets apart that may need different wheels."""
        name, major, minor = self.libc
        return f"{self.tag}-{name}{major}.{minor}-{self.machine}"

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags of wheels that can be loaded, the preferred ones first."""
        name, major, newest = self.libc
        tags = [f"linux_{self.machine}"]  # of an index of the user's own
        if name == "musl":
            musl = (f"musllinux_{major}_{m}_{self.machine}" for m in range(newest, -1, -1))
            return (*tags, *musl)
        oldest = _OLDEST_GLIBC.get(self.machine, _MANYLINUX2014)
        for minor in range(newest, oldest - 1, -1):
            tags.append(f"manylinux_{major}_{minor}_{self.machine}")
            if minor in _NAMED:
                tags.append(f"{_NAMED[minor]}_{self.machine}")
        return tuple(tags)


def target_of(facts: Mapping[str, Any]) -> SiteTarget:
    """The target that a node's facts describe.

    Raises ArtifactError where they do not tell, or no wheels are made for such a node.
    """
    system, python = _part(facts, "system"), _part(facts, "python")
    version, architecture = str(python.get("version")), str(system.get("architecture"))
    match, libc = _VERSION.fullmatch(version), _LIBC.fullmatch(str(system.get("libc")))
    # an agent of before these were told of ran under CPython with the GIL, as good as always
    implementation = str(python.get("implementation") or "CPython")
    if implementation != "CPython" or python.get("free_threaded") is True:
        kind = "a Python without the GIL" if implementation == "CPython" else implementation[:40]
        raise ArtifactError(
            f"it runs {kind}, for which runtimes are not built; name an ordinary CPython with "
            f"`python:` in the inventory"
        )
    if match is None or libc is None or not _MACHINE.fullmatch(architecture):
        raise ArtifactError(
            f"it does not say what its Python can load (Python {version[:40]}, "
            f"{architecture[:40]}, C library {str(system.get('libc'))[:40]}); install the runtime "
            f"there, or give a binary in the inventory"
        )
    minor = f"3.{int(match[1])}"
    return SiteTarget(
        python=minor,
        machine=_NARROW.get(architecture, architecture)
        if python.get("bits") == 32
        else architecture,
        libc=(libc[1], int(libc[2]), int(libc[3])),
        markers={
            "implementation_name": "cpython",
            "implementation_version": version,
            "os_name": "posix",
            "platform_machine": architecture,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": version,
            "python_version": minor,
            "sys_platform": "linux",
        },
    )


def stated_facts(expect: Mapping[str, Any]) -> dict[str, dict[str, Any]] | None:
    """What ``expect:`` says of a node, as facts for :func:`target_of`; None where it lacks some.

    What it leaves open is the usual: CPython with the GIL, as many bits as the machine has. A
    version without its patch release is taken for the first, since requirements of old ones alone
    are then met as well.
    """
    if any(name not in expect for name in STATED):
        return None
    architecture, version = str(expect["architecture"]), str(expect["python"])
    usual = {
        "bits": 32 if architecture in _MACHINES_OF_32_BITS else 64,
        "implementation": "CPython",
        "free_threaded": False,
    }
    return {
        "system": {"architecture": architecture, "libc": str(expect["libc"])},
        "python": {
            **{name: expect.get(name, value) for name, value in usual.items()},
            "version": version if version.count(".") > 1 else f"{version}.0",
        },
    }


def _part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = facts.get(name)
    return part if isinstance(part, Mapping) else {}
