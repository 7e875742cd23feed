"""Any program on real SSH servers: a shell script enters the table, and nothing of it is lost."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, every_planned_trial_finished_once, wait_until
from tests.sshd import Sshd, generate_key

#: Sleeps, and says how long it slept each time; it knows nothing of us.
NAP = """\
#!/bin/sh
# nap.sh SECONDS TIMES: sleep so often, and print how long each sleep took
now() { date +%s%N; }
times=
left=$2
while [ "$left" -gt 0 ]; do
    begun=$(now)
    sleep "$1"
    took=$(( ($(now) - begun) / 1000 ))
    times="$times${times:+, }$took"
    left=$((left - 1))
done
echo "slept well" >&2
echo "napping on $(uname -s), $OMP_NUM_THREADS thread"
echo "{\\"naps\\": [$times], \\"dreams\\": $(($2 * 3))}"
"""
SUITE = """\
models: [{name: nap, variants: {float32: ["0.06"], int8: ["0.01"]}}]
runner: command
command:
  program: nap.sh
  argv: ["{program}", "{arguments}", "{runs}"]
  environment: {OMP_NUM_THREADS: "{threads}"}
  figures:
    time: {json: /naps, unit: us}
    dreams: {json: /dreams, unit: dreams, better: higher}
protocol:
  {blocks: 6, precision: 0.9, steady: {runs: 3, seconds: 0}, warmup: {runs: 0, seconds: 0},
   gate: {load: 1}, timeout: 60}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "none").mkdir()
    lab = Lab(tmp_path, tmp_path / "none")
    yield lab
    lab.close()


@pytest.fixture
def hosts(tmp_path: Path, lab: Lab) -> Iterator[tuple[Sshd, Sshd]]:
    key = generate_key(tmp_path / "client")
    one, other = (Sshd(tmp_path / name, key) for name in ("one", "other"))
    with one, other:
        yield one, other
        lab.close()  # while they still answer


def test_a_shell_program_on_two_hosts_goes_on_after_a_kill(
    lab: Lab, hosts: tuple[Sshd, Sshd]
) -> None:
    program, suite = lab.folder / "nap.sh", lab.folder / "naps.yaml"
    program.write_text(NAP)
    suite.write_text(SUITE)
    inventory = lab.inventory(hosts[0].device("one"), hosts[1].device("other"))
    planned = lab.run("plan", "--inventory", inventory, "--suite", suite)
    assert planned.code == 0 and "command" in planned.stdout, planned.stderr

    running = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: {e["device"] for e in lab.events("finished")} == {"one", "other"}, "trials")
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    before = len(lab.events("finished"))
    program.write_text("#!/bin/sh\nexit 1\n")  # a run measures the bytes that it began with
    done = lab.run("run", "--resume", "last")
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert 0 < before < len(lab.events("finished")) == 36

    rows = lab.table()
    assert [row["device"] for row in rows] == ["one", "other"]
    for row in rows:
        assert (row["runner"], row["scheme"], row["blocks"]) == ("command", "int8", "6")
        # on a machine that runs other tests at the same time, too
        assert 1 < float(row["ci_low"]) <= float(row["speedup"]) <= float(row["ci_high"]) < 10
        assert row["baseline_size_mb"] == "" and "threads_not_told" not in row["findings"]
    (run,) = lab.runs()
    assert "dreams" in (run / "figures.csv").read_text()
    for form in ("text", "csv", "json", "markdown", "latex", "html"):
        shown = lab.run("report", run.name, "--format", form)
        assert shown.code == 0 and "nap" in shown.stdout, (form, shown.stderr)

    tails = lab.run("report", run.name, "--tails")
    assert tails.code == 0 and "p95" in tails.stdout, tails.stderr
    with (run / "tails.csv").open(newline="") as file:
        median = [
            t for t in csv.DictReader(file) if (t["scheme"], t["percentile"]) == ("int8", "50")
        ]
    assert [(t["device"], t["processes"], t["inferences"]) for t in median] == [
        ("one", "6", "18"), ("other", "6", "18"),
    ]  # fmt: skip
    assert all(1 < float(t["speedup_low"]) <= float(t["speedup"]) < 10 for t in median)

    manifest = json.loads((run / "run.json").read_text())
    sent = manifest["suite"]["command"]
    assert sent["program"] == "nap.sh" and str(lab.folder) not in json.dumps(manifest["suite"])
    assert {e["binary_sha256"] for e in lab.events("finished")} == {sent["sha256"]}


def test_a_figure_that_is_not_there_is_a_failed_trial_and_the_run_goes_on(lab: Lab) -> None:
    (lab.folder / "nap.sh").write_text(NAP)
    suite = lab.folder / "naps.yaml"
    suite.write_text(SUITE.replace("/naps", "/snores"))
    done = lab.run("run", "--inventory", lab.inventory(lab.here()), "--suite", suite)
    assert done.code == 1, done.stderr
    finished = lab.events("finished")
    assert finished and {event["outcome"] for event in finished} == {"failed"}
    assert "there is no 'snores' at its top, only 'dreams, naps'" in finished[0]["reason"]
    assert "correct `command.figures.time.json`" in done.stdout.replace("\n", " ")
