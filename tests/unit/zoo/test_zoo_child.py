"""The parent's side of a build, against real child processes that are small scripts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.errors import ArtifactError, ModelBuildError
from orchestrator.frameworks.building import BuildOptions, BuildRequest
from orchestrator.zoo.child import run_build


def request(folder: Path) -> BuildRequest:
    options = BuildOptions(seed=3, representative=folder)
    schemes = ("float32", "full_int8")
    return BuildRequest("mobilenet_v1", schemes, "random", options, folder, "tflite", "a.module")


def run(folder: Path, script: str) -> list[Mapping[str, str]]:
    said: list[Mapping[str, str]] = []
    run_build(request(folder), said.append, (sys.executable, "-c", script))
    return said


def test_the_request_arrives_as_it_was_sent(tmp_path: Path) -> None:
    script = "import json, sys; print(json.dumps({'step': json.loads(sys.stdin.readline())}))"
    (message,) = run(tmp_path, script)
    assert "'schemes': ['float32', 'full_int8']" in message["step"]
    assert BuildRequest.from_json(request(tmp_path).to_json()) == request(tmp_path)


def test_noise_on_stdout_is_not_progress(tmp_path: Path) -> None:
    script = """print("Welcome!\\n[1]\\n17"); print('{"step": "one"}')"""
    assert run(tmp_path, script) == [{"step": "one"}]


def test_an_error_is_passed_on(tmp_path: Path) -> None:
    script = """print('{"error": "no such weights"}', flush=True); raise SystemExit(1)"""
    with pytest.raises(ModelBuildError, match="mobilenet_v1: no such weights"):
        run(tmp_path, script)


def test_a_crash_shows_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(ModelBuildError, match=r"(?s)exit code 1; the log .*ZeroDivisionError"):
        run(tmp_path, "1 / 0")
    assert "ZeroDivisionError" in (tmp_path / "build-logs" / "mobilenet_v1.log").read_text()


def test_a_kill_is_told_from_a_crash(tmp_path: Path) -> None:
    with pytest.raises(ModelBuildError, match=r"killed by SIGKILL, which is .* memory runs out"):
        run(tmp_path, "import os; os.kill(os.getpid(), 9)")


def test_the_child_is_gone_when_the_parent_is_interrupted(tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupt(message: Mapping[str, str]) -> None:
        pids.append(int(message["step"]))
        raise KeyboardInterrupt

    script = "import os, time\nprint('{\"step\": %d}' % os.getpid(), flush=True)\ntime.sleep(99)"
    with pytest.raises(KeyboardInterrupt):
        run_build(request(tmp_path), interrupt, (sys.executable, "-c", script))
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "build-logs").write_text("in the way")
    with pytest.raises(ArtifactError, match=r"build-logs: .*--models"):
        run(tmp_path, "")
