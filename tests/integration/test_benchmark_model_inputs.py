"""What ``input:`` and ``signature:`` become for the official binary, through whole runs.

A stand-in takes the binary's place, which knows the official one's flags and refuses what that
refuses, and prints what it was given (see its source).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.runs.rawlog import stdout_of
from tests.lab import PROTOCOL, Lab
from tests.tflite_writer import FLOAT32, INT32, network_with_inputs

DATA = Path(__file__).parent.parent / "data"
#: What the official binary prints of itself where a flag's value is wrong.
HELP = DATA / "benchmark_model" / "recorded" / "err_badvalue_bool.err"
NETWORK = {"ids": (INT32, [1, 128]), "mask": (FLOAT32, [1, -1]), "kind": (INT32, [1, 128])}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab without a single built model, and with the files that are measured here."""
    (tmp_path / "models").mkdir()
    lab = Lab(tmp_path / "lab", tmp_path / "models")
    (lab.folder / "words.tflite").write_bytes(network_with_inputs(NETWORK))
    for case in ("fcn", "twosig"):
        shutil.copyfile(DATA / "cases" / f"{case}.tflite", lab.folder / f"{case}.tflite")
    yield lab
    lab.close()


def measured(lab: Lab, stand_in: Path, model: str, *more: str) -> list[dict[str, str]]:
    """The flags of every trial of a run of that model; every trial ended ok."""
    suite = lab.folder / "own.yaml"
    suite.write_text(f"models: [{{{model}}}]\nrunner: benchmark_model\nprotocol: {PROTOCOL}\n")
    inventory = lab.inventory(lab.here(benchmark_model=str(stand_in)))
    done = lab.run("run", "--inventory", inventory, "--suite", suite, *more)
    assert done.code == 0, done.stderr
    logs = [(lab.runs()[-1] / event["log"]).read_text() for event in lab.events("finished")]
    given = [re.findall(r"^GIVEN (--\w+)=(.*)$", stdout_of(log), re.MULTILINE) for log in logs]
    assert given and all(given)
    assert all(len(each) == len(dict(each)) for each in given)  # none twice
    return [dict(each) for each in given]


def about_inputs(flags: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in flags.items() if k.startswith(("--input", "--signature"))}


def test_shapes_and_ranges_of_named_inputs(lab: Lab, stand_in: Path) -> None:
    """Every input in the file's order, whatever the suite's: the tool takes all of them or none."""
    inputs = "{mask: [1, 128], ids: {range: [0, 30521]}, kind: {range: [-1, 1]}}"
    for flags in measured(lab, stand_in, f"file: words.tflite, input: {inputs}"):
        assert about_inputs(flags) == {
            "--input_layer": "ids,mask,kind",
            "--input_layer_shape": "1,128:1,128:1,128",
            "--input_layer_value_range": "ids,0,30521:kind,-1,1",
        }


def test_a_shape_without_a_range(lab: Lab, stand_in: Path) -> None:
    """A name with a colon can stand among the names, though not among the ranges."""
    for flags in measured(lab, stand_in, "file: fcn.tflite, input: [1, 64, 64, 3]"):
        assert about_inputs(flags) == {
            "--input_layer": "serving_default_x:0",
            "--input_layer_shape": "1,64,64,3",
        }


@pytest.mark.parametrize(("said", "signature"), [(", signature: encode", "encode"), ("", "decode")])
def test_the_signature_is_always_named_where_there_are_several(
    lab: Lab, stand_in: Path, said: str, signature: str
) -> None:
    """LiteRT's build of the tool takes the first one of the file by itself, TensorFlow's graph 0:
    what the report says was measured is what was."""
    for flags in measured(lab, stand_in, f"file: twosig.tflite{said}"):
        assert about_inputs(flags) == {"--signature_to_run_for": signature}
    assert f"signature {signature}" in (lab.runs()[-1] / "speedup.md").read_text()


def test_a_file_that_says_everything_is_fed_without_a_flag(lab: Lab, stand_in: Path) -> None:
    shutil.copyfile(DATA / "cases" / "dense.tflite", lab.folder / "dense.tflite")
    for flags in measured(lab, stand_in, "file: dense.tflite"):
        assert about_inputs(flags) == {}


def test_every_flag_is_one_that_the_official_binary_has(lab: Lab, stand_in: Path) -> None:
    known = {f"--{name}" for name in re.findall(r"^\t--(\w+)=", HELP.read_text(), re.MULTILINE)}
    inputs = "{mask: [1, 128], ids: {range: [0, 9]}, kind: [1, 128]}"
    for flags in measured(lab, stand_in, f"file: words.tflite, input: {inputs}"):
        assert flags.keys() <= known
    assert "--signature_to_run_for" in known


def test_bounds_that_the_flags_cannot_hold_are_refused_in_the_plan(
    lab: Lab, stand_in: Path
) -> None:
    suite = lab.folder / "own.yaml"
    inputs = "{mask: [1, 128], ids: {range: [0, 3]}, kind: {range: [0, 2147483647]}}"
    text = f"models: [{{file: words.tflite, input: {inputs}}}]\nrunner: benchmark_model\n"
    inventory = lab.inventory(lab.here(benchmark_model=str(stand_in)))
    suite.write_text(text)
    assert lab.run("plan", "--inventory", inventory, "--suite", suite).code == 0
    network = {**NETWORK, "kind": (4, [1, 128])}  # int64
    (lab.folder / "words.tflite").write_bytes(network_with_inputs(network))
    suite.write_text(text.replace("2147483647", "2147483648"))
    done = lab.run("plan", "--inventory", inventory, "--suite", suite)
    assert done.code == 2
    assert "hold bounds of 32 bits; use runner: litert" in done.stderr
