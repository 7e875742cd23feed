"""ONNX models built for real, and the measuring child on them and on files of the user's.

Here, in a bundle, and on a node with nothing installed.
"""

from __future__ import annotations

import getpass
import os
import platform
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.onnx.files import OnnxFile
from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.runner import Reading
from orchestrator.measurement import Outcome
from orchestrator.trial import Trial, TrialKind, Variant
from orchestrator.zoo import ModelArtifact, ensure_artifacts, find_artifacts, known_schemes
from tests import onnx_writer as writer
from tests import runner_cases as cases
from tests.lab import PROTOCOL, Lab, every_planned_trial_finished_once, wait_until
from tests.sshd import Sshd, generate_key
from tests.zoo_fixtures import models_dir

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

RUNNER = runner_named("onnxruntime")
SQUEEZENET = tuple(Variant("squeezenet1_1", scheme) for scheme in known_schemes("onnx"))
AVAILABLE = onnxruntime.get_available_providers()


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> dict[str, ModelArtifact]:
    for package in ("onnx", "torch"):
        pytest.importorskip(package, reason="the extra `onnx` is not installed")
    folder = models_dir(pytestconfig)
    made = ensure_artifacts(SQUEEZENET, folder, framework="onnx")
    assert find_artifacts(SQUEEZENET, folder, verify=True, framework="onnx") == made
    return {variant.scheme: artifact for variant, artifact in made.items()}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "empty").mkdir()
    lab = Lab(tmp_path / "lab", tmp_path / "empty")
    (lab.folder / "net.onnx").write_bytes(writer.convolution())
    (lab.folder / "net_u8s8.onnx").write_bytes(writer.quantized("uint8", "int8"))
    yield lab
    lab.close()


def own_suite(lab: Lab, *more: str) -> Path:
    path = lab.folder / "own.yaml"
    variants = "{float32: net.onnx, static_u8s8: net_u8s8.onnx}"
    lines = [f"models: [{{name: net, variants: {variants}}}]", "runner: onnxruntime", *more]
    path.write_text("\n".join([*lines, f"protocol: {PROTOCOL}"]) + "\n")
    return path


def a_trial(**changes: Any) -> Trial:
    return cases.a_trial(
        **{"runner": "onnxruntime", "runtime": "any", "delegate": "none", **changes}
    )


def run(trial: Trial, model: Path) -> Reading:
    files = cases.files(size=model.stat().st_size, python=sys.executable, binary=None)
    command = RUNNER.command(trial, cases.SHORT, files)
    argv = (sys.executable, "-m", "orchestrate_agent.children.onnxruntime", *command.argv[3:])
    evidence = cases.run_command(
        replace(command, argv=argv), {f"{{blob:{cases.MODEL_SHA}}}": str(model)}
    )
    return RUNNER.read(trial, cases.SHORT, files, evidence)


# -- what is built


@pytest.mark.timeout(600)
def test_every_scheme_is_built_of_the_same_weights_and_holds_what_it_says(
    built: dict[str, ModelArtifact],
) -> None:
    assert len({artifact.entry["weights_sha256"] for artifact in built.values()}) == 1
    found = {}
    for scheme, artifact in built.items():
        file = inspect_any(artifact.path)
        assert isinstance(file, OnnxFile)
        found[scheme] = file.contents
    assert {scheme: each.scheme for scheme, each in found.items()} == {
        **{scheme: scheme for scheme in built}, "static_int8_qoperator": "static_int8",
    }  # fmt: skip
    # one network: what torchvision counts of SqueezeNet 1.1
    assert {each.work.multiply_accumulates for each in found.values()} == {349_151_936}
    assert {each.work.quantized_work_share for s, each in found.items() if "int8" in s} == {1}
    static = [each for scheme, each in found.items() if scheme.startswith("static")]
    assert {(each.form, each.granularity) for each in static} == {
        ("QDQ", "per_channel"), ("QOperator", "per_channel"),
    }  # fmt: skip
    assert [s for s, each in found.items() if each.reduced_range] == ["static_u8s8_reduced"]


@pytest.mark.timeout(600)
def test_schemes_answer_as_float32_does(built: dict[str, ModelArtifact]) -> None:
    answered = {}
    for scheme in ("float32", "float16", "dynamic_uint8", "static_u8s8"):
        reading = run(a_trial(), built[scheme].path)
        assert reading.outcome is Outcome.OK, reading.reason
        assert reading.measurement is not None and reading.measurement.outputs is not None
        (answered[scheme],) = reading.measurement.outputs.summaries
    whole = sum(value**2 for value in answered["float32"].sketch)
    for scheme, most in (("float16", 1e-4), ("dynamic_uint8", 0.1), ("static_u8s8", 0.3)):
        pairs = zip(answered["float32"].sketch, answered[scheme].sketch, strict=True)
        assert sum((a - b) ** 2 for a, b in pairs) < most * whole, scheme


@pytest.mark.timeout(600)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="its kernels are those of x86-64")
def test_what_a_runtime_turns_back_into_floats_is_a_finding(
    built: dict[str, ModelArtifact],
) -> None:
    codes = {
        scheme: {finding.code for finding in run(a_trial(), built[scheme].path).findings}
        for scheme in ("float32", "static_int8", "static_u8s8")
    }
    assert {s for s, found in codes.items() if "computed_in_float" in found} == {"static_int8"}


