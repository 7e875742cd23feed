"""Another framework is one module and one line: nothing else of the program is changed for it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import DEADLINE_S, Lab, Outcome

_REGISTERED = (
    "import sys; from orchestrator.frameworks import registry; from tests import toy_framework; "
    "registry.FRAMEWORKS += (toy_framework.FRAMEWORK,); "
    "from orchestrator.cli import main; sys.exit(main())"
)
PROTOCOL = (
    "{blocks: 6, precision: 0.9, warmup: {runs: 5, seconds: 0}, steady: {runs: 5, seconds: 0}, "
    "memory: {trials: 0}, gate: {load: 1}, timeout: 60}"
)


class ToyLab(Lab):
    """The command, with the toy registered by one line."""

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-c", _REGISTERED, *map(str, arguments)]

    def run(self, *arguments: str | Path, deadline_s: float = DEADLINE_S) -> Outcome:
        """Run a command to its end in a process of its own: a warm one has no toy."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=deadline_s,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    def toy_suite(self, **fields: str) -> Path:
        path = self.folder / "toy.yaml"
        lines = {
            "models": "[counter]",
            "schemes": "[float32, halved]",
            "runner": "abacus",
            "protocol": PROTOCOL,
            **fields,
        }
        path.write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
        return path


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[ToyLab]:
    (tmp_path / "none").mkdir()
    lab = ToyLab(tmp_path, tmp_path / "none")
    yield lab
    lab.close()


def test_plan_run_report_and_explain(toy: ToyLab) -> None:
    here, suite = toy.inventory(toy.here()), toy.toy_suite(factors="{engine: [default, beads]}")
    planned = toy.run("plan", "--inventory", here, "--suite", suite)
    assert planned.code == 0 and "abacus" in planned.stdout and "counter halved" in planned.stdout

    done = toy.run("run", "--inventory", here, "--suite", suite)
    assert done.code == 0, done.stderr
    assert "abacus" in done.stdout and "halved" in done.stdout
    (run,) = toy.runs()
    for form in ("text", "csv", "json", "markdown", "latex", "html"):
        shown = toy.run("report", run.name, "--format", form)
        assert shown.code == 0 and "abacus" in shown.stdout, (form, shown.stderr)
    explained = toy.run("explain", run.name)
    assert explained.code == 0 and "engine" in explained.stdout, explained.stderr
    with (run / "speedup.csv").open(newline="") as table:
        (halved, *_) = [row for row in csv.DictReader(table) if row["scheme"] == "halved"]
    assert float(halved["speedup"]) > 1.2, halved


def test_a_killed_run_goes_on(toy: ToyLab) -> None:
    here, suite = toy.inventory(toy.here()), toy.toy_suite()
    running = toy.start("run", "--inventory", here, "--suite", suite)
    deadline = time.monotonic() + DEADLINE_S
    while not any(event["event"] == "finished" for event in toy.journal()):
        assert time.monotonic() < deadline and running.poll() is None, running.communicate()
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    done = toy.run("run", "--resume", "last")
    assert done.code == 0, done.stderr
    finished = [event["trial_id"] for event in toy.journal() if event["event"] == "finished"]
    assert len(finished) == len(set(finished)) == 18


def test_a_bundle_measures_and_comes_back(toy: ToyLab) -> None:
    far = {"name": "far", "transport": "bundle", "python": sys.executable}
    made = toy.run(
        "bundle", "--inventory", toy.inventory(far), "--suite", toy.toy_suite(), "--device", "far"
    )
    assert made.code == 0, made.stderr
    (bundle,) = toy.folder.glob("*.pyz")
    away = toy.folder / "away"
    away.mkdir()
    shutil.copy(bundle, away)
    ran = subprocess.run(
        [sys.executable, bundle.name],
        cwd=away, env={"PATH": os.environ["PATH"], "HOME": str(away)},
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    (results,) = away.glob("*.zip")
    brought = toy.run("import", results)
    assert brought.code == 0 and "halved" in brought.stdout, brought.stderr


@pytest.fixture
def both(tmp_path: Path, built: Path) -> Iterator[ToyLab]:
    lab = ToyLab(tmp_path / "lab", built)
    yield lab
    lab.close()


def suite_of_both(lab: ToyLab, **fields: str) -> Path:
    return lab.toy_suite(
        models="[mobilenet_v1]",
        schemes="[float32, float16, halved]",
        runner="[litert, abacus]",
        **fields,
    )


def test_two_frameworks_in_one_run_have_a_baseline_each(both: ToyLab) -> None:
    done = both.run(
        "run", "--inventory", both.inventory(both.here()), "--suite", suite_of_both(both)
    )
    assert done.code == 0, done.stderr
    (run,) = both.runs()
    document = json.loads(both.run("report", run.name, "--format", "json").stdout)
    found = {(row["runner"], row["scheme"]) for row in document["speedups"]}
    assert found == {("litert", "float16"), ("abacus", "halved")}
    assert "across" not in document
    manifest = json.loads((run / "run.json").read_text())
    assert {(a["framework"], a["scheme"]) for a in manifest["artifacts"]} == {
        ("tflite", "float32"), ("tflite", "float16"), ("toy", "float32"), ("toy", "halved"),
    }  # fmt: skip
    assert both.run("explain", run.name).code == 0
    resumed = both.run("run", "--resume", "last")
    assert resumed.code == 0 and "is complete" in resumed.stderr


def test_runners_are_compared_where_the_suite_asks(both: ToyLab) -> None:
    suite = suite_of_both(both, compare="runners")
    done = both.run("run", "--inventory", both.inventory(both.here()), "--suite", suite)
    assert done.code == 0, done.stderr
    (run,) = both.runs()
    for form in ("text", "markdown", "latex", "html"):
        shown = both.run("report", run.name, "--format", form, "--verbose")
        assert "two files of one network are compared" in " ".join(shown.stdout.split()), form
    document = json.loads(both.run("report", run.name, "--format", "json").stdout)
    assert {(row["runner"], row["scheme"]) for row in document["across"]} == {
        ("abacus", "float32"), ("abacus", "halved"),
    }  # fmt: skip
    for row in document["across"]:
        assert row["baseline_factors"]["runner"] == "litert" and row["speedup"] > 1
        assert "two_files" in {finding["code"] for finding in row["findings"]}
    lines = (run / "speedup.csv").read_text().splitlines()
    assert lines[0].endswith(",baseline_runner")
    assert sorted(line.rsplit(",", 1)[1] for line in lines[1:]) == [
        "abacus", "litert", "litert", "litert",
    ]  # fmt: skip
