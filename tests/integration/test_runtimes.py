"""Runtimes that the controller provides: versions side by side, and nodes with nothing installed.

Needs a package index that pip reaches, or what an earlier session kept of it in the folder of test
models.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent.machine import facts
from orchestrator.artifacts.sites import target_of
from orchestrator.fleet.provision import isa_unavailable
from tests.lab import Lab, every_planned_trial_finished_once, wait_until
from tests.runtimes import DATA, NEW, OLD, suite
from tests.sshd import Sshd, generate_key

#: Nobody answers at port 1, and nothing else is asked.
OFFLINE = {
    "PIP_CONFIG_FILE": "/dev/null",
    "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
    "PIP_RETRIES": "0",
}


@pytest.fixture
def lab(tmp_path: Path, kept: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "lab", kept)
    yield lab
    lab.close()


def bare_python(folder: Path) -> Path:
    """An interpreter with nothing installed."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def manifest(lab: Lab) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((lab.runs()[-1] / "run.json").read_text())
    return data


@pytest.mark.usefixtures("both")
def test_versions_side_by_side_measure_the_same_files(lab: Lab) -> None:
    own = suite(
        lab,
        f"runtime: [{NEW}, {OLD}]",
        "delegate: [xnnpack, none]",
        int8="full_int8",
        quant="dynamic_range",
    )
    inventory = lab.inventory(lab.here())
    done = lab.run("run", "--inventory", inventory, "--suite", own)
    assert done.code == 1, done.stderr  # one file is too new for one runtime
    assert every_planned_trial_finished_once(lab.journal())
    finished = lab.events("finished")
    good = [e for e in finished if e["outcome"] == "ok"]
    assert {(e["runtime"], f"{e['runtime_name']}=={e['runtime_version']}") for e in good} == {
        (NEW, NEW),
        (OLD, OLD),
    }
    assert {e["runtime_from"] for e in good} == {"bundle"}
    files = {(e["scheme"], e["artifact_sha256"]) for e in finished}
    assert len(files) == 3  # the same for both

    # what a runtime cannot load, with the operator and the version that it lacks
    bad = [e for e in finished if e["outcome"] != "ok"]
    assert {(e["runtime"], e["scheme"], e["outcome"]) for e in bad} == {
        (OLD, "dynamic_range", "incompatible")
    }
    assert all("FULLY_CONNECTED version 12" in e["reason"] for e in bad)

    # what was really delegated, and that with `none` nothing was
    applied = {(e["delegate"], e["delegation"]["delegated_nodes"]) for e in good}
    assert {nodes for delegate, nodes in applied if delegate == "none"} == {0}
    for event in (e for e in good if e["delegate"] == "xnnpack"):
        codes = {finding["code"] for finding in event["findings"]}
        assert (event["delegation"]["delegated_nodes"] == 0) == ("nothing_delegated" in codes)
    rows = json.loads((lab.runs()[-1] / "speedup.json").read_text())["speedups"]
    told = {(r["delegate"], r["baseline_delegated"]) for r in rows if r["baseline_delegated"]}
    assert told == {("xnnpack", "4/4"), ("none", "0/4")}
    assert {r["runtime_from"] for r in rows} == {"bundle"}
    assert "(ai-edge-litert 2.3.0, provided)" in done.stdout

    sites = {s["runtime"]: s for s in manifest(lab)["sites"]}
    assert {e["site_sha256"] for e in good} == {s["sha256"] for s in sites.values()}
    for runtime, site in sites.items():
        wheels = {f"{p['name']}=={p['version']}": p for p in site["packages"]}
        assert runtime in wheels and "numpy" in {p["name"] for p in site["packages"]}
        assert all(len(p["sha256"]) == 64 and p["file"].endswith(".whl") for p in wheels.values())
    (prepared,) = lab.events("device_prepared")
    assert prepared["sites"] == {r: s["sha256"] for r, s in sites.items()}
    assert prepared["pushed_bytes"] > sum(s["size_bytes"] for s in sites.values())

    again = lab.run("run", "--inventory", inventory, "--suite", own)
    assert again.code == 1
    assert lab.events("device_prepared")[0]["pushed_bytes"] == 0


