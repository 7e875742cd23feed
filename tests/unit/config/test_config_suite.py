"""A good suite, where it is found, and what the command line changes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.config import (
    Suite,
    load_suite,
    parse_blocks,
    parse_duration,
    parse_precision,
    shipped_suites,
    suite_files,
    with_overrides,
)
from orchestrator.errors import ConfigError, UsageError
from orchestrator.frameworks.registry import default

MODELS = ("mobilenet_v1", "resnet50")
SCHEMES = ("float32", "float16", "dynamic_range", "full_int8")
SMALL = "models: [resnet50]\nschemes: [float32, float16]\n"


def load(name: str, relative_to: Path | None = None) -> Suite:
    return load_suite(name, relative_to=relative_to)


def written(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_quick_is_what_the_design_says() -> None:
    quick = load("quick")
    assert (quick.name, quick.models, quick.schemes) == ("quick", MODELS, SCHEMES)
    assert (quick.baseline, quick.runner, *quick.runtimes) == ("float32", "auto", "any")
    assert (quick.protocol.min_blocks, quick.protocol.max_blocks) == (6, 20)
    assert (quick.protocol.precision, quick.protocol.budget_s) == (0.02, 240)
    warmup, steady = quick.protocol.warmup, quick.protocol.steady
    assert (warmup.runs, warmup.seconds, steady.runs, steady.seconds) == (5, 0.5, 30, 1.0)
    assert quick.protocol.timeout_s == 300
    assert quick.protocol.memory.trials == 1


def test_what_quick_says_of_defaults_is_true() -> None:
    quick = load("quick")
    bare = Suite(name="quick", models=quick.models, schemes=quick.schemes)
    assert bare.protocol.budget_s is None
    assert with_overrides(bare, budget=240) == quick


def test_every_field_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        models: [resnet50]
        schemes: [float16, float32]
        baseline: float16
        runner: litert
        runtime: tensorflow
        factors: {threads: [1, 4], delegate: [none, xnnpack], isa: [native], batch: [2]}
        protocol:
          blocks: 12
          precision: 1e-2
          budget: 1.5h
          warmup: {runs: 0, seconds: 0}
          steady: {runs: 7, seconds: 2s}
          memory: {trials: 0}
          gate: {load: 0.2, temperature: 65, timeout: 1m}
          timeout: 90
        """,
    )
    suite = load(str(path))
    assert (suite.name, suite.baseline, suite.runtime) == ("mine", "float16", "tensorflow")
    assert (suite.factors.threads, suite.factors.delegate) == ((1, 4), ("none", "xnnpack"))
    assert (suite.protocol.blocks, suite.protocol.precision) == ((12, 12), 0.01)
    assert (suite.protocol.budget_s, suite.protocol.memory.trials) == (5400, 0)
    warmup, steady = suite.protocol.warmup, suite.protocol.steady
    assert (warmup.runs, warmup.seconds, steady.runs, steady.seconds) == (0, 0, 7, 2)
    assert suite.protocol.timeout_s == 90
    gate = suite.protocol.gate
    assert (gate.load, gate.temperature_c, gate.timeout_s) == (0.2, 65.0, 60.0)
    assert Suite.from_json(json.loads(json.dumps(suite.to_json()))) == suite


@pytest.mark.parametrize("blocks", ['"6:20"', "6:20", "'6:20'"])
def test_blocks_need_no_quotes(tmp_path: Path, blocks: str) -> None:
    # to YAML 1.1 an unquoted 6:20 is the number 380
    path = written(tmp_path, SMALL + f"protocol: {{blocks: {blocks}}}\n")
    assert load(str(path)).protocol.blocks == (6, 20)


def test_the_command_line_overrides_the_suite() -> None:
    quick = load("quick")
    changed = with_overrides(quick, blocks=(8, 9), precision=0.5, budget=60.0)
    assert (changed.protocol.blocks, changed.protocol.precision) == ((8, 9), 0.5)
    assert changed.protocol.budget_s == 60
    assert with_overrides(quick) == quick
    with pytest.raises(UsageError, match=r"command line: `protocol\.precision`: a precision is"):
        with_overrides(quick, precision=2.0)
    with pytest.raises(UsageError, match="5 blocks are too few"):
        with_overrides(quick, blocks=(5, 9))


