"""Has this machine's pip choose and unpack the wheels of a requirement for another machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from orchestrator.artifacts.constraint import Constraint
from orchestrator.artifacts.sites.target import SiteTarget
from orchestrator.errors import ArtifactError
from orchestrator.runtimes import Runtime

_SCRIPT = Path(__file__).with_name("pip_for_target.py")
_TIMEOUT_S = 3600.0
_WHEEL = re.compile(r"[A-Za-z0-9_.]+-[A-Za-z0-9_.!+]+(?:-[A-Za-z0-9_.]+){3,4}\.whl")
#: Of a wheel whose tags would fit, and which says itself that it does not.
_OTHER_PYTHON = "requires a different Python"
_NONE_FOUND = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+[<>=!~0-9.,+a-z]*)")


@dataclass(frozen=True, order=True)
class Package:
    """One wheel of a bundle: ``file`` as the index names it, and the hash of its bytes."""

    name: str
    version: str
    file: str
    sha256: str


def resolve(
    runtime: Runtime, target: SiteTarget, folder: Path, constraints: Iterable[Constraint]
) -> tuple[Package, ...]:
    """Put everything that ``runtime`` needs into ``folder``; returns what that is, sorted.

    Raises ArtifactError with the versions and Pythons that there are wheels for.
    """
    report = folder.with_name(f"{folder.name}.report.json")
    needed = [each.requirement for each in constraints if _holds(each, runtime)]
    wanted = (str(runtime), *needed)
    try:
        done = _pip(target, folder, "--report", str(report), *wanted)
        if done.returncode != 0:
            raise ArtifactError(_why_not(runtime, target, folder, done, wanted))
        try:
            installed = json.loads(report.read_bytes())["install"]
            packages = tuple(sorted(_package(item) for item in installed))
            missing = list(_missing(installed, target))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
            raise ArtifactError(
                f"pip's report cannot be read ({exc!r}); `{sys.executable} -m pip install -U pip`"
            ) from exc
    finally:
        report.unlink(missing_ok=True)
    if missing:
        raise ArtifactError(
            f"pip left out what {runtime} needs on {target}: {', '.join(missing[:5])}; "
            f"`{sys.executable} -m pip install -U pip` and try again"
        )
    return packages


def _holds(constraint: Constraint, runtime: Runtime) -> bool:
    if constraint.below is None:
        return True
    # not pinned, it is the newest
    return runtime.version is not None and Version(runtime.version) < Version(constraint.below)


def _pip(target: SiteTarget, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    platforms = (word for tag in target.platforms for word in ("--platform", tag))
    argv = [
        *(sys.executable, "-I", str(_SCRIPT), json.dumps(dict(target.markers)), "install"),
        *("--target", str(folder), "--no-compile", "--ignore-installed", "--no-input"),
        *("--only-binary", ":all:", "--implementation", "cp", "--python-version", target.python),
        *("--disable-pip-version-check", "--no-warn-conflicts", *platforms, *arguments),
    ]
    try:
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            # a `user = true` of pip's configuration contradicts --target
            env={**os.environ, "PIP_USER": "0"},
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ArtifactError(f"pip did not end within {_TIMEOUT_S:g} s; is the index slow?") from exc


def _package(item: Mapping[str, Any]) -> Package:
    download, metadata = item["download_info"], item["metadata"]
    archive = download["archive_info"]
    sha256 = (archive.get("hashes") or {}).get("sha256") or archive["hash"].partition("=")[2]
    # the name alone: an index's address may have a login in it
    file = unquote(urlsplit(download["url"]).path.rpartition("/")[2])
    return Package(canonicalize_name(metadata["name"]), metadata["version"], file, sha256)


def _missing(installed: Sequence[Mapping[str, Any]], target: SiteTarget) -> Iterator[str]:
    """Requirements that hold on the target, and that what was installed does not meet."""
    there = {
        canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"]
        for item in installed
    }
    environment = {**target.markers, "extra": ""}
    for item in installed:
        for text in item["metadata"].get("requires_dist") or ():
            try:
                needs = Requirement(text)
            except InvalidRequirement:
                continue  # pip has its own idea of it
            if needs.marker is not None and not needs.marker.evaluate(environment):
                continue
            version = there.get(canonicalize_name(needs.name))
            if version is None or not needs.specifier.contains(version, prereleases=True):
                yield f"{item['metadata']['name']} needs {text}"


# -- why not --------------------------------------------------------------------------------------


def _why_not(
    runtime: Runtime,
    target: SiteTarget,
    folder: Path,
    done: subprocess.CompletedProcess[str],
    wanted: Sequence[str],
) -> str:
    if "No module named 'pip" in done.stderr:
        return (
            f"{sys.executable} has no pip, which chooses and fetches the runtimes of devices; "
            f"`{sys.executable} -m ensurepip`"
        )
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    last = (said or done.stderr.strip().splitlines() or ["no word why"])[-1][:500]
    missing = _NONE_FOUND.search(done.stderr)
    if missing is None:
        return f"pip could not provide {runtime} for {target}: {last}"
    lacks = Requirement(missing[1])
    # only a run that tells every file it passes over says what there would be
    wheels = list(_wheels(lacks.name, _pip(target, folder, "-vvv", "--dry-run", *wanted).stdout))
    what = str(runtime)
    if canonicalize_name(lacks.name) != runtime.name:
        what = f"{lacks}, which {runtime} needs,"
    if not wheels:
        return (
            f"{what} for {target}: the package index has no wheel of it, or cannot be reached "
            f"({last}); `{sys.executable} -m pip index versions {lacks.name}` asks it"
        )
    return f"there is no {what} for {target}: {_what_there_is(lacks, target, wheels)}"


@dataclass(frozen=True)
class _Wheel:
    """A wheel that the index has. ``barred``: it says that it does not run on the node's Python."""

    version: Version
    tags: frozenset[Tag]
    barred: bool