@pytest.mark.usefixtures("both")
def test_a_run_goes_on_with_its_bundles_without_an_index(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline = {**lab.environment(), **OFFLINE}
    monkeypatch.setattr(lab, "environment", lambda: offline)
    own = suite(lab, f"runtime: [{NEW}]", int8="full_int8")
    controller = lab.start("run", "--inventory", lab.inventory(lab.here()), "--suite", own)
    wait_until(lambda: len(lab.events("finished")) >= 2, "two finished trials")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    # the record of what would be resolved now does not matter to a run that has begun
    (lab.models / "sites.lock.json").unlink()
    resumed = lab.run("run", "--resume", "last")
    assert resumed.code == 0, resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert len({e["site_sha256"] for e in lab.events("finished")}) == 1


@pytest.mark.usefixtures("both")
def test_a_device_that_comes_late_gets_its_bundle_when_it_comes(lab: Lab) -> None:
    """At the start it is not reached; the run is resumed with an inventory that reaches it."""
    own = suite(lab, f"runtime: [{NEW}]", int8="full_int8")
    late = lab.here("late")
    inventory = lab.inventory(lab.here(), {**late, "python": "/nowhere/python3"})
    assert lab.run("run", "--inventory", inventory, "--suite", own).code == 1
    assert {s["device"] for s in manifest(lab)["sites"]} == {"here"}
    resumed = lab.run("run", "--resume", "last", "--inventory", lab.inventory(lab.here(), late))
    assert resumed.code == 0, resumed.stderr
    assert {s["device"] for s in manifest(lab)["sites"]} == {"here", "late"}
    assert {"here", "late"} == manifest(lab)["facts"].keys()
    assert {row["device"] for row in lab.table()} == {"here", "late"}


@pytest.mark.usefixtures("both")
def test_a_bundle_is_capped_like_any_other(lab: Lab) -> None:
    here = facts.collect()
    levels = [each for each in ("haswell", "sandybridge") if isa_unavailable(here, each) is None]
    if not levels or not (shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("this machine can cap nothing, or has no C compiler")
    own = suite(lab, f"runtime: [{OLD}]", f"isa: [{levels[0]}]", int8="full_int8")
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", own)
    assert done.code == 0, done.stderr
    assert all(e["isa_proof"] for e in lab.events("finished"))


@pytest.mark.usefixtures("both")
def test_a_python_with_nothing_installed_is_provided_for(lab: Lab, tmp_path: Path) -> None:
    """Any runtime will do, and the node has none; beside it one that has its own, and uses it."""
    pytest.importorskip("ai_edge_litert")
    bare = lab.here("bare", python=bare_python(tmp_path / "bare"))
    own = suite(lab, int8="full_int8")
    # the lab has the newest in its record, or asks an index
    lock = lab.models / "sites.lock.json"
    document = json.loads(lock.read_bytes())
    key = target_of(facts.collect()).key
    document["sites"][f"ai-edge-litert {key}"] = document["sites"][f"{NEW} {key}"]
    lock.unlink()  # not the one that it is a link to
    lock.write_text(json.dumps(document))

    inventory = lab.inventory(bare, lab.here("own", python=sys.executable))
    done = lab.run("run", "--inventory", inventory, "--suite", own)
    assert done.code == 0, done.stderr
    assert ", provided)" in done.stdout and ", the device's own)" in done.stdout
    finished = lab.events("finished")
    assert {(e["device"], e["runtime_from"]) for e in finished} == {
        ("bare", "bundle"),
        ("own", "device"),
    }
    assert {e["runtime"] for e in finished} == {"any"}
    assert {(s["device"], s["runtime"]) for s in manifest(lab)["sites"]} == {("bare", "any")}
    assert {r["device"]: r["runtimes"] for r in lab.events("device_ready")}["bare"] == {}


@pytest.mark.usefixtures("both")
def test_another_version_than_pinned_is_no_result(lab: Lab) -> None:
    """The record says 2.3.0 is in a bundle that holds 2.14.0 of another: nothing is mislabelled."""
    lock = lab.models / "sites.lock.json"
    document = json.loads(lock.read_bytes())
    key = target_of(facts.collect()).key
    document["sites"][f"tflite-runtime==2.13.0 {key}"] = document["sites"][f"{OLD} {key}"]
    lock.unlink()  # not the one that it is a link to
    lock.write_text(json.dumps(document))
    own = suite(lab, "runtime: [tflite-runtime==2.13.0]", int8="full_int8")
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", own)
    assert done.code == 1
    finished = lab.events("finished")
    assert {e["outcome"] for e in finished} == {"failed"}
    assert all("version 2.14.0 of tflite-runtime" in e["reason"] for e in finished)


def _another_python() -> str | None:
    """A Python that tflite-runtime 2.14 was never built for."""
    named = [shutil.which(f"python3.{minor}") for minor in (12, 13, 14)]
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.1[2-4].*")
    found = [each for each in named if each] + [str(p / "bin/python") for p in kept]
    return next((p for p in found if _runs(p)), None)


def _runs(python: str) -> bool:
    done = subprocess.run([python, "-c", "0"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.usefixtures("index")
def test_another_python_gets_what_there_is_for_it(lab: Lab) -> None:
    python = _another_python()
    if python is None:
        pytest.skip("there is no Python 3.12 or later here beside this one")
    own = suite(lab, f"runtime: [{NEW}, {OLD}]", int8="full_int8")
    inventory = lab.inventory(lab.here(python=python))
    refused = lab.run("run", "--inventory", inventory, "--suite", own)
    assert refused.code == 1 and lab.runs() == []
    assert f"there is no {OLD} for CPython 3.1" in refused.stderr
    assert "it is built for cp38, cp39, cp310, cp311" in refused.stderr
    assert "`python:`" in refused.stderr

    own = suite(lab, f"runtime: [{NEW}]", int8="full_int8")
    done = lab.run("run", "--inventory", inventory, "--suite", own)
    assert done.code == 0, done.stderr
    (site,) = manifest(lab)["sites"]
    assert site["target"].startswith("cp31")
    assert {e["runtime_version"] for e in lab.events("finished")} == {"2.3.0"}


# --- a bare arm64 node: a Debian root under qemu-user, whose times mean nothing ------------------

#: What a login there has of its environment, and no more.
LOGIN = ("/usr/bin/env", "-i", "HOME=/root", "PATH=/usr/bin:/bin")


@pytest.fixture
def arm64() -> tuple[list[str], str]:
    """What leads to the folder that tests/arm64_root made, and that folder."""
    enter = os.environ.get("ORCHESTRATE_TEST_ARM64")
    if enter is None:
        pytest.skip("ORCHESTRATE_TEST_ARM64 has no way into a root made by tests/arm64_root")
    *before, chroot, root = shlex.split(enter)
    assert chroot == "chroot"
    return before, root


@contextlib.contextmanager
def behind_sshd(folder: Path, before: Sequence[str], root: str) -> Iterator[dict[str, Any]]:
    key = generate_key(folder / "client")
    entry = shlex.join([*before, "chroot", root, *LOGIN, "/bin/sh", "-c"])
    script = folder / "enter"
    script.write_text(f'#!/bin/sh\nexec {entry} "$SSH_ORIGINAL_COMMAND"\n')
    script.chmod(0o700)
    with Sshd(folder / "sshd", key, options=(f"ForceCommand {script}",)) as server:
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(server.known_hosts_line())
        yield {
            "transport": "ssh",
            "host": server.address,
            "port": server.port,
            "user": "root",
            "key_file": key,
            "known_hosts": known_hosts,
        }


@contextlib.contextmanager
def by_chroot(_: Path, before: Sequence[str], root: str) -> Iterator[dict[str, Any]]:
    yield {"transport": "exec", "exec": shlex.join([*before, "chroot", root, *LOGIN])}


@contextlib.contextmanager
def by_unshare(folder: Path, before: Sequence[str], root: str) -> Iterator[dict[str, Any]]:
    """Each command in a PID namespace of its own: the agent lives as long as its connection."""
    apart = ["--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc"]
    script = folder / "enter"
    show_its_cpu = shlex.join(["mount", "--bind", f"{root}/etc/cpuinfo", f"{root}/proc/cpuinfo"])
    script.write_text(f'#!/bin/sh\n{show_its_cpu} && exec chroot {shlex.quote(root)} "$@"\n')
    script.chmod(0o700)
    carrier = [*before, "unshare", *apart, str(script), *LOGIN]
    yield {"transport": "exec", "exec": shlex.join(carrier)}


@pytest.mark.usefixtures("index")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", [behind_sshd, by_chroot, by_unshare])
def test_a_bare_arm64_node(
    lab: Lab,
    tmp_path: Path,
    arm64: tuple[list[str], str],
    way: Callable[..., AbstractContextManager[dict[str, Any]]],
) -> None:
    own = suite(lab, int8="full_int8")
    own.write_text(own.read_text().replace("timeout: 60", "timeout: 300"))
    workdir = f"/root/{tmp_path.name}"
    with way(tmp_path, *arm64) as reached:
        device = {"name": "arm", "exclusive": False, "workdir": workdir, **reached}
        inventory = lab.inventory(device)
        arguments = lab.command("run", "--inventory", inventory, "--suite", own)
        done = subprocess.run(
            arguments,
            cwd=lab.folder,
            env=lab.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        lab.close()  # while the server still answers
    shutil.rmtree(f"{arm64[1]}{workdir}", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    finished = lab.events("finished")
    assert {(e["runtime_name"], e["runtime_from"]) for e in finished} == {
        ("ai-edge-litert", "bundle")
    }
    assert {e["launch"] for e in finished} <= {"forked", "direct"}
    assert {e["delegation"]["delegated_nodes"] > 0 for e in finished} == {True}
    assert {row["verdict"] for row in lab.table()} == {"invalid"}
    assert "emulated" in done.stdout
    (site,) = manifest(lab)["sites"]
    assert site["target"].endswith("aarch64")
    assert any("aarch64" in package["file"] for package in site["packages"])
    assert manifest(lab)["facts"]["arm"]["system"]["architecture"] == "aarch64"


@pytest.mark.usefixtures("both")
def test_a_network_that_computes_nothing_has_no_speed_up(lab: Lab) -> None:
    """Per-channel int8 weights in an operator of version 1: the older runtime takes the file, runs
    it, and answers zeros."""
    for name in ("dense.tflite", "dense_dynamic_range.tflite"):
        shutil.copyfile(DATA / "cases" / name, lab.folder / name)
    own = lab.folder / "dense.yaml"
    own.write_text(
        f"models: [{{file: dense.tflite}}]\nrunner: litert\nfactors: {{runtime: [{NEW}, {OLD}]}}\n"
        'protocol: {blocks: "6", warmup: {runs: 5, seconds: 0}, steady: {runs: 30, seconds: 0}, '
        "gate: {load: 1}}\n"
    )
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", own)
    assert done.code == 0, done.stderr
    with (lab.runs()[-1] / "speedup.csv").open(newline="") as table:
        rows = {row["runtime_version"].split()[0]: row for row in csv.DictReader(table)}
    old, new = rows[OLD.split("==")[0]], rows[NEW.split("==")[0]]
    assert old["verdict"] == "invalid" and "computes_nothing" in old["findings"]
    assert "computes" not in new["findings"] and float(new["speedup"]) > 0
    assert "answers nothing but zeros" in done.stdout
