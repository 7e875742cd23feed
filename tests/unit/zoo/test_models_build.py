"""What ``models build`` and ``run`` ask the zoo for; the zoo itself is replaced by a recorder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli
from orchestrator.answers import models as command
from orchestrator.campaign import build_options
from orchestrator.config import load_suite
from orchestrator.trial import Variant
from orchestrator.zoo import BuildOptions, ModelArtifact, known_schemes

STUDIED = (
    "mobilenet_v1", "inception_v3", "resnet50", "resnet101", "resnet152", "vgg16", "vgg19",
)  # fmt: skip


class Zoo:
    """Remembers what was asked for, and says that it is there."""

    def __init__(self) -> None:
        self.variants: tuple[Variant, ...] = ()
        self.options = BuildOptions()

    def ensure_artifacts(
        self, variants: Iterable[Variant], models_dir: Path, **given: Any
    ) -> dict[Variant, ModelArtifact]:
        self.variants, self.options = tuple(variants), given["options"]
        path = models_dir / "model.tflite"
        return {v: ModelArtifact(v, path, "0" * 64, 1, "imagenet", {}) for v in self.variants}


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    made = Zoo()
    monkeypatch.setattr(command, "ensure_artifacts", made.ensure_artifacts)
    return made


def build(*arguments: str) -> int:
    return int(cli.main(["models", "build", *arguments]))


def test_a_suite_is_built_whole(zoo: Zoo) -> None:
    assert build("--suite", "seven-cnns") == 0
    schemes = ("float32", "dynamic_range", "full_int8", "weight_only_int8")
    assert zoo.variants == tuple(Variant(m, s) for m in STUDIED for s in schemes)
    assert zoo.options == BuildOptions()


def test_without_names_the_quick_suite_is_built(zoo: Zoo) -> None:
    assert build() == 0
    assert {v.model for v in zoo.variants} == {"mobilenet_v1", "resnet50"}
    assert "weight_only_int8" not in {v.scheme for v in zoo.variants}


def test_a_model_by_name_is_built_in_every_scheme(zoo: Zoo) -> None:
    assert build("vgg16") == 0
    assert zoo.variants == tuple(Variant("vgg16", s) for s in known_schemes())


def test_schemes_may_be_picked_from_a_suite(zoo: Zoo) -> None:
    assert build("--suite", "seven-cnns", "--scheme", "float16") == 0
    assert zoo.variants == tuple(Variant(m, "float16") for m in STUDIED)


def test_options_reach_the_zoo(zoo: Zoo, tmp_path: Path) -> None:
    given = ("--representative", str(tmp_path), "--compatibility", "tflite-2.14")
    assert build("resnet50", *given) == 0
    assert zoo.options == BuildOptions(representative=tmp_path, compatibility="tflite-2.14")
    torch = ("--calibration", "percentile", "--dataset", str(tmp_path), "--weights", "random")
    assert build("resnet18", "--framework", "torch", *torch) == 0
    assert zoo.options == BuildOptions("random", calibration="percentile", dataset=tmp_path)


def test_names_and_a_suite_contradict_each_other(
    zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("resnet50", "--suite", "quick") == 2
    assert "not both" in capsys.readouterr().err
    assert zoo.variants == ()


@pytest.mark.parametrize(
    ("runtime", "compatibility"),
    [("any", "current"), ("ai-edge-litert", "current"), ("tflite-runtime", "tflite-2.14")],
)
def test_the_runtime_of_a_suite_decides_what_must_load_its_files(
    tmp_path: Path, runtime: str, compatibility: str, zoo: Zoo
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"models: [resnet50]\nschemes: [float32]\nrunner: litert\nruntime: {runtime}\n")
    suite = load_suite(str(path))
    chosen = BuildOptions(representative=tmp_path, calibration="max")
    assert build_options(suite, chosen) == replace(chosen, compatibility=compatibility)
    assert build("--suite", str(path)) == 0
    assert zoo.options.compatibility == compatibility
    assert build("--suite", str(path), "--compatibility", "current") == 0
    assert zoo.options.compatibility == "current"
