"""What is wrong is said where it is wrong: `bad/X.yaml` is answered with `bad/X.txt`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config import Inventory, Suite, load_inventory, load_suite
from orchestrator.errors import ConfigError

BAD = Path(__file__).parent.parent.parent / "data" / "config" / "bad"
FILES = sorted(BAD.glob("*.yaml"))


def load(path: Path) -> Inventory | Suite:
    if path.name.startswith("inventory-"):
        return load_inventory(path)
    return load_suite(str(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bad_file_is_answered_with_place_and_remedy(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).replace(str(path), path.name) + "\n" == (
        path.with_suffix(".txt").read_text(encoding="utf-8")
    )


def test_there_are_bad_files_and_each_has_its_answer() -> None:
    assert len(FILES) > 100
    assert {path.stem for path in BAD.glob("*.txt")} == {path.stem for path in FILES}


def test_the_exception_carries_the_first_place_and_every_problem_has_one() -> None:
    path = BAD / "inventory-several.yaml"
    with pytest.raises(ConfigError) as caught:
        load_inventory(path)
    assert (caught.value.path, caught.value.line, caught.value.column) == (path, 1, 1)
    lines = str(caught.value).splitlines()
    places = [re.match(re.escape(str(path)) + r":(\d+):(\d+): ", line) for line in lines]
    assert len(lines) == 5
    assert all(places)


def test_no_secret_is_repeated_in_a_message() -> None:
    answers = [p.with_suffix(".txt").read_text() for p in FILES if "secret" in p.name]
    assert len(answers) == 3
    assert not any("hunter2" in answer for answer in answers)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#" * (1024 * 1024 + 1), "larger than 1 MiB"),
        (b"devices: " + b"[" * 100_000, "nested deeper than 32 levels"),
        (b"- " * 100_000, "nested deeper than 32 levels"),
        (b"a:\n" + b"- x\n" * 60_000, "more than 50000 values"),
        (b"%YAML 1." + b"1" * 5000 + b"\n---\na: b\n", "not YAML"),
        (b"devices: [{name: " + b"1" * 5000 + b", transport: local}]", "quote it"),
        (b"k" * 100_000 + b": 1\ndevices: []\n", "not YAML"),
    ],
    ids=["size", "flow depth", "block depth", "values", "directive", "digits", "long key"],
)
def test_a_hostile_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_inventory(path)
    assert len(str(caught.value)) < 1000


def test_no_file_a_folder_and_an_impossible_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_inventory(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="this is a folder"):
        load_inventory(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_inventory(Path("a\0b"))


def refuses_or_reads(folder: Path, content: bytes) -> None:
    """Whatever a file holds: it is read, or it is refused with a message; nothing else."""
    for name in ("inventory-x.yaml", "suite-x.yaml"):
        path = folder / name
        path.write_bytes(content)
        try:
            json.dumps(load(path).to_json())
        except ConfigError as exc:
            assert str(exc).startswith(str(path))
            str(exc).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@given(content=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes(folder: Path, content: bytes) -> None:
    refuses_or_reads(folder, content)


YAML_PIECES = st.sampled_from(
    [
        *("devices", "name", "transport", "ssh", "local", "models", "schemes", "float32", "here"),
        *("protocol", "expect", "defaults", "cpus", "<<", "*a", "&a ", "gateway", "host"),
        *(":", ": ", "- ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ",", "? ", "| ", "> ", "#"),
        *('"', "'", "!!", "!", "%", "---\n", "...\n", "\t", "\\U", "\\x", "~", "012", "1e999"),
        *("yes", ".nan", "-1", "\u2028", "\x85", "\ufeff", "é", "@", "`"),
    ]
)


@given(pieces=st.lists(YAML_PIECES, max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_sequence_of_yaml_pieces(folder: Path, pieces: list[str]) -> None:
    refuses_or_reads(folder, "".join(pieces).encode())


KEYS = st.sampled_from(
    [
        *(*Inventory.model_fields, *Suite.model_fields, "defaults", "nonsense"),
        *("transport", "host", "port", "user", "key_file", "gateway", "python", "expect", "cpus"),
        *(
            "benchmark_model",
            "exec",
            "serial",
            "connect_timeout",
            "workdir",
            "exclusive",
            "url",
            "sha256",
        ),
        *("lease_ends", "retry_for", "answer_within"),
        *("pin", "tune", "energy", "grid_gco2_per_kwh", "gate", "load", "temperature", "timeout"),
        *("threads", "delegate", "isa", "batch", "blocks", "precision", "budget", "steady", "runs"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [
            "local",
            "ssh",
            "exec",
            "adb",
            "bundle",
            "a",
            "b",
            "float32",
            "resnet50",
            "6:20",
            "5m",
            "~x",
        ]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
DEVICES = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["a", "b", "c"]), "transport": st.sampled_from(["local", "ssh"])},
        optional={
            "gateway": st.sampled_from(["a", "b", "c", "u@h"]),
            "cpus": VALUES,
            "tune": VALUES,
            "grid_gco2_per_kwh": VALUES,
            "lease_ends": VALUES,
            "host": VALUES,
        },
    ),
    max_size=3,
)


@given(document=st.one_of(VALUES, st.fixed_dictionaries({"devices": DEVICES, "defaults": VALUES})))
@settings(max_examples=300, deadline=None)
def test_any_structure(folder: Path, document: object) -> None:
    # JSON is YAML, but for NaN and Infinity, which then are words like any other
    refuses_or_reads(folder, json.dumps(document).encode())
