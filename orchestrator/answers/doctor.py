"""``orchestrate doctor``: what this machine has of what the program can use.

It looks at the controller alone; what a device lacks is for ``orchestrate devices`` to say.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.answer import Answer, ExitCode
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.commands.doctor import DoctorArguments
from orchestrator.frameworks import registry
from orchestrator.installed import DISTRIBUTION, NEEDED, Package, packages
from orchestrator.isa.build import COMPILERS
from orchestrator.report.grid import render_grid

#: What cannot be done without an extra that no framework builds its models with.
_COSTS: Mapping[str, str] = {
    "charts": "report.html has its tables, and no chart is drawn",
    "accuracy": "accuracy is measured on arrays (.npz) alone, not on images",
    "detection": "the accuracy of detectors is not measured",
    "ansible": "`inventory --from ansible` cannot ask Ansible for its hosts",
    "openstack": "`inventory --from openstack` and `--from chameleon` cannot ask for servers",
    "dask": "`run --engine dask` has no cluster to go through",
}
#: Room for the models of the suite that ships for a first run, its logs, and what builds them.
_LEAST_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Check:
    """One thing: whether it is ``here``, what was found, and what its lack costs and mends.

    ``grave``: without it the program does not do its work.
    """

    group: str
    name: str
    here: bool
    found: str
    cost: str = ""
    remedy: str = ""
    grave: bool = False


def answer(arguments: DoctorArguments) -> Answer:
    """List every check; FAILED where something is missing without which nothing is measured."""
    checks = [
        *_packages(),
        *_programs(),
        _disk("results", arguments.results),
        _disk("models", arguments.models),
    ]
    wrong = any(check.grave and not check.here for check in checks)
    code = ExitCode.FAILED if wrong else ExitCode.OK
    if arguments.json:
        document = {"format": 1, "checks": [asdict(check) for check in checks]}
        return Answer(json.dumps(document, indent=1) + "\n", code)
    return Answer("".join(_lines(checks)), code)


def _lines(checks: Sequence[Check]) -> Iterator[str]:
    rows = [
        ("✓" if each.here else "✗" if each.grave else "–", each.group, each.name, each.found,
         "" if each.here else f"{each.cost}: {each.remedy}" if each.remedy else each.cost)
        for each in checks
    ]  # fmt: skip
    header = ("", "kind", "name", "here", "without it")
    yield render_grid(header, rows, width=answer_width(), color=colour_wanted(), wrapped=2)
    lacking = [each.name for each in checks if not each.here and not each.grave]
    grave = [each.name for each in checks if not each.here and each.grave]
    if grave:
        yield f"✗ nothing is measured before this is mended: {', '.join(grave)}\n"
    if lacking:
        yield f"– left out, and needed for what stands beside it alone: {', '.join(lacking)}\n"
    yield "Devices are looked at by `orchestrate devices --inventory FILE`.\n"


# -- packages -------------------------------------------------------------------------------------


def _packages() -> Iterator[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("needed", "Python", here=True, found=f"{python}, {sys.executable}", grave=True)
    for extra, some in packages().items():
        amiss = [each for each in some if not each.fits]
        if extra == NEEDED:
            yield Check(
                "needed",
                "packages",
                here=not amiss,
                found=_said(amiss) if amiss else f"all {len(some)}",
                cost="parts of the program do not start",
                remedy=_install(),
                grave=True,
            )
        else:
            yield Check(
                "extra",
                extra,
                here=not amiss,
                found=_said(amiss or some),
                cost=cost_of(extra, some),
                remedy=_install(extra),
            )


def _said(some: Sequence[Package]) -> str:
    return ", ".join(each.here for each in some)


def _install(extra: str = "") -> str:
    return f"`pip install '{DISTRIBUTION}{f'[{extra}]' if extra else ''}'`"


def cost_of(extra: str, some: Sequence[Package]) -> str:
    """What cannot be done without an extra."""
    if extra in _COSTS:
        return _COSTS[extra]
    built = [each for each in registry.FRAMEWORKS if each.extra == extra]
    if built:
        label, suite = built[0].label, built[0].suite
        return f"{label} models are not built here (suite {suite}); files that are there are run"
    runtimes = [each.name for each in some if each.name in registry.runtime_names()]
    if runtimes:
        return (
            f"this machine measures with a runtime that is fetched first, not its own {runtimes[0]}"
        )
    return "what needs it says so"


# -- programs -------------------------------------------------------------------------------------


def _programs() -> Iterator[Check]:
    yield _program(
        "C compiler",
        COMPILERS,
        "older instruction sets (`isa:`) are not measured",
        "`apt install gcc`",
    )
    yield _program(
        "ssh-keyscan",
        ("ssh-keyscan",),
        "hosts are reached without it, but a new one's key is not accepted by the command that is "
        "named then",
        "`apt install openssh-client`",
    )
    agent = os.environ.get("SSH_AUTH_SOCK", "")
    yield Check(
        "program",
        "ssh-agent",
        here=bool(agent) and Path(agent).exists(),
        found="a socket" if agent else "none",
        cost="keys that have a passphrase are not used",
        remedy='`eval "$(ssh-agent)"` and `ssh-add`',
    )
    yield _program("adb", ("adb",), "Android devices are not reached", "`apt install adb`")
    yield Check(
        "program",
        "pip",
        here=importlib.util.find_spec("pip") is not None,
        found="a module of this Python" if importlib.util.find_spec("pip") else "none",
        cost="devices without a runtime are not given one",
        remedy="`python3 -m ensurepip`",
    )


def _program(name: str, commands: Sequence[str], cost: str, remedy: str) -> Check:
    found = next(filter(None, map(shutil.which, commands)), None)
    return Check("program", name, found is not None, found or "none", cost, remedy)


# -- disk -----------------------------------------------------------------------------------------


def _disk(name: str, folder: Path) -> Check:
    """The folder's room, or that of the nearest one above it which is there."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK | os.X_OK) and there.is_dir()
    gigabytes = f"{free / 1e9:.1f} GB free in {there}"
    if not writable:
        return Check(
            "disk", name, here=False, found=f"{there} cannot be written",
            cost="nothing can be kept", remedy=f"name another folder with --{name}", grave=True,
        )  # fmt: skip
    return Check(
        "disk",
        name,
        here=free >= _LEAST_BYTES,
        found=gigabytes,
        cost=f"a first run takes up to {_LEAST_BYTES / 1e9:.0f} GB",
        remedy=f"make room, or name another folder with --{name}",
        grave=True,
    )
