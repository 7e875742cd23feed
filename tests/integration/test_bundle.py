"""Bundles: made here, run elsewhere with nothing but a Python, brought back into their run."""

from __future__ import annotations

import functools
import http.server
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import small_disk
from tests.agent_client import other_pythons
from tests.lab import ROOT, Lab, every_planned_trial_finished_once
from tests.runtimes import NEW, OLD, PYTHONS_OF_OLD
from tests.runtimes import suite as small_suite
from tests.sshd import Sshd, generate_key

NOBODY = 65534
SYSTEM_PYTHON = Path("/usr/bin/python3")
#: As many blocks for a controller, which stops at a precision, as for a bundle, which does not.
PROTOCOL = (
    "{blocks: 6, precision: 0.0001, warmup: {runs: 5, seconds: 0}, "
    "steady: {runs: 5, seconds: 0}, check: {trials: 0}, gate: {load: 1}, timeout: 60}"
)
#: What a row of the table is of, and all in it that is not measured.
KEYS = (
    "device", "runner", "runtime_version", "delegate", "threads", "batch", "isa", "model",
    "scheme", "baseline_scheme", "blocks", "baseline_size_mb", "treatment_size_mb",
)  # fmt: skip


class Elsewhere:
    """A folder of another user's (where root runs the tests), and a Python to run a bundle with."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder = folder
        self.python = python
        self._as_user: list[str] = []
        if os.geteuid() == 0 and python == SYSTEM_PYTHON and shutil.which("setpriv"):
            os.chown(folder, NOBODY, NOBODY)
            ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            self._as_user = ["setpriv", *ids]

    def take(self, bundle: Path) -> None:
        copy = self.folder / bundle.name
        shutil.copy(bundle, copy)
        copy.chmod(0o644)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Run the bundle with PATH alone; its stdout is a pipe."""
        (bundle,) = self.folder.glob("*.pyz")
        path = f"PATH={self.python.parent}:/usr/bin:/bin"
        command = ["env", "-i", path, "python3", bundle.name, *map(str, arguments)]
        return subprocess.Popen(
            [*self._as_user, *command],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """(exit code, all it said)."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=240)
        assert "Traceback" not in said, said
        return process.returncode, said

    @property
    def results(self) -> Path:
        (path,) = self.folder.glob("results-*.zip")
        return path


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """Not below pytest's own folder, which other users may not enter."""
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"needs {SYSTEM_PYTHON}")
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="else where-"))
    yield Elsewhere(folder, SYSTEM_PYTHON)
    shutil.rmtree(folder)


def bundled(name: str = "away", **fields: object) -> dict[str, object]:
    """A device that nothing reaches; not exclusive, as the lab's."""
    return {"name": name, "transport": "bundle", "exclusive": False, **fields}


def with_stand_in(stand_in: Path) -> dict[str, object]:
    expect = {"architecture": platform.machine()}
    return bundled(benchmark_model=str(stand_in), expect=expect)


def made(lab: Lab, *arguments: str | Path) -> Path:
    """The bundle that `orchestrate bundle` writes."""
    done = lab.run("bundle", *arguments)
    assert done.code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return lab.folder / line


def say_until(process: subprocess.Popen[str], words: str) -> None:
    """Read what the process says up to these words."""
    assert process.stdout is not None
    assert any(words in line for line in process.stdout), f"never said {words}"


def trials_of(lab: Lab, run: Path | None = None) -> set[str]:
    return {event["trial_id"] for event in lab.events("finished", run)}


