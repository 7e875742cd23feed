"""Finding and building against a real store; the build child is replaced by a quick one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts.files import locked
from orchestrator.artifacts.store import ArtifactStore
from orchestrator.errors import ArtifactError, ModelBuildError
from orchestrator.frameworks.building import BuildRequest
from orchestrator.frameworks.parts import key_of
from orchestrator.frameworks.registry import default
from orchestrator.trial import Variant
from orchestrator.zoo import (
    BuildOptions,
    BuildProgress,
    artifacts_by_hash,
    ensure_artifacts,
    find_artifacts,
    models,
)
from orchestrator.zoo.parallel import Capacity

FLOAT32 = Variant("mobilenet_v1", "float32")
FLOAT16 = Variant("mobilenet_v1", "float16")
INT8 = Variant("mobilenet_v1", "full_int8")
RESNET = Variant("resnet50", "float32")


class Toolchain:
    """Stands for the build child: stores a few bytes for every scheme it is asked for."""

    def __init__(self) -> None:
        self.weights = "random(seed=0)"
        self.weights_sha256 = "aa"
        self.asked: list[tuple[str, tuple[str, ...], str]] = []
        self.exports: list[str] = []
        self.fail_at: str | None = None

    def run_build(
        self,
        request: BuildRequest,
        on_message: Callable[[Mapping[str, str]], None],
        on_start: object = None,
    ) -> None:
        self.asked.append((request.model, request.schemes, request.weights))
        self.exports.append(request.export)
        for scheme in request.schemes:
            if scheme == self.fail_at:
                raise ModelBuildError(f"{request.model}: killed")
            self.store(request, scheme)
            on_message({"stored": scheme})

    def store(self, request: BuildRequest, scheme: str) -> None:
        variant = Variant(request.model, scheme, request.export)
        ArtifactStore(request.models_dir).add(
            f"{variant} {self.weights_sha256}".encode(),
            model=request.model,
            scheme=scheme,
            recipe_key=key_of(default(), variant, request.options),
            details={
                "weights": self.weights,
                "weights_sha256": self.weights_sha256,
                **({} if request.export == "open" else {"export": request.export}),
            },
            suffix=".tflite",
        )


@pytest.fixture
def toolchain(monkeypatch: pytest.MonkeyPatch) -> Toolchain:
    made = Toolchain()
    monkeypatch.setattr(models, "run_build", made.run_build)
    monkeypatch.setattr(models, "_check_toolchain", lambda framework: None)
    # One model at a time, so that the order in which they are asked for is that of the variants.
    monkeypatch.setattr(models, "capacity", lambda: Capacity(memory_mb=8000, jobs=1))
    return made


def test_what_is_there_is_found_without_building(toolchain: Toolchain, tmp_path: Path) -> None:
    built = ensure_artifacts([FLOAT32, INT8, RESNET], tmp_path)
    assert [len(asked[1]) for asked in toolchain.asked] == [2, 1]  # one child a model

    assert ensure_artifacts([FLOAT32, INT8, RESNET], tmp_path) == built
    assert find_artifacts([FLOAT32, INT8, RESNET], tmp_path, verify=True) == built
    assert len(toolchain.asked) == 2
    assert built[INT8].weights == "random(seed=0)"
    assert built[INT8].path.read_bytes() == b"mobilenet_v1 full_int8 aa"


def test_only_what_is_missing_is_built(toolchain: Toolchain, tmp_path: Path) -> None:
    ensure_artifacts([FLOAT32], tmp_path)
    ensure_artifacts([FLOAT32, INT8], tmp_path)
    assert [asked[1] for asked in toolchain.asked] == [("float32",), ("full_int8",)]


def test_a_build_that_broke_off_goes_on_where_it_was(toolchain: Toolchain, tmp_path: Path) -> None:
    toolchain.fail_at = "full_int8"
    with pytest.raises(ModelBuildError, match="killed"):
        ensure_artifacts([FLOAT32, INT8], tmp_path)
    assert set(find_artifacts([FLOAT32, INT8], tmp_path)) == {FLOAT32}

    toolchain.fail_at = None
    assert set(ensure_artifacts([FLOAT32, INT8], tmp_path)) == {FLOAT32, INT8}
    assert toolchain.asked[-1][1] == ("full_int8",)


@pytest.mark.parametrize("damaged", [b"mobilenet_v1 float32 ab", b"mobil"])  # flipped, cut off
def test_a_damaged_file_is_refused_or_rebuilt(
    toolchain: Toolchain, tmp_path: Path, damaged: bytes
) -> None:
    good = ensure_artifacts([FLOAT32], tmp_path)[FLOAT32]
    good.path.write_bytes(damaged)

    with pytest.raises(ArtifactError, match=f"{good.path.name}.*models build"):
        find_artifacts([FLOAT32], tmp_path, verify=True)
    said: list[BuildProgress] = []
    assert ensure_artifacts([FLOAT32], tmp_path, on_progress=said.append)[FLOAT32] == good
    assert good.path.read_bytes() == b"mobilenet_v1 float32 aa"
    assert any(good.path.name in progress.step for progress in said)


def test_a_deleted_file_is_missing(toolchain: Toolchain, tmp_path: Path) -> None:
    ensure_artifacts([FLOAT32], tmp_path)[FLOAT32].path.unlink()
    assert find_artifacts([FLOAT32], tmp_path) == {}
    assert set(ensure_artifacts([FLOAT32], tmp_path)) == {FLOAT32}


def test_weights_of_one_model_are_never_mixed(toolchain: Toolchain, tmp_path: Path) -> None:
    ensure_artifacts([FLOAT32, FLOAT16, RESNET], tmp_path)
    toolchain.weights_sha256 = "bb"  # as another version's random numbers

    built = ensure_artifacts([FLOAT32, INT8, RESNET], tmp_path)

    assert {a.entry["weights_sha256"] for v, a in built.items() if v != RESNET} == {"bb"}
    assert built[RESNET].entry["weights_sha256"] == "aa"  # another model's are its own
    assert find_artifacts([FLOAT16], tmp_path) == {}  # still there, but not to be compared


def test_imagenet_weights_bind_later_schemes(toolchain: Toolchain, tmp_path: Path) -> None:
    toolchain.weights = "imagenet"
    ensure_artifacts([FLOAT32], tmp_path)
    ensure_artifacts([FLOAT32, INT8], tmp_path)
    assert [asked[2] for asked in toolchain.asked] == ["auto", "imagenet"]


def test_random_weights_bind_later_schemes(toolchain: Toolchain, tmp_path: Path) -> None:
    ensure_artifacts([FLOAT32], tmp_path)
    ensure_artifacts([FLOAT32, INT8], tmp_path)
    assert [asked[2] for asked in toolchain.asked] == ["auto", "random"]


def test_a_toolchain_that_never_repeats_itself_is_given_up(
    toolchain: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_artifacts([FLOAT32], tmp_path)

    def other_weights_each_time(
        request: BuildRequest, on_message: object, on_start: object
    ) -> None:
        toolchain.weights_sha256 += "x"
        toolchain.store(request, request.schemes[0])

    monkeypatch.setattr(models, "run_build", other_weights_each_time)
    with pytest.raises(ModelBuildError, match="does something else change that"):
        ensure_artifacts([FLOAT32, INT8, FLOAT16], tmp_path)


def test_models_are_built_side_by_side_and_counted_together(
    toolchain: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "capacity", lambda: Capacity(memory_mb=8000, jobs=2))
    both = threading.Barrier(2, timeout=10)  # neither passes before the other has begun

    def run_build(request: BuildRequest, on_message: Any, on_start: object) -> None:
        both.wait()
        toolchain.run_build(request, on_message)

    monkeypatch.setattr(models, "run_build", run_build)
    said: list[BuildProgress] = []
    built = ensure_artifacts([FLOAT32, INT8, RESNET], tmp_path, on_progress=said.append)
    assert list(built) == [FLOAT32, INT8, RESNET]
    assert [p.done for p in said if p.variant is not None] == [1, 2, 3]
    assert all(p.step.startswith(("mobilenet_v1: ", "resnet50: ")) for p in said)


def test_another_compatibility_is_another_file(toolchain: Toolchain, tmp_path: Path) -> None:
    old = BuildOptions(compatibility="tflite-2.14")
    ensure_artifacts([FLOAT32], tmp_path)
    assert find_artifacts([FLOAT32], tmp_path, options=old) == {}
    ensure_artifacts([FLOAT32], tmp_path, options=old)
    assert len(toolchain.asked) == 2
    assert len(ArtifactStore(tmp_path).entries()) == 2


def test_another_export_is_another_file_with_the_same_weights(
    toolchain: Toolchain, tmp_path: Path
) -> None:
    fixed = replace(FLOAT32, export="fixed")
    open_ones = ensure_artifacts([FLOAT32, INT8], tmp_path)
    assert find_artifacts([fixed], tmp_path) == {}

    said: list[BuildProgress] = []
    both = ensure_artifacts([FLOAT32, INT8, fixed], tmp_path, on_progress=said.append)

    assert toolchain.exports == ["open", "fixed"]
    assert toolchain.asked[-1] == ("mobilenet_v1", ("float32",), "random")
    assert [(p.variant, p.done) for p in said if p.variant is not None] == [(fixed, 3)]
    assert {v: both[v] for v in open_ones} == open_ones
    assert both[fixed].variant == fixed
    assert both[fixed].path.read_bytes() == b"mobilenet_v1 float32, export fixed aa"
    hashes = {v: a.sha256 for v, a in both.items()}
    assert artifacts_by_hash(hashes, tmp_path) == both


def test_a_file_is_found_by_its_hash_whatever_it_was_built_with(
    toolchain: Toolchain, tmp_path: Path
) -> None:
    options = BuildOptions(compatibility="tflite-2.14", seed=3)
    built = ensure_artifacts([FLOAT32], tmp_path, options=options)
    assert artifacts_by_hash({FLOAT32: built[FLOAT32].sha256}, tmp_path) == built
    assert artifacts_by_hash({FLOAT32: "0" * 64}, tmp_path) == {}

    built[FLOAT32].path.write_bytes(b"mobilenet_v1 float32 ab")
    with pytest.raises(ArtifactError, match="its SHA-256 is"):
        artifacts_by_hash({FLOAT32: built[FLOAT32].sha256}, tmp_path)


def test_progress_counts_variants(toolchain: Toolchain, tmp_path: Path) -> None:
    ensure_artifacts([FLOAT32], tmp_path)
    said: list[BuildProgress] = []
    ensure_artifacts([FLOAT32, INT8, RESNET], tmp_path, on_progress=said.append)
    stored = [(p.variant, p.done, p.total) for p in said if p.variant is not None]
    assert stored == [(INT8, 2, 3), (RESNET, 3, 3)]


def test_without_tensorflow_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelBuildError, match=r"pip install 'orchestrate-quantized\[models\]'"):
        ensure_artifacts([FLOAT32], tmp_path)


def test_an_unknown_model_touches_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelBuildError, match="no model lenet"):
        ensure_artifacts([Variant("lenet", "float32")], tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_second_builder_waits_and_finds(toolchain: Toolchain, tmp_path: Path) -> None:
    waiting = threading.Event()
    found: list[object] = []

    def second() -> None:
        found.append(
            ensure_artifacts(
                [FLOAT32],
                tmp_path,
                on_progress=lambda p: waiting.set() if "waiting" in p.step else None,
            )
        )

    thread = threading.Thread(target=second)
    with locked(tmp_path / ".build.lock"):
        thread.start()
        assert waiting.wait(10)
        toolchain.store(
            BuildRequest(
                "mobilenet_v1", (), "auto", BuildOptions(), tmp_path, "tflite", "a.module"
            ),
            "float32",
        )
    thread.join(10)
    assert found
    assert toolchain.asked == []