def test_a_name_is_looked_for_beside_the_inventory_then_here_then_in_the_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    monkeypatch.chdir(here)
    inventory = written(there, "", name="inventory")
    assert load("quick", inventory).models == MODELS
    written(here / "suites", SMALL, name="quick")
    assert load("quick", inventory).schemes == ("float32", "float16")
    written(there / "suites", SMALL + "runner: litert\n", name="quick")
    assert load("quick", inventory).runner == "litert"
    assert load("quick", there).runner == "litert"
    assert load("quick").runner == "auto"


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no suite is called `quik`; did you mean `quick`"):
        load("quik")
    written(tmp_path / "suites", SMALL)
    with pytest.raises(UsageError, match=r"there are: .*\bmine, "):
        load("zzz", tmp_path)
    with pytest.raises(ConfigError, match="there is no such file"):
        load(str(tmp_path / "quick.yaml"))


@pytest.mark.parametrize("installed", [True, False])
def test_shipped_suites_in_a_wheel_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    package = tmp_path / "orchestrator"
    package.mkdir()
    monkeypatch.setattr(suite_files, "_PACKAGE", package)
    written(tmp_path / "suites", SMALL, name="beside")
    assert shipped_suites() == {}, "a folder `suites` among other packages is not ours"
    if installed:
        written(package / "suites", SMALL, name="inside")
    else:
        (tmp_path / "pyproject.toml").touch()
    assert list(shipped_suites()) == (["inside"] if installed else ["beside"])


def test_every_shipped_suite_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"quick", "seven-cnns", "pytorch", "imagenette"} <= set(shipped_suites())
    # stand-ins for the files that a head says are the user's own
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "ssd_mobilenet_v2.tflite").touch()
    for scheme in ("", "_float16", "_weight_only_int8"):
        (tmp_path / "coco" / f"mask_rcnn{scheme}.onnx").touch()
    for path in shipped_suites().values():
        suite = load_suite(str(path))
        assert suite.name == path.stem


def test_a_suite_of_torch_has_no_delegate_and_comes_back_the_same(tmp_path: Path) -> None:
    text = "models: [resnet18]\nschemes: [float32, qat_int8]\nrunner: torch\n"
    suite = load(str(written(tmp_path, text)))
    assert ([each.name for each in suite.frameworks], suite.factors.delegate) == (
        ["torch"],
        ("none",),
    )
    assert (suite.factors.engine, suite.factors.processor) == (("default",), ("cpu",))
    assert Suite.from_json(suite.to_json()) == suite
    assert with_overrides(suite, blocks=(6, 6)).factors == suite.factors


def test_a_suite_of_before_torch_can_be_read(tmp_path: Path) -> None:
    suite = load(str(written(tmp_path, SMALL)))
    data = suite.to_json()
    del data["factors"]["engine"], data["factors"]["processor"]
    assert Suite.from_json(data) == suite and suite.frameworks == (default(),)


def test_a_run_of_before_the_gate_goes_on_without_waiting(tmp_path: Path) -> None:
    suite = load(str(written(tmp_path, SMALL)))
    assert (suite.protocol.gate.load, suite.protocol.gate.timeout_s) == (0.1, 3.0)
    data = suite.to_json()
    assert Suite.from_json(data) == suite
    del data["protocol"]["gate"]
    assert Suite.from_json(data).protocol.gate.load == 1.0


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1.5h", 5400), ("0", 0), (" .5 ", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "5 m", "-5", "1e5", "5M", "5mm", "٥m", "9" * 400, "1:30"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"write for example 30s, 5m or 1\.5h"):
        parse_duration(text)


def test_blocks() -> None:
    assert parse_blocks("6:20") == (6, 20)
    assert parse_blocks("8") == (8, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5:20", "6 pairs"),
        ("8:7", "8 blocks are more than 7"),
        ("x", "for example 6:20"),
        ("6:", "for example 6:20"),
        ("6:99999", "at most 10000"),
    ],
)
def test_no_blocks(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_blocks(text)


def test_precision() -> None:
    assert parse_precision("0.02") == 0.02
    for text in ("0", "1", "nan", "inf", "2%", ""):
        with pytest.raises(ValueError, match="share between 0 and 1"):
            parse_precision(text)
