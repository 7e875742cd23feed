"""`orchestrate run` on the user's own files, and sweeps of them, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import PROTOCOL, Lab, every_planned_trial_finished_once, wait_until

DATA = Path(__file__).parent.parent / "data" / "zoo"

pytest.importorskip("ai_edge_litert")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab without a single built model."""
    (tmp_path / "models").mkdir()
    lab = Lab(tmp_path / "lab", tmp_path / "models")
    yield lab
    lab.close()


def put(lab: Lab, **files: str) -> None:
    for stem, scheme in files.items():
        shutil.copyfile(DATA / f"{scheme}.tflite", lab.folder / f"{stem}.tflite")


def suite(lab: Lab, models: str, **fields: str) -> Path:
    path = lab.folder / "own.yaml"
    lines = [f"models: {models}", *(f"{key}: {value}" for key, value in fields.items())]
    path.write_text("\n".join([*lines, f"protocol: {PROTOCOL}"]) + "\n")
    return path


def test_a_pair_is_measured_and_its_provenance_recorded(lab: Lab) -> None:
    put(lab, foo="float32", foo_quant="full_int8")
    own = suite(lab, "[{file: foo.tflite}]")
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", own)
    assert done.code == 0, done.stderr
    (row,) = lab.table()
    assert (row["model"], row["scheme"], row["baseline_scheme"]) == ("foo", "full_int8", "float32")
    assert row["verdict"] != "invalid"
    (run,) = lab.runs()
    artifacts = json.loads((run / "run.json").read_text())["artifacts"]
    assert {a["weights"] for a in artifacts} == {
        "user file foo.tflite",
        "user file foo_quant.tflite",
    }
    for name in ("speedup.md", "speedup.json", "speedup.csv"):
        assert str(lab.folder) not in (run / name).read_text()


def test_a_resumed_run_measures_the_bytes_it_began_with(lab: Lab) -> None:
    put(lab, foo="float32", foo_quant="full_int8")
    own, inventory = suite(lab, "[{file: foo.tflite}]"), lab.inventory(lab.here())
    controller = lab.start("run", "--inventory", inventory, "--suite", own)
    wait_until(lambda: len(lab.events("finished")) >= 3, "three finished trials")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    before = {e["artifact_sha256"] for e in lab.events("finished")}
    put(lab, foo="float16", foo_quant="dynamic_range")  # exported again, in between
    kept = {path: path.read_bytes() for path in (lab.models / "files").iterdir()}
    for path in kept:
        path.unlink()
    lost = lab.run("run", "--resume", "last", "--inventory", inventory)
    assert lost.code != 0
    assert "holds no foo" in lost.stderr
    for path, data in kept.items():
        path.write_bytes(data)
    assert lab.run("run", "--resume", "last", "--inventory", inventory).code == 0
    assert every_planned_trial_finished_once(lab.journal())
    after = {e["artifact_sha256"] for e in lab.events("finished")}
    assert before <= after and len(after) == 2


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("[{file: same.tflite}]", ("same.tflite", "same_fp32.tflite", "the same content")),
        (
            "[{name: m, variants: {float32: a.tflite, full_int8: d.tflite}}]",
            ("full_int8", "d.tflite", "contradicts"),
        ),
        ("[{file: a.tflite}, {file: b.tflite}]", ("a.tflite", "b.tflite", "byte for byte")),
        ("[{file: absent.tflite}]", ("own.yaml:1:17", "there is no file")),
        ("[{file: evil.pt, input: [1]}]", ("evil.pt", "would run code", "posix.system")),
    ],
)
def test_what_contradicts_itself_stops_before_any_device(
    lab: Lab, command: str, models: str, said: tuple[str, ...]
) -> None:
    put(lab, same="float32", same_fp32="float32", a="float32", b="float32", d="dynamic_range")
    (lab.folder / "evil.pt").write_bytes(b"\x80\x02cposix\nsystem\nX\x05\0\0\0touchq\0\x85R.")
    inventory = lab.inventory(lab.here())
    done = lab.run(command, "--inventory", inventory, "--suite", suite(lab, models))
    assert done.code == 2, done.stderr
    assert all(words in done.stderr for words in said), done.stderr
    assert lab.runs() == []
    assert not (lab.folder / "agent-here").exists()


def test_a_batch_that_does_not_fit_is_a_result_and_the_smaller_ones_stand(lab: Lab) -> None:
    """Under a real limit on memory: 4096 images of 192 × 192 need 12 GB, the device has 3."""
    put(lab, foo="float32", foo_int8="full_int8")
    python = lab.folder / "python"
    python.write_text(f'#!/bin/sh\nulimit -v 3000000\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    factors = "{batch: [1, 4096], input_size: [192]}"
    own = suite(lab, "[{file: foo.tflite}]", runner="litert", factors=factors)
    inventory = lab.inventory(lab.here(python=python))
    done = lab.run("run", "--inventory", inventory, "--suite", own, "--verbose")
    assert done.code == 1, done.stderr
    ended = {(e["batch"], e["outcome"]) for e in lab.events("finished")}
    assert (1, "ok") in ended
    assert not {outcome for batch, outcome in ended if batch == 4096} - {"failed", "killed"}
    reasons = [e["reason"] for e in lab.events("finished") if e["batch"] == 4096]
    assert reasons and all("out of memory" in reason for reason in reasons), reasons
    assert "Latency against batch: foo on here" in done.stdout
    assert "float32, batch 4096: " in done.stdout
    assert {(r["batch"], r["blocks"]) for r in lab.table()} == {("1", "6"), ("4096", "0")}
    assert {r["input_size"] for r in lab.table()} == {"192"}
