"""What a framework says of itself is all that generic code needs: with the toy's among them, its
schemes, files and logs are known, and nobody else's are taken for its own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import Suite, load_suite
from orchestrator.config.scheme_names import promised
from orchestrator.config.user_models import split_name
from orchestrator.errors import ModelBuildError, UsageError
from orchestrator.factors import untold
from orchestrator.frameworks import registry
from orchestrator.frameworks.feeding import Asked
from orchestrator.frameworks.file_kinds import foreign_kind, inspect_any
from orchestrator.frameworks.files import Description, FileReader, InspectedFile
from orchestrator.frameworks.logs import LoggedProcess, LogReader
from orchestrator.frameworks.reading import judgement
from orchestrator.imports.logs import ImportHints, read_logs
from orchestrator.trial import InputSpec, Variant
from orchestrator.zoo import resolve
from tests import toy_framework

HEAD = b'{"toy": '


@dataclass(frozen=True)
class Loops:
    scheme: str
    size_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ToyFile(InspectedFile[Loops]):
    framework = toy_framework.FRAMEWORK
    kind = "a toy file"

    def describe(self) -> Description:
        return Description([f"scheme {self.contents.scheme}"], [])

    def feed(self, asked: Asked) -> tuple[InputSpec, ...]:
        return ()


def inspect(path: Path, _signature: str | None) -> ToyFile:
    data = path.read_bytes()
    return ToyFile(Loops(json.loads(data)["toy"], len(data), hashlib.sha256(data).hexdigest()))


READER = FileReader(
    recognises=lambda head: head.startswith(HEAD),
    inspect=inspect,
    built_scheme=lambda path, _scheme, _no_op: inspect(path, None).contents.scheme,
    foreign_marks=((0, b"CLOCKWORK", "is clockwork; wind it up"),),
)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FRAMEWORKS", (*registry.FRAMEWORKS, toy_framework.FRAMEWORK))


@pytest.fixture
def with_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_framework, "PARTS", replace(toy_framework.PARTS, files=READER))


def suite(folder: Path, models: str, runner: str = "abacus") -> Suite:
    path = folder / "mine.yaml"
    path.write_text(f"models: [{models}]\nrunner: {runner}\n")
    return load_suite(str(path), relative_to=folder)


def put(folder: Path, **files: str) -> None:
    for name, scheme in files.items():
        (folder / f"{name}.toy").write_text(json.dumps({"toy": scheme}))


def test_its_scheme_is_a_name_s_ending_and_promises_itself() -> None:
    assert split_name(Path("net_halved.toy")) == ("net", "halved")
    promise = promised("halved")
    assert promise is not None and promise("halved") and not promise("float32")


def test_without_a_reader_a_file_of_its_own_is_refused_by_what_it_is(tmp_path: Path) -> None:
    put(tmp_path, net="halved")
    with pytest.raises(ModelBuildError, match=r"net\.toy: is a file for Toy, .*orchestrate models"):
        inspect_any(tmp_path / "net.toy")


@pytest.mark.usefixtures("with_reader")
def test_with_a_reader_files_become_variants(tmp_path: Path) -> None:
    put(tmp_path, net="float32", net_halved="halved")
    found = resolve(suite(tmp_path, "{file: net.toy}"))
    assert set(found.artifacts) == {Variant("net", "float32"), Variant("net", "halved")}
    assert {artifact.framework for artifact in found.artifacts.values()} == {"toy"}


@pytest.mark.usefixtures("with_reader")
@pytest.mark.parametrize(
    ("runner", "why"),
    [
        ("litert", r"is a toy file and needs runner: abacus; this suite has `runner: litert`"),
        ("torch", r"is a toy file and needs runner: abacus; this suite has `runner: torch`"),
    ],
)
def test_its_file_needs_its_runner(tmp_path: Path, runner: str, why: str) -> None:
    put(tmp_path, net="float32")
    with pytest.raises(UsageError, match=why):
        resolve(suite(tmp_path, "{file: net.toy}", runner))


@pytest.mark.usefixtures("with_reader")
def test_what_is_near_its_files_is_named() -> None:
    assert foreign_kind(b"CLOCKWORK of 1801") == "is clockwork; wind it up"


def test_its_logs_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(name: str, text: str) -> list[LoggedProcess]:
        reading = judgement.failed(f"{name}: the beads are stuck")
        here = text.startswith("beads")
        return [LoggedProcess("line 1", text, untold("abacus"), reading, "net")] if here else []

    reader = LogReader(read, known_by="beads", takes="strings of beads")
    monkeypatch.setattr(toy_framework, "PARTS", replace(toy_framework.PARTS, logs=reader))
    hints = ImportHints("here", variant=Variant("net", "halved"))
    (figure,) = read_logs("a.log", "beads beads", hints).figures
    assert figure.factors.runner == "abacus" and figure.variant.scheme == "halved"
    assert figure.reading.reason == "a.log: the beads are stuck"
    with pytest.raises(UsageError, match=r"holds no output of .* or beads; give .*, strings of b"):
        read_logs("b.log", "nothing", hints)
