"""Builds the object that caps CPUID, once a compiler, and keeps it in ``models/isa/``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.artifacts.elf import HEADER_BYTES, check_executable
from orchestrator.artifacts.files import (
    locked,
    make_folder,
    partial_name,
    put_in_place,
    remove_partials,
    sha256_of,
    translated,
)
from orchestrator.errors import ArtifactError

SOURCE = Path(__file__).with_name("cap_cpuid.c")
#: What it includes.
HEADERS = (SOURCE.with_name("rewriting.h"), SOURCE.with_name("x86_length.h"))
PLATFORM = "linux_x86-64"

#: The last one is for controllers of another architecture.
COMPILERS = ("cc", "gcc", "clang", "x86_64-linux-gnu-gcc")

#: Of no C library, and before the constructors of every other object (``initfirst``).
_FLAGS = (
    "-m64", "-shared", "-fPIC", "-O2", "-ffreestanding", "-fno-builtin", "-nostdlib",
    "-fno-stack-protector", "-fcf-protection=none", "-mgeneral-regs-only",
    "-Wl,-z,initfirst", "-Wl,-z,noexecstack", "-Wl,-z,defs", "-Wl,--build-id=none",
)  # fmt: skip

_TIMEOUT_S = 60.0
_REMEDY = "install one on this machine (`apt install gcc`), or write `isa: [native]` in the suite"


@dataclass(frozen=True)
class CapObject:
    """The object as it is pushed."""

    path: Path
    sha256: str
    size_bytes: int


def build_cap_object(models_dir: Path, compilers: Sequence[str] = COMPILERS) -> CapObject:
    """The object, built with the first of ``compilers`` that can, or as it was built before.

    Raises ArtifactError, ``isa not available here: why``, where none can.
    """
    failures = []
    for name in compilers:
        compiler = shutil.which(name)
        if compiler is None:
            continue
        try:
            return _build_with(compiler, models_dir / "isa")
        except _CompileError as exc:
            failures.append(f"{name}: {exc}")
    why = "; ".join(failures) or f"there is no C compiler (looked for {', '.join(compilers)})"
    raise ArtifactError(f"isa not available here: {why}; {_REMEDY}")


class _CompileError(Exception):
    """This compiler cannot make the object; the message says why."""


def _build_with(compiler: str, folder: Path) -> CapObject:
    """Named by what it is made of: the source, the flags and the compiler's own version."""
    sources = [path.read_text(encoding="utf-8") for path in (SOURCE, *HEADERS)]
    parts = (*sources, *_FLAGS, _output(compiler, "--version"))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    path = folder / f"cap_cpuid-{key[:16]}.so"
    make_folder(folder)
    with locked(folder / ".lock"):
        if not path.exists():
            remove_partials(folder)
            _compile(compiler, path)
        with translated(path):
            return CapObject(path, sha256_of(path), path.stat().st_size)


def _compile(compiler: str, path: Path) -> None:
    partial = partial_name(path)
    try:
        _output(compiler, *_FLAGS, "-o", str(partial), str(SOURCE))
        with translated(partial), partial.open("rb") as file:
            header = file.read(HEADER_BYTES)
        try:
            check_executable(header, PLATFORM, "what it makes")
        except ArtifactError as exc:
            raise _CompileError(str(exc)) from exc
        with translated(path):
            put_in_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _output(compiler: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [compiler, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise _CompileError(f"{compiler} cannot be run ({exc})") from exc
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-300:]
        raise _CompileError(f"it cannot build cap_cpuid.c: {said or done.returncode}")
    return done.stdout
