"""Site bundles: which wheels a node can load, chosen by the real pip from wheels made here."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging import tags

from orchestrate_agent.machine import facts
from orchestrator.artifacts.sites import provide_site, stored_site, target_of
from orchestrator.errors import ArtifactError
from orchestrator.frameworks.registry import library
from orchestrator.runtimes import parse_runtime

LITERT = parse_runtime("ai-edge-litert==2.3.0")


def node(version: str = "3.11.2", machine: str = "aarch64", **system: Any) -> dict[str, Any]:
    """The facts of a node."""
    return {
        "system": {"architecture": machine, "libc": "glibc 2.31", **system},
        "python": {"version": version, "bits": 64, "implementation": "CPython"},
    }


def a_wheel(folder: Path, file: str, requires: Sequence[str] = ()) -> None:
    """A wheel with one module, named for its tags, and a command."""
    name, version, *_ = file.split("-")
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    members = {
        f"{name}/__init__.py": f"FILE = {file!r}\n",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nTag: {file[:-4].split('-', 2)[2]}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(
        f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in members.items()
    )
    with zipfile.ZipFile(folder / file, "w") as wheel:
        for path, text in {**members, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(path, text)


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip knows."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    arm, intel = "manylinux2014_aarch64", "manylinux_2_17_x86_64"
    needs = [
        "helper>=1",
        'old-python; python_version < "3.11"',
        'for-arm; platform_machine == "aarch64"',
        'for-intel; platform_machine == "x86_64"',
    ]
    for python in ("cp39", "cp311"):
        a_wheel(folder, f"ai_edge_litert-2.3.0-{python}-{python}-{arm}.whl", needs)
        a_wheel(folder, f"ai_edge_litert-2.3.0-{python}-{python}-{intel}.whl", needs)
    a_wheel(folder, f"ai_edge_litert-2.2.0-cp312-cp312-{intel}.whl", needs)
    a_wheel(folder, "ai_edge_litert-2.4.0-cp311-cp311-manylinux_2_39_aarch64.whl", needs)
    for name in ("helper", "old_python", "for_arm", "for_intel"):
        a_wheel(folder, f"{name}-1.0-py3-none-any.whl")
    return folder


def contents(path: Path) -> Mapping[str, zipfile.ZipInfo]:
    with zipfile.ZipFile(path) as bundle:
        return {member.filename: member for member in bundle.infolist()}


def test_the_tags_of_this_machine_are_those_that_packaging_finds() -> None:
    target = target_of(facts.collect())
    assert target.tag == f"cp{''.join(platform.python_version_tuple()[:2])}"
    assert list(target.platforms) == list(tags.platform_tags())


@pytest.mark.parametrize(
    ("machine", "libc", "bits", "newest", "oldest"),
    [
        ("aarch64", "glibc 2.31", 64, "manylinux_2_31_aarch64", "manylinux2014_aarch64"),
        ("aarch64", "glibc 2.31", 32, "manylinux_2_31_armv7l", "manylinux2014_armv7l"),
        ("x86_64", "glibc 2.36", 32, "manylinux_2_36_i686", "manylinux1_i686"),
        ("x86_64", "musl 1.2.4", 64, "musllinux_1_2_x86_64", "musllinux_1_0_x86_64"),
    ],
)
def test_platforms_of_other_nodes(
    machine: str, libc: str, bits: int, newest: str, oldest: str
) -> None:
    told = node(machine=machine, libc=libc)
    told["python"]["bits"] = bits
    found = target_of(told).platforms
    assert (found[1], found[-1]) == (newest, oldest)


@pytest.mark.parametrize(
    "changes",
    [
        {"python": {"version": "3.11.2", "implementation": "PyPy"}},
        {"python": {"version": "3.13.0", "free_threaded": True}},
        {"python": {"version": "3.11 --pre"}},
        {"system": {"architecture": "--index-url=evil", "libc": "glibc 2.31"}},
        {"system": {"architecture": "x86_64", "libc": None}},
        {"system": None},
    ],
)
def test_a_node_that_nothing_is_built_for_is_told_so(changes: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"python:|binary"):
        target_of({**node(), **changes})


def test_wheels_and_requirements_are_those_of_the_node_not_of_this_machine(
    index: Path, tmp_path: Path
) -> None:
    for version, machine, expected in (
        ("3.9.2", "aarch64", {"for-arm", "old-python"}),
        ("3.11.2", "aarch64", {"for-arm"}),
        ("3.9.2", "x86_64", {"for-intel", "old-python"}),
    ):
        site = provide_site(LITERT, (), target_of(node(version, machine)), tmp_path / "models")
        assert {p.name for p in site.packages} == {"ai-edge-litert", "helper", *expected}
        (own,) = (p for p in site.packages if p.name == "ai-edge-litert")
        assert machine in own.file and f"-cp3{version.split('.')[1]}-" in own.file
        assert own.sha256 == hashlib.sha256((index / own.file).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("runtime", "numpy"),
    [
        ("tflite-runtime==2.14.0", "1.26.4"),
        ("tflite-runtime", "1.26.4"),
        ("ai-edge-litert==1.0.1", "1.26.4"),
        ("ai-edge-litert==1.1.0", "2.1.0"),
        ("ai-edge-litert", "2.1.0"),
    ],
)
def test_what_was_built_against_numpy_1_gets_it(
    index: Path, tmp_path: Path, runtime: str, numpy: str
) -> None:
    for wheel in ("tflite_runtime-2.14.0", "ai_edge_litert-1.0.1", "ai_edge_litert-1.1.0"):
        a_wheel(index, f"{wheel}-cp311-cp311-manylinux2014_aarch64.whl", ["numpy>=1.23"])
    a_wheel(index, "ai_edge_litert-2.9.0-cp311-cp311-manylinux2014_aarch64.whl", ["numpy>=1.23"])
    for version in ("1.26.4", "2.1.0"):
        a_wheel(index, f"numpy-{version}-cp311-cp311-manylinux2014_aarch64.whl")
    asked = parse_runtime(runtime)
    known = library(asked.name)
    assert known is not None
    site = provide_site(asked, known.constraints, target_of(node()), tmp_path / "models")
    assert [p.version for p in site.packages if p.name == "numpy"] == [numpy]


def test_the_same_packages_are_the_same_bytes(index: Path, tmp_path: Path) -> None:
    target = target_of(node())
    one = provide_site(LITERT, (), target, tmp_path / "a")
    other = provide_site(LITERT, (), target, tmp_path / "b")
    assert one.sha256 == other.sha256 == hashlib.sha256(one.path.read_bytes()).hexdigest()
    members = contents(one.path)
    assert list(members) == sorted(members)
    assert {m.date_time for m in members.values()} == {(1980, 1, 1, 0, 0, 0)}
    assert "ai_edge_litert/__init__.py" in members
    # commands name this machine's interpreter
    assert not [name for name in members if name.startswith("bin/") or name.endswith("RECORD")]


def test_what_was_resolved_once_needs_no_index_and_stays(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, target = parse_runtime("ai-edge-litert"), target_of(node())
    first = provide_site(runtime, (), target, tmp_path)
    a_wheel(index, "ai_edge_litert-2.9.0-cp311-cp311-manylinux2014_aarch64.whl")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert provide_site(runtime, (), target, tmp_path) == first
    assert stored_site(first.sha256, tmp_path) == first.path

    first.path.write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=first.sha256):
        stored_site(first.sha256, tmp_path)
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    again = provide_site(runtime, (), target, tmp_path)
    assert again.loads == "ai-edge-litert 2.9.0"


def test_wheels_that_do_not_exist_give_those_that_do(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        provide_site(LITERT, (), target_of(node("3.12.1", "x86_64")), tmp_path)
    said = str(caught.value)
    assert "CPython 3.12 on x86_64 with glibc 2.31" in said
    assert "it is built for cp39, cp311" in said
    assert "that node can load 2.2.0" in said
    assert "`python:`" in said

    with pytest.raises(ArtifactError, match="for cp311 on manylinux_2_39_aarch64"):
        provide_site(parse_runtime("ai-edge-litert==2.4.0"), (), target_of(node()), tmp_path)
    (index / "helper-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ArtifactError, match=r"helper.*, which ai-edge-litert==2.3.0 needs"):
        provide_site(LITERT, (), target_of(node()), tmp_path)
    assert list((tmp_path / "sites").glob("*.zip")) == []
    assert list((tmp_path / "sites").glob("resolving-*")) == []


def test_versions_that_do_are_only_those_that_the_node_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a package index, where a wheel may say beside its tags which Pythons it runs on."""
    folder = tmp_path / "simple" / "ai-edge-litert"
    folder.mkdir(parents=True)
    platform_tag = "manylinux_2_17_x86_64"
    wheels = {
        f"ai_edge_litert-1.1.0-cp311-cp311-{platform_tag}.whl": ">=3.9",
        f"ai_edge_litert-1.2.0-cp39-abi3-{platform_tag}.whl": ">=3.9",
        f"ai_edge_litert-1.3.0-py3-none-{platform_tag}.whl": ">=3.9",
        # and not these: a newer stable ABI, a Python without the GIL, another platform, and one
        # that bars the Python though its tags fit
        f"ai_edge_litert-1.4.0-cp312-abi3-{platform_tag}.whl": ">=3.12",
        f"ai_edge_litert-1.5.0-cp311-cp311t-{platform_tag}.whl": ">=3.9",
        "ai_edge_litert-1.6.0-cp311-cp311-manylinux_2_17_armv7l.whl": ">=3.9",
        f"ai_edge_litert-1.7.0-py3-none-{platform_tag}.whl": ">=3.12",
    }
    links = []
    for file, needs in wheels.items():
        a_wheel(folder, file)
        needed = needs.replace(">", "&gt;")
        links.append(f'<a href="{file}" data-requires-python="{needed}">{file}</a>')
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")
    for name, value in (("CONFIG_FILE", "/dev/null"), ("INDEX_URL", folder.parent.as_uri())):
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ArtifactError) as caught:
        provide_site(LITERT, (), target_of(node("3.11.2", "x86_64")), tmp_path / "models")
    assert "that node can load 1.3.0, 1.2.0, 1.1.0. Ask" in str(caught.value)


def test_an_index_that_has_nothing(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no wheel of it, or cannot be reached"):
        provide_site(parse_runtime("tflite-runtime==2.14.0"), (), target_of(node()), tmp_path)


def test_a_record_that_cannot_be_read_is_named(index: Path, tmp_path: Path) -> None:
    target = target_of(node())
    provide_site(LITERT, (), target, tmp_path)
    lock = tmp_path / "sites.lock.json"
    document = json.loads(lock.read_bytes())
    (entry,) = document["sites"].values()
    entry["packages"] = [{"name": "x"}]
    lock.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=r"sites.lock.json: the entry of ai-edge-litert==2.3.0"):
        provide_site(LITERT, (), target, tmp_path)
    lock.write_text("{}")
    with pytest.raises(ArtifactError, match=r"sites.lock.json: cannot be read"):
        provide_site(LITERT, (), target, tmp_path)
