"""The JSON Schemas: they are what the models say, and agree with what reads the files."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.config import load_inventory, load_suite, shipped_suites
from orchestrator.config.modeline import modeline
from orchestrator.config.schema import SCHEMAS, schema_text, shipped_schema
from orchestrator.config.tree import read_mapping
from orchestrator.errors import ConfigError

ROOT = Path(__file__).parents[3]
BAD = ROOT / "tests/data/config/bad"
SHIPPED = [ROOT / "inventory.yaml", ROOT / "chameleon.yaml", *(ROOT / "suites").glob("*.yaml")]

#: Wrong files that the schema cannot tell from right ones: what one value says of another, numbers
#: written another way, and what only the machine knows. The reader refuses them.
READER_ALONE = {
    # two devices, or a device and its gateway
    "inventory-duplicate-name",
    "inventory-gateway-itself",
    "inventory-gateway-local",
    "inventory-gateway-loop",
    "inventory-gateway-loop-behind",
    "inventory-gateway-unknown",
    "inventory-gateway-unknown-alone",
    # what only this machine knows, the parts of an address
    "inventory-gateway-port",
    "inventory-home-of-nobody",
    "inventory-secret-in-url",
    # one key and another, in a suite
    "suite-baseline",
    "suite-baseline-set",
    "suite-blocks-order",
    "suite-timeout-too-short",
    # no number to compare with
    "suite-precision-nan",
    # what a runner can be asked for
    "suite-processor-of-litert",
    "suite-prompt-none",
    "suite-runtime-of-binary",
    "suite-runtime-of-torch",
    "suite-runtime-twice",
    "suite-torch-delegate",
    "suite-torch-runtime",
    # what a task needs
    "suite-accuracy-arrays",
    "suite-accuracy-detection",
    "suite-accuracy-detects-nothing",
    "suite-accuracy-no-data",
    "suite-accuracy-no-resize",
    "suite-accuracy-other-task",
}


@cache
def validator(kind: str) -> Any:
    schema = json.loads(shipped_schema(kind).read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def kind_of(path: Path) -> str:
    inventory = path.parent == ROOT or path.name.startswith("inventory-")
    return "inventory" if inventory else "suite"


def complaints(path: Path) -> list[str] | None:
    """What the schema says of a file; None where it is not YAML that anybody could check."""
    try:
        data = read_mapping(path, "").data
    except ConfigError:
        return None
    return [error.message for error in validator(kind_of(path)).iter_errors(data)]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_what_ships_is_made_of_the_models(kind: str) -> None:
    """Made again with `orchestrate schema KIND > schemas/KIND.json`."""
    assert json.loads(shipped_schema(kind).read_text("utf-8")) == json.loads(schema_text(kind))


def test_every_file_that_ships_holds() -> None:
    assert {path.stem for path in SHIPPED} >= shipped_suites().keys()
    assert {path.name: found for path in SHIPPED if (found := complaints(path))} == {}


def test_every_file_that_ships_leads_to_its_schema() -> None:
    for path in SHIPPED:
        first = path.read_text("utf-8").splitlines()[0]
        _, _, named = first.partition("# yaml-language-server: $schema=")
        assert (path.parent / named).resolve() == shipped_schema(kind_of(path)), path


def test_schema_and_reader_refuse_the_same_files() -> None:
    found = {path.stem: complaints(path) for path in BAD.glob("*.yaml")}
    assert {stem for stem, said in found.items() if said == []} == READER_ALONE
    assert sum(bool(said) for said in found.values()) >= 40


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "inventory",
            "defaults: {transport: ssh, user: cc}\n"
            "devices: [{name: a}, {name: b, transport: local, python: null},\n"
            " {name: c, transport: exec, exec: [docker, exec, -i, x]},\n"
            " {name: d, transport: adb, serial: 1A2B, benchmark_model: official},\n"
            " {name: e, host: fe80::1, gateway: 'u@h:22,j@k', lease_ends: 2026-12-01 18:00 UTC,\n"
            "  retry_for: 90, cpus: [0, 1], expect: {python: '3.12', hyperthreading: false},\n"
            "  benchmark_model: {path: bin/x}}]\n",
        ),
        (
            "suite",
            "models: [mobilenet_v1]\nschemes: [float32, full_int8]\nrunner: auto\n"
            'runtime: any\nprotocol: {blocks: "6:9", budget: 4m, warmup: {seconds: 0}}\n'
            "accuracy: {task: agreement, preprocessing: auto}\n",
        ),
        (
            "suite",
            "models: [resnet50]\nschemes: [float32]\nrunner: [litert, torch]\ncompare: runners\n"
            "protocol: {blocks: 7, timeout: 90}\n"
            "accuracy: {task: detection, dataset: {images: a, annotations: b},"
            " outputs: postprocess,\n preprocessing: {size: [2, 3], resize: stretch, mean: 1,"
            " std: [2, 2, 2]}}\n",
        ),
    ],
)  # fmt: skip
def test_every_way_to_write_a_value_is_right(tmp_path: Path, kind: str, text: str) -> None:
    path = tmp_path / f"{kind}-right.yaml"
    path.write_text(text)
    assert complaints(path) == []
    if kind == "inventory":
        load_inventory(path)
    elif "detection" not in text:  # whose models are files, which are not there
        load_suite(str(path))


def test_a_file_of_the_user_leads_to_the_installed_schema(tmp_path: Path) -> None:
    line = modeline("suite", tmp_path)
    named = line.partition("$schema=")[2].strip()
    assert (tmp_path / named).resolve() == shipped_schema("suite").resolve()
