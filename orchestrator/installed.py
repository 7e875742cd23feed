"""What is installed of the packages that this program uses: its dependencies, and its extras."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DISTRIBUTION = "orchestrate-quantized"
#: What the program itself needs, among the extras.
NEEDED = ""
#: Extras of whoever works on the program.
_FOR_DEVELOPERS = frozenset({"test", "docs"})


@dataclass(frozen=True)
class Package:
    """A package as it is wanted (``>=2.7``) and as it is here; ``version`` None: it is not."""

    name: str
    wanted: str
    version: str | None
    fits: bool

    @property
    def here(self) -> str:
        """``numpy 2.3.1``, or what is amiss."""
        if self.version is None:
            return f"{self.name} is missing"
        return f"{self.name} {self.version}" + ("" if self.fits else f" (needs {self.wanted})")


def packages() -> Mapping[str, tuple[Package, ...]]:
    """Return what each extra asks for, by its name; under :data:`NEEDED` what the program does.

    Empty where the program was not installed but is run from its folder.
    """
    try:
        about = importlib.metadata.metadata(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return {}
    extras = [each for each in about.get_all("Provides-Extra") or () if each not in _FOR_DEVELOPERS]
    found: dict[str, list[Package]] = {NEEDED: [], **{extra: [] for extra in extras}}
    for text in about.get_all("Requires-Dist") or ():
        wanted = Requirement(text)
        if canonicalize_name(wanted.name) == DISTRIBUTION:
            continue  # an extra that stands for others
        marker = wanted.marker
        if marker is None or marker.evaluate({"extra": NEEDED}):
            found[NEEDED].append(_package(wanted))
            continue
        for extra in extras:
            if marker.evaluate({"extra": extra}):
                found[extra].append(_package(wanted))
    return {extra: tuple(some) for extra, some in found.items()}


def _package(wanted: Requirement) -> Package:
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return Package(wanted.name, str(wanted.specifier), None, fits=False)
    fits = wanted.specifier.contains(version, prereleases=True)
    return Package(wanted.name, str(wanted.specifier), version, fits)
