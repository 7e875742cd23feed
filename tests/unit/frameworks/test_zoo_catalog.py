"""A recipe's key changes with everything that changes the bytes, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.parts import check_known, key_of
from orchestrator.frameworks.registry import default, framework
from orchestrator.frameworks.tflite.catalog import MODELS, recipe
from orchestrator.trial import Variant
from orchestrator.zoo import BuildOptions, known_models, known_schemes
from orchestrator.zoo.parallel import MEMORY_LIMIT_MB

INT8 = Variant("resnet50", "full_int8")
FLOAT = Variant("resnet50", "float32")


def test_the_studied_models_and_schemes_are_known() -> None:
    assert {"mobilenet_v1", "resnet50"} <= set(known_models())
    assert known_schemes() == (
        "float32", "float16", "dynamic_range", "full_int8", "weight_only_int8",
    )  # fmt: skip


def test_keys_tell_variants_apart() -> None:
    keys = {
        key_of(default(), Variant(m, s), BuildOptions())
        for m in known_models()
        for s in known_schemes()
    }
    assert len(keys) == len(known_models()) * len(known_schemes())


@pytest.mark.parametrize(
    "other",
    [
        BuildOptions(weights="random"),
        BuildOptions(seed=1),
        BuildOptions(compatibility="tflite-2.14"),
    ],
)
def test_keys_tell_options_apart(other: BuildOptions) -> None:
    assert key_of(default(), FLOAT, other) != key_of(default(), FLOAT, BuildOptions())


def test_files_from_before_compatibility_could_be_chosen_still_count() -> None:
    assert "compatibility" not in recipe(FLOAT, BuildOptions())


def test_files_from_before_exports_could_be_chosen_still_count() -> None:
    fixed = replace(FLOAT, export="fixed")
    assert "export" not in recipe(FLOAT, BuildOptions())
    assert recipe(fixed, BuildOptions()) == {**recipe(FLOAT, BuildOptions()), "export": "fixed"}
    # as it was before there was a choice
    assert key_of(default(), FLOAT, BuildOptions()) == "2b397f69eb14ce99"


def test_an_export_that_the_framework_lacks_is_refused_with_what_there_is() -> None:
    with pytest.raises(ModelBuildError, match="no export frozen; there are open, fixed"):
        check_known(default(), replace(FLOAT, export="frozen"))
    with pytest.raises(ModelBuildError, match="no export fixed; there are open"):
        check_known(framework("torch"), Variant("resnet18", "float32", "fixed"))


def test_an_unknown_compatibility_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"current, tflite-2\.14"):
        BuildOptions(compatibility="tflite-2.13")


def test_every_model_can_be_built_within_the_limit() -> None:
    for name, spec in MODELS.items():
        assert 0 < spec.peak_mb <= MEMORY_LIMIT_MB, name


def test_a_recipe_names_no_version_of_the_moment() -> None:
    assert not {"tensorflow", "keras", "python", "built"} & set(recipe(INT8, BuildOptions()))


def test_images_count_by_content_and_only_where_they_matter(tmp_path: Path) -> None:
    options = replace(BuildOptions(), representative=tmp_path)
    image = tmp_path / "a.png"
    image.write_bytes(b"one")
    before = key_of(default(), INT8, options)
    assert key_of(default(), FLOAT, options) == key_of(default(), FLOAT, BuildOptions())

    image.write_bytes(b"two")
    assert key_of(default(), INT8, options) != before
    image.write_bytes(b"one")
    assert key_of(default(), INT8, options) == before


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ModelBuildError, match="holds no image"):
        key_of(default(), INT8, BuildOptions(representative=tmp_path))


@pytest.mark.parametrize("variant", [Variant("resnet5", "float32"), Variant("resnet50", "int7")])
def test_an_unknown_variant_is_refused_with_what_there_is(variant: Variant) -> None:
    with pytest.raises(ModelBuildError, match=r"there are .*(resnet50|dynamic_range)"):
        check_known(default(), variant)