# -- a trial


@pytest.mark.parametrize("changes", [{}, {"batch": 3, "threads": 2}, {"kind": TrialKind.MEMORY}])
def test_a_trial_is_measured(lab: Lab, changes: dict[str, Any]) -> None:
    trial = a_trial(**changes)
    reading = run(trial, lab.folder / "net.onnx")
    got = reading.measurement
    assert reading.outcome is Outcome.OK and got is not None, reading.reason
    assert got.timing.count == (5 if trial.kind is TrialKind.MEMORY else 12)
    assert got.runtime_version == onnxruntime.__version__
    assert got.delegation is not None and got.delegation.delegated_nodes == 0
    assert got.outputs is not None and got.outputs.problem is None


def test_a_profile_says_which_operators_ran(lab: Lab) -> None:
    got = run(a_trial(kind=TrialKind.PROFILE), lab.folder / "net_u8s8.onnx").measurement
    assert got is not None
    counts = {each.kind: each.count for each in got.operators}
    # the runtime may turn the image round for its kernel
    assert counts.items() >= {"QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1}.items()


@pytest.mark.skipif("OpenVINOExecutionProvider" in AVAILABLE, reason="this build has OpenVINO")
def test_a_provider_that_the_build_lacks_is_told(lab: Lab) -> None:
    reading = run(a_trial(delegate="openvino"), lab.folder / "net.onnx")
    assert reading.outcome is Outcome.INCOMPATIBLE
    assert "no OpenVINOExecutionProvider; it has" in (reading.reason or "")


def test_a_fixed_batch_and_a_broken_file_are_told_apart(lab: Lab) -> None:
    fixed = lab.folder / "fixed.onnx"
    fixed.write_bytes(writer.convolution(batch=1))
    reading = run(a_trial(batch=2), fixed)
    assert reading.outcome is Outcome.INCOMPATIBLE and "at batch 2" in (reading.reason or "")
    fixed.write_bytes(b"\x08\x08" + b"\xff" * 64)
    assert (run(a_trial(), fixed).reason or "").startswith("invalid model")


# -- runs


@pytest.mark.timeout(400)
def test_a_run_is_killed_resumed_and_agrees(lab: Lab) -> None:
    made = "{size: 8, resize: crop, colour: rgb, mean: [127, 127, 127], std: [127, 127, 127]}"
    suite = own_suite(lab, f"accuracy: {{task: agreement, samples: 6, preprocessing: {made}}}")
    inventory = lab.inventory(lab.here(python=sys.executable))
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 2, "two finished trials")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    resumed = lab.run("run", "--resume", "last")
    assert resumed.code == 0, resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())
    kinds = {event["kind"] for event in lab.events("planned")}
    assert {"timing", "memory", "accuracy"} <= kinds
    (row,) = lab.table()
    assert row["scheme"] == "static_u8s8" and row["runtime_version"].startswith("onnxruntime")
    assert "Agreement with the baseline" in resumed.stdout


def bare_python(folder: Path) -> Path:
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("index")
def test_a_bare_node_behind_sshd_and_a_bundle_run_a_provided_wheel(
    lab: Lab, tmp_path: Path
) -> None:
    version = f"onnxruntime=={onnxruntime.__version__}"
    suite = own_suite(lab, f"runtime: {version}")
    python = bare_python(tmp_path / "bare")
    key = generate_key(tmp_path / "client")
    with Sshd(tmp_path / "sshd", key) as server:
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(server.known_hosts_line())
        node = {
            "name": "node", "transport": "ssh", "host": server.address, "port": server.port,
            "user": getpass.getuser(), "key_file": key, "known_hosts": known_hosts,
            "python": python, "workdir": lab.folder / "agent-node", "exclusive": False,
        }  # fmt: skip
        done = lab.run("run", "--inventory", lab.inventory(node), "--suite", suite)
        lab.close()  # while the server still answers
    assert done.code == 0, done.stderr
    finished = lab.events("finished")
    assert {(e["outcome"], e["runtime_from"], e["runtime"]) for e in finished} == {
        ("ok", "bundle", version)
    }
    expect = {
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "libc": os.confstr("CS_GNU_LIBC_VERSION"),
    }
    away = {"name": "away", "transport": "bundle", "exclusive": False, "python": str(python)}
    bundled = lab.run(
        "bundle", "--inventory", lab.inventory({**away, "expect": expect}), "--suite", suite
    )
    assert bundled.code == 0, bundled.stderr
    (path,) = bundled.stdout.splitlines()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ran = subprocess.run(
        [str(python), str(lab.folder / path)],
        cwd=elsewhere,
        env={"HOME": str(elsewhere), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    (results,) = elsewhere.glob("results-*.zip")
    imported = lab.run("import", results)
    assert imported.code == 0, imported.stderr
    there = [e for e in lab.events("finished") if e["device"] == "away"]
    assert {(e["outcome"], e["runtime_from"]) for e in there} == {("ok", "bundle")}