def test_interrupted_twice_and_imported_it_is_as_if_it_had_been_reached(
    lab: Lab, stand_in: Path, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    suite = lab.suite(["float32", "float16", "full_int8"], PROTOCOL)
    device = with_stand_in(stand_in)
    arguments = ("--suite", suite, "--seed", "3")
    elsewhere.take(made(lab, "--inventory", lab.inventory(device), *arguments))
    (run,) = lab.runs()
    assert "awaits the results of away" in lab.run("runs").stdout
    # the words of a report are wrapped
    awaiting = " ".join(lab.run("report", "last").stdout.split())
    assert "the device's bundle has not brought this back yet" in awaiting

    first = elsewhere.start()
    say_until(first, "1/27")
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert "run the same command to go on" in said
    partial = lab.run("import", elsewhere.results)
    assert partial.code == 0, partial.stderr
    assert "run the bundle again there" in partial.stderr
    early = trials_of(lab)
    assert 1 <= len(early) < 27
    before = lab.journal()

    second = elsewhere.start()
    say_until(second, f"{len(early) + 3}/27")
    os.killpg(second.pid, signal.SIGKILL)
    second.communicate()

    code, said = elsewhere.run()
    assert code == 0, said
    assert "maximum of 6 blocks (a bundle does not stop at a precision)" in said
    imported = lab.run("import", elsewhere.results)
    assert imported.code == 0, imported.stderr
    assert lab.journal()[: len(before)] == before
    assert every_planned_trial_finished_once(lab.journal())
    assert "complete" in lab.run("runs").stdout
    (stopped,) = lab.events("stopped")
    assert stopped["reason"] == "maximum of 6 blocks; a bundle does not stop at a precision"
    # what had finished before the interruptions was not run again
    started = Counter(event["trial_id"] for event in lab.events("started"))
    assert sum(started.values()) <= 28
    assert {started[trial_id] for trial_id in early} == {1}
    assert len(lab.events("device_ready")) == 3
    events = lab.journal()
    again = lab.run("import", elsewhere.results)
    assert again.code == 0 and "0 new trials" in again.stderr
    assert lab.journal() == events
    assert all((run / e["log"]).stat().st_size > 0 for e in lab.events("finished"))

    # the same plan where the device is reached: the same trials, the same rows
    with Sshd(tmp_path / "away", generate_key(tmp_path / "client")) as server:
        reached = server.device("away", benchmark_model=stand_in)
        done = lab.run("run", "--inventory", lab.inventory(reached), *arguments)
        lab.close()  # while the server answers
    assert done.code == 0, done.stderr
    other = lab.runs()[-1]
    assert trials_of(lab, other) == trials_of(lab, run)
    rows, others = lab.table(run), lab.table(other)
    assert [[row[k] for k in KEYS] for row in rows] == [[row[k] for k in KEYS] for row in others]
    # the invented times follow the sizes
    assert [r["speedup"] for r in rows] == pytest.approx([r["speedup"] for r in others])


def test_a_device_joins_a_run_that_has_others(lab: Lab) -> None:
    inventory = lab.inventory(lab.here(), bundled())
    suite = lab.suite(["float32", "full_int8"])
    done = lab.run("run", "--inventory", inventory, "--suite", suite, "--seed", "4")
    assert done.code == 0, done.stderr
    (run,) = lab.runs()
    assert f"orchestrate bundle --run {run.name} --device away" in done.stderr
    bundle = made(lab, "--run", "last", "--device", "away", "--output", "there.pyz")
    folder = lab.folder / "there"
    folder.mkdir()
    there = Elsewhere(folder, Path(sys.executable))
    there.take(bundle)
    before = lab.journal()
    code, said = there.run()
    assert code == 0, said
    imported = lab.run("import", there.results)
    assert imported.code == 0, imported.stderr
    assert lab.journal()[: len(before)] == before
    assert every_planned_trial_finished_once(lab.journal())
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["devices"] == ["here", "away"]
    assert {row["device"] for row in lab.table()} == {"here", "away"}
    assert {e["runtime_name"] for e in lab.events("finished")} == {"ai-edge-litert"}
    resumed = lab.run("run", "--resume", "last")
    assert resumed.code == 0 and "nothing is left to do" in resumed.stderr


@pytest.fixture
def small(tmp_path: Path, kept: Path) -> Iterator[Lab]:
    """A lab for a model of its own, with the site bundles that are there already."""
    lab = Lab(tmp_path / "small", kept)
    yield lab
    lab.close()


def stated(python: Path) -> dict[str, str]:
    """The platform of a Python as a user finds it out, and writes it down."""
    script = (
        "import os, platform as p; "
        "print(p.machine(), p.python_version(), os.confstr('CS_GNU_LIBC_VERSION'))"
    )
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    machine, version, libc = done.stdout.strip().split(" ", 2)
    minor = ".".join(version.split(".")[:2])
    return {"architecture": machine, "python": minor, "libc": libc}


@pytest.mark.usefixtures("index")
def test_pinned_runtimes_travel_to_a_machine_that_has_none(
    small: Lab, elsewhere: Elsewhere
) -> None:
    expect = stated(SYSTEM_PYTHON)
    both = [NEW, OLD] if expect["python"] in PYTHONS_OF_OLD else [NEW]
    suite = small_suite(small, f"runtime: [{', '.join(both)}]", int8="full_int8")
    inventory = small.inventory(bundled(expect=expect))
    elsewhere.take(made(small, "--inventory", inventory, "--suite", suite))
    (run,) = small.runs()

    first = elsewhere.start()
    say_until(first, "unpacking")
    os.killpg(first.pid, signal.SIGKILL)  # in the middle of it
    first.communicate()
    second = elsewhere.start()
    say_until(second, "2/")
    second.send_signal(signal.SIGINT)
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 130, said
    # as if the node's disk had damaged it
    (home,) = elsewhere.folder.glob("bundle-*-away")
    for site in (home / "sites").glob("*/numpy/__init__.py"):
        site.unlink()
    code, said = elsewhere.run()
    assert code == 0, said
    imported = small.run("import", elsewhere.results)
    assert imported.code == 0, imported.stderr
    assert every_planned_trial_finished_once(small.journal())
    sites = {s["runtime"]: s for s in json.loads((run / "run.json").read_text())["sites"]}
    assert {
        (e["outcome"], e["runtime_from"], f"{e['runtime_name']}=={e['runtime_version']}")
        for e in small.events("finished")
    } == {("ok", "bundle", each) for each in both}
    assert {(e["runtime"], e["site_sha256"]) for e in small.events("finished")} == {
        (runtime, site["sha256"]) for runtime, site in sites.items()
    }

    # where that Python is reached, one of them is given the same, and measures the same
    reached = small.inventory(small.here("away", python=SYSTEM_PYTHON))
    suite = small_suite(small, f"runtime: [{both[-1]}]", int8="full_int8")
    done = small.run("run", "--inventory", reached, "--suite", suite)
    assert done.code == 0, done.stderr
    other = small.runs()[-1]
    assert json.loads((other / "run.json").read_text())["sites"] == [sites[both[-1]]]
    rows = [
        row for row in small.table(run) if row["runtime_version"] == both[-1].replace("==", " ")
    ]
    assert [[r[k] for k in KEYS] for r in rows] == [
        [r[k] for k in KEYS] for r in small.table(other)
    ]


@pytest.mark.usefixtures("index")
def test_another_python_than_the_runtimes_are_for_runs_nothing(small: Lab) -> None:
    if not SYSTEM_PYTHON.exists() or not (older := other_pythons("3.8")):
        pytest.skip(f"needs {SYSTEM_PYTHON} and a Python 3.8")
    suite = small_suite(small, f"runtime: [{NEW}]", int8="full_int8")
    expect = stated(SYSTEM_PYTHON)
    bundle = made(small, "--inventory", small.inventory(bundled(expect=expect)), "--suite", suite)
    folder = small.folder / "there"
    folder.mkdir()
    there = Elsewhere(folder, Path(older[0]).resolve())
    there.take(bundle)
    code, said = there.run()
    assert code == 2
    assert f"the inventory expects python {expect['python']}, the device reports 3.8." in said
    assert "make the bundle anew" in said
    assert not list(folder.glob("results-*.zip")) and not list(folder.glob("bundle-*/sites"))


def test_a_budget_ends_what_goes_beyond_the_minimum(
    lab: Lab, stand_in: Path, elsewhere: Elsewhere
) -> None:
    suite = lab.suite(["float32", "float16"], PROTOCOL.replace("blocks: 6", "blocks: '6:8'"))
    inventory = lab.inventory(with_stand_in(stand_in))
    bundle = made(lab, "--inventory", inventory, "--suite", suite, "--budget", "0.001s")
    elsewhere.take(bundle)
    code, said = elsewhere.run()
    assert code == 0, said
    assert lab.run("import", elsewhere.results).code == 0
    (stopped,) = lab.events("stopped")
    reason = "budget of 0.001 s spent; a bundle does not stop at a precision"
    assert stopped["reason"] == reason
    assert {e["block"] for e in lab.events("finished")} == {-1, 0, 1, 2, 3, 4, 5}


def test_another_node_goes_on_from_the_results(
    lab: Lab, stand_in: Path, elsewhere: Elsewhere
) -> None:
    suite = lab.suite(["float32", "float16"], PROTOCOL)
    elsewhere.take(
        made(lab, "--inventory", lab.inventory(with_stand_in(stand_in)), "--suite", suite)
    )
    first = elsewhere.start()
    say_until(first, "4/")
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 130
    assert lab.run("import", elsewhere.results).code == 0
    done = trials_of(lab)
    (home,) = elsewhere.folder.glob("bundle-*-away")
    shutil.rmtree(home)  # a machine that is gone: only the results were kept
    code, said = elsewhere.run()
    assert code == 0, said
    assert "going on from" in said
    assert lab.run("import", elsewhere.results).code == 0
    assert every_planned_trial_finished_once(lab.journal())
    started = Counter(event["trial_id"] for event in lab.events("started"))
    assert {started[trial_id] for trial_id in done} == {1}

    # without them it begins anew, and the second measurement is not mixed with the first
    shutil.rmtree(home)
    elsewhere.results.unlink()
    assert elsewhere.run()[0] == 0
    before = lab.journal()
    refused = lab.run("import", elsewhere.results)
    assert refused.code == 2
    assert "was begun anew" in refused.stderr
    assert lab.journal() == before


def test_files_removed_under_a_bundle_are_put_back(
    lab: Lab, stand_in: Path, elsewhere: Elsewhere
) -> None:
    suite = lab.suite(["float32", "float16"], PROTOCOL)
    elsewhere.take(
        made(lab, "--inventory", lab.inventory(with_stand_in(stand_in)), "--suite", suite)
    )
    started = elsewhere.start()
    say_until(started, "4/")
    (home,) = elsewhere.folder.glob("bundle-*-away")
    for path in (home / "blobs").iterdir():
        path.unlink()
    assert started.wait(120) == 0
    assert lab.run("import", elsewhere.results).code == 0
    assert every_planned_trial_finished_once(lab.journal())
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}
    assert lab.events("cancelled")


