"""The rules of ARCHITECTURE.md, held against the imports in the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from orchestrate_agent.contents import MODULES

ROOT = Path(__file__).resolve().parents[2]

#: Parts of the controller and what each may import of the others. One direction: no cycle.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "printable": set(),
    "plain_files": set(),
    "zip_members": set(),
    "answer": set(),
    "figures": set(),
    "measurement": {"figures"},
    # which way of a figure is better
    "program": {"figures"},
    # isa: the order of instruction sets
    "factors": {"isa"},
    "trial": {"factors", "program"},
    # errors: what is missing for a detector's accuracy
    "measures": {"errors", "measurement", "trial"},
    "artifacts": {"plain_files", "errors", "runtimes"},
    "installed": set(),
    "isa": {"artifacts", "errors"},
    "runtimes": set(),
    "shape": set(),
    "frameworks": {
        "factors", "artifacts", "errors", "isa", "measurement", "measures", "printable", "program",
        "runtimes", "shape", "trial",
    },
    "config": {
        "artifacts", "factors", "figures", "errors", "frameworks", "isa", "program", "runtimes",
        "trial",
    },
    # what is missing of images is generated as for calibration
    "datasets": {
        "artifacts", "config", "errors", "frameworks", "measures", "plain_files", "trial",
    },
    "plan": {
        "factors", "config", "errors", "frameworks", "isa", "measures", "runtimes", "trial",
    },
    # agents: what says which machine a node is
    "runs": {
        "factors",
        "plain_files", "agents", "frameworks", "measures", "plan", "trial", "measurement", "errors",
        "shape", "zip_members",
    },
    "analysis": {
        "figures", "frameworks", "runs", "plan", "trial", "measurement", "measures", "errors",
        "factors", "isa",
    },
    "imports": {"factors", "runs", "frameworks", "plan", "trial", "measurement", "errors"},
    "published": {"analysis"},
    "schedule": {"agents", "runs", "plan", "trial", "measurement", "measures"},
    # runs: the page shows the manifest and single times from the logs; datasets: and pictures
    "report": {
        "factors", "datasets",
        "analysis", "figures", "frameworks", "isa", "plain_files", "plan", "trial", "measurement",
        "errors", "printable", "runs", "runtimes",
    },
    # config: the user's own files stand in the suite
    "zoo": {
        "factors",
        "plain_files", "artifacts", "config", "frameworks", "measurement", "plan", "trial",
        "errors",
    },
    # printable: what a login shell printed, in a message
    "fleet": {
        "artifacts", "config", "schedule", "runs", "frameworks", "plan", "trial", "measurement",
        "measures",
        "errors", "agents", "isa", "printable", "runtimes", "shape",
    },
    "discovery": {"config", "errors", "fleet"},
    "supply": {
        "frameworks", "agents", "artifacts", "config", "errors", "fleet", "plan", "trial", "runs",
        "runtimes",
    },
    "console": {"fleet", "printable"},
    "trust": {"config", "errors", "plain_files"},
    "campaign": {
        "frameworks", "analysis", "artifacts", "config", "console", "datasets", "errors", "fleet",
        "isa", "measurement", "measures", "plan", "trial", "runs", "runtimes", "supply", "zoo",
    },
    "bundles": {
        "frameworks", "agents", "artifacts", "campaign", "config", "console", "errors", "fleet",
        "plain_files", "plan", "trial", "runs", "runtimes", "schedule", "shape", "supply",
        "zip_members",
    },
    # config: what is left to do follows from the run's inventory and suite
    "watching": {"analysis", "config", "errors", "plan", "runs", "schedule"},
    "live": {"analysis", "errors", "fleet", "plain_files", "report", "runs", "watching"},
    # config: an option's value is read by its parsers, imported when they are used
    "commands": {"frameworks"},
    "answers": {
        "commands", "factors",
        "analysis", "answer", "artifacts", "bundles", "campaign", "config", "console", "discovery",
        "errors", "fleet", "frameworks", "imports", "installed", "isa", "measurement",
        "plain_files", "plan", "trial", "printable",
        "published", "report", "runs", "zoo", "trust", "agents", "live", "watching",
    },
    "cli": {"answer", "answers", "commands", "errors", "printable"},
    "__main__": {"cli"},
    "notebook": {"analysis", "published", "report", "runs"},
    "__init__": {"notebook"},
}  # fmt: skip

#: Each third-party library stands behind one fence.
FENCES: dict[str, tuple[str, ...]] = {
    "pydantic": ("orchestrator/config",),
    # the journal takes its JSON reader, which is quick
    "pydantic_core": (
        "orchestrator/config",
        "orchestrator/runs/journal.py",
        "orchestrator/runs/lines.py",
    ),
    "yaml": (
        "orchestrator/config",
        "orchestrator/discovery/beginning.py",
        "orchestrator/discovery/write.py",
    ),
    "openstack": ("orchestrator/discovery/openstack.py",),
    "keystoneauth1": ("orchestrator/discovery/openstack.py",),  # whose exceptions it lets through
    "fabric": ("orchestrator/fleet/ssh",),
    "paramiko": ("orchestrator/fleet/ssh",),
    "invoke": ("orchestrator/fleet/ssh",),
    "cryptography": ("orchestrator/fleet/ssh",),  # paramiko raises its exceptions
    "distributed": ("orchestrator/fleet/cluster",),
    "tensorflow": (
        "orchestrator/frameworks/tflite",
        "agents/orchestrate_agent/children/litert.py",
    ),
    "keras": ("orchestrator/frameworks/tflite",),
    "ai_edge_quantizer": ("orchestrator/frameworks/tflite",),
    "ai_edge_litert": ("agents/orchestrate_agent/children/litert.py",),
    "tflite_runtime": ("agents/orchestrate_agent/children/litert.py",),
    "torch": (
        "orchestrator/frameworks/torch",
        "orchestrator/frameworks/onnx/convert.py",  # which exports
        "agents/orchestrate_agent/children/torch.py",
    ),
    "onnx": ("orchestrator/frameworks/onnx/convert.py",),
    "onnxruntime": (
        "orchestrator/frameworks/onnx/convert.py",
        "agents/orchestrate_agent/children/onnxruntime.py",
    ),
    "torchvision": ("orchestrator/frameworks/torch", "agents/orchestrate_agent/children/torch.py"),
    "xllamacpp": ("agents/orchestrate_agent/children/llama.py",),
    "gguf": ("orchestrator/frameworks/llm/build.py",),
    "libgguf": ("orchestrator/frameworks/llm/build.py",),
    # comes with torchvision
    "PIL": ("orchestrator/frameworks/torch", "orchestrator/datasets/images.py"),
    "packaging": (
        "orchestrator/installed.py",
        "orchestrator/runtimes.py",
        "orchestrator/artifacts/sites",
    ),
    # asked by the shell at every key, before anything else is imported
    "argcomplete": ("orchestrator/cli.py", "orchestrator/answers"),
    "pip": ("orchestrator/artifacts/sites",),
    "numpy": (
        "orchestrator/datasets",
        "orchestrator/frameworks",
        "agents/orchestrate_agent/children/litert.py",
        "agents/orchestrate_agent/children/onnxruntime.py",
        "orchestrator/analysis/accuracy",
        "orchestrator/analysis/explain/variation.py",
        "orchestrator/analysis/tails.py",
        "orchestrator/measures/accuracy",
    ),
    "scipy": ("orchestrator/analysis", "orchestrator/measures/accuracy"),
    "pycocotools": ("orchestrator/measures/accuracy/coco.py",),
    "pandas": ("orchestrator/analysis", "orchestrator/report"),
    "vl_convert": ("orchestrator/report/chart_child.py",),
    "altair": ("orchestrator/report/drawings.py", "orchestrator/report/explain/drawings.py"),
    "rich": ("orchestrator/console.py", "orchestrator/report"),
}

#: Nothing here may reach the world outside its arguments.
PURE = (
    "orchestrator/factors.py",
    "orchestrator/program.py",
    "orchestrator/trial.py",
    "orchestrator/plan.py",
    "orchestrator/schedule.py",
    "orchestrator/shape.py",
    "orchestrator/figures.py",
    "orchestrator/measurement.py",
    "orchestrator/measures",
    "orchestrator/analysis",
    "orchestrator/frameworks/reading",
    "orchestrator/frameworks/about.py",
    "orchestrator/frameworks/registry.py",
    "orchestrator/frameworks/command/about.py",
    "orchestrator/frameworks/command/reading.py",
    "orchestrator/frameworks/command/runner.py",
    "orchestrator/frameworks/llm/about.py",
    "orchestrator/frameworks/llm/runner.py",
    "orchestrator/frameworks/llm/types.py",
    "orchestrator/frameworks/tflite/about.py",
    "orchestrator/frameworks/torch/about.py",
    "orchestrator/frameworks/onnx/about.py",
    "orchestrator/frameworks/onnx/runner.py",
    "orchestrator/frameworks/runner.py",
    "orchestrator/frameworks/tflite/benchmark_log.py",
    "orchestrator/frameworks/tflite/benchmark_model.py",
    "orchestrator/frameworks/tflite/litert.py",
    "orchestrator/frameworks/tflite/litert_json.py",
    "orchestrator/frameworks/tflite/log_prefixes.py",
    "orchestrator/frameworks/tflite/log_processes.py",
    "orchestrator/frameworks/tflite/logs.py",
    "orchestrator/frameworks/tflite/messages.py",
    "orchestrator/frameworks/torch/runner.py",
    "orchestrator/isa/levels.py",
    "orchestrator/isa/proof.py",
    "agents/orchestrate_agent/protocol.py",
    "agents/orchestrate_agent/course.py",
    "agents/orchestrate_agent/expectations.py",
    "agents/orchestrate_agent/identity.py",
)
WORLD = {"os", "io", "socket", "subprocess", "shutil", "pathlib", "time", "threading", "tempfile"}


@lru_cache
def modules() -> tuple[Path, ...]:
    found = [p for top in ("orchestrator", "agents") for p in (ROOT / top).rglob("*.py")]
    return tuple(sorted(path.relative_to(ROOT) for path in found))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str | None:
    words = module.split(".")
    if words[0] == "orchestrate_agent":
        return "agents"
    return words[1] if words[0] == "orchestrator" and len(words) > 1 else None


def within(path: Path, places: tuple[str, ...]) -> bool:
    return any(str(path) == place or str(path).startswith(f"{place}/") for place in places)


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_module_imports_only_what_its_part_may(path: Path) -> None:
    used = {part for name in imports(path) if (part := part_of(name)) in MAY_IMPORT | {"agents": 0}}
    if path.parts[0] == "agents":
        assert used <= {"agents"}
        return
    own = path.parts[1].removesuffix(".py")
    assert used - {own} <= MAY_IMPORT[own]


def test_the_agent_needs_no_newer_python_than_its_nodes_have() -> None:
    """No syntax and nothing of the standard library that came after Python 3.8."""
    pytest.importorskip("vermin")
    command = [sys.executable, "-c", "import sys, vermin; sys.exit(vermin.main())"]
    options = ["--target=3.8-", "--violations", "--no-tips", "--processes=1"]
    done = subprocess.run(
        [*command, *options, "agents/orchestrate_agent"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_travels_to_a_device_is_what_is_in_git() -> None:
    """A new module of the agent is added to its contents.py, and a deleted one taken out."""
    folder = "agents/orchestrate_agent"
    done = subprocess.run(
        ["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    in_git = {path.removeprefix(f"{folder}/") for path in done.stdout.split("\0") if path}
    assert set(MODULES) == in_git
    assert list(MODULES) == sorted(MODULES)


def test_a_wheel_has_every_package() -> None:
    """A new folder of modules is added to the packages in pyproject.toml."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'^  "(orchestrat[\w.]+)",$', project, re.MULTILINE))
    folders = {path.parent for path in modules()}
    packages = {".".join(folder.parts).removeprefix("agents.") for folder in folders}
    assert listed == packages | {"orchestrator.schemas", "orchestrator.suites"}  # which are data


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_library_is_used_only_behind_its_fence(path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top in ("orchestrator", "orchestrate_agent"):
            continue
        assert top in FENCES, f"{path} imports {top}, which has no fence"
        assert within(path, FENCES[top]), f"{path} imports {top}"


@pytest.mark.parametrize("path", [p for p in modules() if within(p, PURE)], ids=str)
def test_what_is_pure_cannot_reach_out(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & WORLD


def test_the_parts_form_no_cycle() -> None:
    arrows = {part: used - {"agents"} for part, used in MAY_IMPORT.items()}
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        free = [part for part in arrows if part not in order and arrows[part] <= set(order)]
        assert free, f"a cycle among {set(MAY_IMPORT) - set(order)}"
        order += free


#: ``zoo/build.py`` is the child process: its stdout is a wire to the controller.
_SPEAKS = ("orchestrator/cli.py", "orchestrator/zoo/build.py")


@pytest.mark.parametrize("path", [p for p in modules() if p.parts[0] == "orchestrator"], ids=str)
def test_only_the_command_line_writes_to_stdout_or_exits(path: Path) -> None:
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        text = ast.unparse(node) if isinstance(node, ast.Call) else ""
        if text.startswith("sys.exit("):
            # the latter two are child processes
            assert path.name in ("__main__.py", "build.py", "chart_child.py", "pip_for_target.py")
        if text.startswith(("print(", "sys.stdout.write(")):
            assert within(path, _SPEAKS), f"{path}: {text}"
