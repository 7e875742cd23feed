"""`orchestrate run` on files that have to be told what they are fed, and on chosen signatures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import PROTOCOL, Lab

CASES = Path(__file__).parent.parent / "data" / "cases"

pytest.importorskip("ai_edge_litert")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab without a single built model."""
    (tmp_path / "models").mkdir()
    lab = Lab(tmp_path / "lab", tmp_path / "models")
    yield lab
    lab.close()


def suite(lab: Lab, models: str, **fields: str) -> Path:
    path = lab.folder / "own.yaml"
    lines = [f"models: {models}", *(f"{key}: {value}" for key, value in fields.items())]
    path.write_text("\n".join([*lines, f"protocol: {PROTOCOL}"]) + "\n")
    return path


@pytest.mark.parametrize(
    ("case", "said", "reported"),
    [
        ("fcn", "input: [1, 64, 64, 3]", "1 × 64 × 64 × 3"),
        ("twosig", "signature: encode", "signature encode"),
        ("twosig", "", "signature decode, which the runtime takes by itself"),
        ("text", "input: {range: [0, 50]}", "1 × 20 int32 from 0 to 50"),
    ],
)
def test_what_was_fed_stands_in_every_report(lab: Lab, case: str, said: str, reported: str) -> None:
    for path in CASES.glob(f"{case}*.tflite"):
        shutil.copyfile(path, lab.folder / path.name)
    own = suite(lab, f"[{{file: {case}.tflite{said and ', '}{said}}}]", runner="litert")
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", own)
    assert done.code == 0, done.stderr
    assert reported in " ".join(done.stdout.split())
    (run,) = lab.runs()
    for name in ("speedup.md", "report.html"):
        assert reported in (run / name).read_text(), name
    if case != "text":
        assert reported in (run / "speedup.csv").read_text()
        (row,) = json.loads((run / "speedup.json").read_text())["speedups"]
        assert reported in row["inputs"]
    for log in (run / "logs").iterdir():
        text = log.read_text()
        if case == "fcn" and "@orchestrate-result" in text:
            result = json.loads(text.split("@orchestrate-result ")[1].splitlines()[0])
            assert result["inputs"][0]["shape"] == [1, 64, 64, 3]


def test_files_that_were_exported_in_unlike_ways_are_said_to_be(lab: Lab) -> None:
    """An open batch beside a fixed one: what a delegate takes may be the export's doing."""
    files = {
        "float32": "unet",
        "dynamic_range": "unet_dynamic_range",
        "other": "dense_dynamic_range",
    }
    for case in files.values():
        shutil.copyfile(CASES / f"{case}.tflite", lab.folder / f"{case}.tflite")
    variants = ", ".join(f"{scheme}: {case}.tflite" for scheme, case in files.items())
    own = suite(lab, f"[{{name: net, variants: {{{variants}}}}}]", runner="litert")
    inventory = lab.inventory(lab.here())
    done = lab.run("run", "--inventory", inventory, "--suite", own, "--verbose")
    assert done.code == 0, done.stderr
    found = {row["scheme"]: row["findings"].split(";") for row in lab.table()}
    assert "export_mismatch" in found["other"]
    assert "export_mismatch" not in found["dynamic_range"]
    assert "float32 with the batch left open, other with the batch fixed" in " ".join(
        done.stdout.split()
    )


def test_a_file_that_a_delegate_takes_and_cannot_compute_is_measured_without_it(lab: Lab) -> None:
    """XNNPACK and sparse weights."""
    for case in ("sp", "sp_sparse_drq"):
        shutil.copyfile(CASES / f"{case}.tflite", lab.folder / f"{case}.tflite")
    variants = "float32: sp.tflite, dynamic_range: sp_sparse_drq.tflite"
    own = suite(
        lab,
        f"[{{name: net, variants: {{{variants}}}}}]",
        runner="litert",
        factors="{delegate: [xnnpack, none]}",
    )
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", own)
    assert done.code == 1, done.stderr
    verdicts = {row["delegate"]: row["verdict"] for row in lab.table()}
    assert verdicts["xnnpack"] == "invalid" and verdicts["none"] != "invalid"
    refused = [e for e in lab.events("finished") if e["outcome"] != "ok"]
    assert {(e["outcome"], e["delegate"]) for e in refused} == {("incompatible", "xnnpack")}
    assert all("measure it with delegate: [none]" in e["reason"] for e in refused)


NETWORKS = """
import sys, torch
from torch import nn
class Ids(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(40, 8), nn.Linear(8, 4)
    def forward(self, ids: torch.Tensor, mask: torch.Tensor):
        return self.last(self.table(ids) * mask.unsqueeze(-1))
torch.jit.script(Ids().eval()).save(sys.argv[1] + "/ids.pt")
torch.jit.script(nn.Linear(8, 4).bfloat16().eval()).save(sys.argv[1] + "/half.pt")
"""


def test_torchscript_takes_types_ranges_and_several_inputs(lab: Lab) -> None:
    """An id beyond the table is TorchScript's error, told by its last line."""
    pytest.importorskip("torch")
    program = lab.folder / "networks.py"
    program.write_text(NETWORKS)
    subprocess.run([sys.executable, str(program), str(lab.folder)], check=True)
    inventory = lab.inventory(lab.here())
    for low, code in ((0, 0), (60, 1)):
        said = f"{{shape: [1, 16], dtype: int64, range: [{low}, {low + 39}]}}"
        models = f"[{{file: ids.pt, input: {{mask: [1, 16], ids: {said}}}}}]"
        own = suite(lab, models, runner="torch")
        done = lab.run("run", "--inventory", inventory, "--suite", own)
        assert done.code == code, done.stderr
        assert "0 comparisons" in done.stderr
        if code == 0:
            assert "Times without a comparison" in done.stdout
            assert f"from {low} to {low + 39}" in " ".join(done.stdout.split())
        else:
            assert "index out of range in self" in " ".join(done.stdout.split())
            assert "Traceback" not in done.stdout
    own = suite(
        lab,
        "[{file: half.pt, input: {shape: [1, 8], dtype: bfloat16}}]",
        runner="torch",
        baseline="bfloat16",
    )
    done = lab.run("run", "--inventory", inventory, "--suite", own)
    assert done.code == 0, done.stderr
    assert "1 × 8 bfloat16" in done.stdout