@pytest.fixture
def server(lab: Lab) -> Iterator[str]:
    """A web server of ours that has the folder of models."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(lab.models))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_address[1]}"
        web.shutdown()


def test_models_come_from_a_folder_or_an_address(
    lab: Lab, stand_in: Path, elsewhere: Elsewhere, server: str
) -> None:
    suite = lab.suite(["float32", "float16"])
    inventory = lab.inventory(with_stand_in(stand_in))
    bundle = made(lab, "--inventory", inventory, "--suite", suite, "--without-models")
    assert bundle.stat().st_size < 2e6
    elsewhere.take(bundle)
    code, said = elsewhere.run()
    assert code == 2
    assert "--models FOLDER_OR_URL" in said and "25 MB" in said
    code, said = elsewhere.run("--models", f"{server}/nowhere")
    assert code == 2
    assert "the server answers 404" in said

    # a file that is another than the run's is not used, whatever its name
    folder = elsewhere.folder / "models"
    shutil.copytree(lab.models, folder)
    (wrong,) = folder.glob("*-float16-*")
    right = wrong.read_bytes()
    wrong.write_bytes(right[:-1] + b"x")
    folder.chmod(0o755)
    code, said = elsewhere.run("--models", "models")
    assert code == 2
    assert "is not the file of this run" in said

    wrong.write_bytes(right)
    started = elsewhere.start("--models", "models")
    say_until(started, "3/")
    started.send_signal(signal.SIGINT)
    started.communicate(timeout=60)
    shutil.rmtree(folder)
    (home,) = elsewhere.folder.glob("bundle-*-away")
    shutil.rmtree(home / "blobs")
    code, said = elsewhere.run("--models", server)
    assert code == 0, said
    assert lab.run("import", elsewhere.results).code == 0
    assert every_planned_trial_finished_once(lab.journal())


def test_what_is_missing_or_not_as_expected_is_said_before_anything_runs(
    lab: Lab, elsewhere: Elsewhere
) -> None:
    suite = lab.suite(["float32", "full_int8"])
    bare = made(lab, "--inventory", lab.inventory(bundled()), "--suite", suite)
    if "ai_edge_litert" in sys.modules or os.access(
        "/usr/lib/python3/dist-packages/tflite_runtime", 4
    ):
        pytest.skip("the system's Python has a runtime")
    elsewhere.take(bare)
    code, said = elsewhere.run()
    assert code == 2
    assert f"`{SYSTEM_PYTHON} -m pip install ai-edge-litert`, then run this again" in said
    (elsewhere.folder / bare.name).unlink()

    other = bundled("other", expect={"microarchitecture": "z80"})
    elsewhere.take(made(lab, "--inventory", lab.inventory(other), "--suite", suite))
    code, said = elsewhere.run()
    assert code == 2
    assert "the inventory expects microarchitecture z80, the device reports" in said
    assert not list(elsewhere.folder.glob("results-*.zip"))


def test_a_disk_from_which_no_program_may_be_run(
    lab: Lab, stand_in: Path, elsewhere: Elsewhere
) -> None:
    """Said before a file is unpacked; a home on another disk is the way out."""
    reason = small_disk.why_not()
    if reason is not None:
        pytest.skip(reason)
    suite = lab.suite(["float32", "full_int8"])
    bundle = made(lab, "--inventory", lab.inventory(with_stand_in(stand_in)), "--suite", suite)
    elsewhere.take(bundle)
    with small_disk.small_disk(elsewhere.folder / "noexec", 256, "noexec"):
        on_it = Elsewhere(elsewhere.folder / "noexec", SYSTEM_PYTHON)
        on_it.take(bundle)
        code, said = on_it.run()
        (home,) = on_it.folder.glob("bundle-*-away")
        assert code not in (0, 1, 130), said
        assert f"no program may be run from {home} (is its disk mounted noexec?)" in said
        assert "name a folder on another disk: --home DIR" in said
        assert list(home.rglob("blobs/*")) == [] and not list(on_it.folder.glob("results-*"))
        code, said = on_it.run("--home", elsewhere.folder / "home")
        assert code == 0, said
        imported = lab.run("import", on_it.results)
    assert imported.code == 0, imported.stderr
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}


def test_a_runtime_cannot_be_carried_to_such_a_disk_but_a_devices_own_measures_there(
    small: Lab, both: None, elsewhere: Elsewhere
) -> None:
    reason = small_disk.why_not()
    if reason is not None:
        pytest.skip(reason)
    suite = small_suite(small, f"runtime: [{NEW}]", int8="full_int8")
    device = bundled(expect=stated(SYSTEM_PYTHON))
    bundle = made(small, "--inventory", small.inventory(device), "--suite", suite)
    own = small_suite(small, "runtime: [any]", int8="full_int8")
    device = bundled("own", python=sys.executable)
    other = made(small, "--inventory", small.inventory(device), "--suite", own)
    with small_disk.small_disk(elsewhere.folder / "noexec", 256, "noexec"):
        there = Elsewhere(elsewhere.folder / "noexec", SYSTEM_PYTHON)
        there.take(bundle)
        code, said = there.run()
        assert code not in (0, 1, 130) and "the runtime that it carries would be put there" in said
    with small_disk.small_disk(small.folder / "noexec", 256, "noexec"):
        mine = Elsewhere(small.folder / "noexec", Path(sys.executable))
        mine.take(other)
        code, said = mine.run()
    assert code == 0, said


def test_damaged_blobs_and_a_busy_home_are_noticed(
    lab: Lab, stand_in: Path, elsewhere: Elsewhere
) -> None:
    suite = lab.suite(["float32", "float16"], PROTOCOL)
    elsewhere.take(
        made(lab, "--inventory", lab.inventory(with_stand_in(stand_in)), "--suite", suite)
    )
    first = elsewhere.start()
    say_until(first, "3/")
    code, said = elsewhere.run()
    assert code == 3
    assert "an agent runs already" in said
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    (home,) = elsewhere.folder.glob("bundle-*-away")
    for blob in list((home / "blobs").iterdir()):
        damaged = home / "damaged"  # a file of its own: the trial that was running may still run
        shutil.copy(blob, damaged)
        damaged.write_bytes(b"x" + blob.read_bytes()[1:])
        os.chown(damaged, blob.stat().st_uid, blob.stat().st_gid)
        damaged.replace(blob)
    code, said = elsewhere.run()
    assert code == 0, said
    assert lab.run("import", elsewhere.results).code == 0
    assert every_planned_trial_finished_once(lab.journal())


def test_python_3_8_runs_it(lab: Lab, stand_in: Path) -> None:
    works = other_pythons("3.8")
    if not works:
        pytest.skip("needs a Python 3.8")
    suite = lab.suite(["float32", "float16"])
    bundle = made(lab, "--inventory", lab.inventory(with_stand_in(stand_in)), "--suite", suite)
    folder = lab.folder / "there"
    folder.mkdir()
    there = Elsewhere(folder, Path(works[0]).resolve())
    there.take(bundle)
    code, said = there.run()
    assert code == 0, said
    assert lab.run("import", there.results).code == 0
    assert every_planned_trial_finished_once(lab.journal())
    (ready,) = lab.events("device_ready")
    assert ready["facts"]["python"]["version"].startswith("3.8.")


def test_what_cannot_be_bundled_is_refused(lab: Lab, stand_in: Path) -> None:
    suite = lab.suite(["float32", "float16"])
    reached = lab.inventory(lab.here())
    blind = lab.inventory(bundled(benchmark_model=str(stand_in)))
    for arguments, words in (
        (("--inventory", reached), "none of its devices has `transport: bundle`"),
        (("--inventory", reached, "--device", "here"), "`orchestrate run` reaches it"),
        (("--inventory", blind), "`expect: {architecture: x86_64}`"),
        (("--run", "last"), "no such run"),
    ):
        more = () if "--run" in arguments else ("--suite", suite)
        done = lab.run("bundle", *arguments, *more)
        assert done.code == 2, done.stderr
        assert words in done.stderr
    assert not lab.results.exists()
    only = lab.run("run", "--inventory", blind, "--suite", suite)
    assert only.code == 2 and "`orchestrate bundle` makes one file for each" in only.stderr


def test_a_bar_on_a_terminal(lab: Lab, stand_in: Path) -> None:
    suite = lab.suite(["float32", "float16"])
    bundle = made(lab, "--inventory", lab.inventory(with_stand_in(stand_in)), "--suite", suite)
    folder = lab.folder / "there"
    folder.mkdir()
    script = f"{sys.executable} {bundle}"
    done = subprocess.run(
        ["script", "-qec", script, "/dev/null"],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert b"\r\x1b[K[######" in done.stdout
    assert (folder / "results-away.zip").exists()


def test_the_notebook_for_colab_runs_a_bundle(lab: Lab) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    suite = lab.suite(["float32", "full_int8"])
    bundle = made(lab, "--inventory", lab.inventory(bundled("colab")), "--suite", suite)
    folder = lab.folder / "content"
    folder.mkdir()
    shutil.copy(bundle, folder)
    notebook = nbformat.read(ROOT / "docs" / "colab.ipynb", as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "kept without outputs"
    client = nbclient.NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    shown = {
        cell.id: "".join(output.get("text", "") for output in cell.get("outputs", ()))
        for cell in notebook.cells
    }
    assert "done: 20 trials" in shown["run"]
    assert lab.run("import", folder / "results-colab.zip").code == 0
    assert every_planned_trial_finished_once(lab.journal())


def test_nohup_outlives_the_session(lab: Lab, stand_in: Path) -> None:
    suite = lab.suite(["float32", "float16"])
    inventory = lab.inventory(with_stand_in(stand_in))
    bundle = made(lab, "--inventory", inventory, "--suite", suite)
    process = subprocess.Popen(
        ["nohup", sys.executable, bundle.name],
        cwd=bundle.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    say_until(process, "2/")
    os.killpg(process.pid, signal.SIGHUP)
    assert process.stdout is not None
    process.stdout.close()  # nobody reads what it says any more
    assert process.wait(120) == 0
    assert lab.run("import", bundle.parent / "results-away.zip").code == 0
    assert every_planned_trial_finished_once(lab.journal())


def test_what_fails_is_said_and_given_up(lab: Lab, stand_in: Path, elsewhere: Elsewhere) -> None:
    broken = lab.folder / "broken"
    broken.write_bytes(stand_in.read_bytes())
    device = with_stand_in(broken)
    suite = lab.suite(["float32", "float16"])
    source = lab.folder / "broken.c"
    source.write_text(
        '#include <stdio.h>\nint main() { fputs("no \\033[31mluck\\n", stderr); return 3; }'
    )
    subprocess.run(["gcc", "-o", broken, source], check=True)
    elsewhere.take(made(lab, "--inventory", lab.inventory(device), "--suite", suite))
    code, said = elsewhere.run()
    assert code == 1
    assert "failed (exit code 3): no ?[31mluck" in said and "\x1b" not in said
    assert "stopped: the baseline float32 gives no result" in said
    imported = lab.run("import", elsewhere.results)
    assert imported.code == 1
    (stopped,) = lab.events("stopped")
    assert stopped["reason"] == "the baseline float32 gives no result"
    assert {event["outcome"] for event in lab.events("finished")} == {"failed"}