def _wheels(name: str, text: str) -> Iterator[_Wheel]:
    lines = text.splitlines()
    barred = {f for line in lines if _OTHER_PYTHON in line for f in _WHEEL.findall(line)}
    for file in dict.fromkeys(_WHEEL.findall(text)):
        try:
            found, version, _, tags = parse_wheel_filename(file)
        except InvalidWheelFilename:
            continue
        if found == canonicalize_name(name):
            yield _Wheel(version, tags, file in barred)


def _what_there_is(lacks: Requirement, target: SiteTarget, wheels: Sequence[_Wheel]) -> str:
    known = _pythons(target)
    fitting = {
        wheel.version
        for wheel in wheels
        if not wheel.barred
        and any(
            (tag.interpreter, tag.abi) in known and tag.platform in ("any", *target.platforms)
            for tag in wheel.tags
        )
    }
    asked = [w.tags for w in wheels if lacks.specifier.contains(w.version, prereleases=True)]
    parts = []
    if asked:
        pythons = {t.interpreter for tags in asked for t in tags}
        platforms = {t.platform for tags in asked for t in tags if (t.interpreter, t.abi) in known}
        parts.append(f"it is built for {_listed(pythons)}")
        parts += [f"for {target.tag} on {_listed(platforms)}"] if platforms else []
    newest = sorted(fitting, reverse=True)[:8]
    other = ", ".join(map(str, newest)) or "no version at all"
    parts.append(f"that node can load {other}")
    return (
        f"{'; '.join(parts)}. Ask for what there is, or name an interpreter that it is built for "
        f"with `python:` in the inventory"
    )


def _pythons(target: SiteTarget) -> frozenset[tuple[str, str]]:
    """(interpreter, ABI) of the wheels that the node's Python loads, whatever their platform."""
    version = (3, int(target.python.partition(".")[2]))
    tags = [
        *cpython_tags(version, abis=[target.tag], platforms=["any"]),
        *compatible_tags(version, interpreter=target.tag, platforms=["any"]),
    ]
    return frozenset((tag.interpreter, tag.abi) for tag in tags)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words, key=lambda w: (len(w), w))[:12])
