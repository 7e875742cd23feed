"""The user's own files in a suite: read, paired, checked against their names, kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.artifacts.store import ArtifactStore
from orchestrator.config import Suite, load_suite
from orchestrator.config.user_models import split_name
from orchestrator.errors import ArtifactError, ConfigError, UsageError
from orchestrator.frameworks.registry import default
from orchestrator.trial import InputSpec, Variant
from orchestrator.zoo import OwnFiles, check_variants, find_kept, keep, resolve, stored_artifacts

DATA = Path(__file__).parent.parent.parent / "data" / "zoo"


def put(folder: Path, **files: str) -> None:
    """Files by stem, each a copy of the data file of that scheme."""
    for stem, scheme in files.items():
        shutil.copyfile(DATA / f"{scheme}.tflite", folder / f"{stem}.tflite")


def load(folder: Path, text: str) -> Suite:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_suite(str(path))


def own(folder: Path, text: str) -> OwnFiles:
    return resolve(load(folder, text))


def variants(found: OwnFiles) -> dict[str, str]:
    return {str(variant): a.path.name for variant, a in found.artifacts.items()}


# -- pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["foo.tflite", "foo_quant.tflite"])
def test_files_of_one_stem_are_one_model(tmp_path: Path, entry: str) -> None:
    """Which scheme each is, its bytes say."""
    put(tmp_path, foo="float32", foo_quant="dynamic_range", foo_int8="full_int8", other="float16")
    found = own(tmp_path, f"models: [{{file: {entry}}}]")
    assert variants(found) == {
        "foo float32": "foo.tflite",
        "foo dynamic_range": "foo_quant.tflite",
        "foo full_int8": "foo_int8.tflite",
    }
    assert found.suite.schemes_of("foo", default()) == ("float32", "full_int8", "dynamic_range")
    assert all(a.weights == f"user file {a.path.name}" for a in found.artifacts.values())


def test_a_pair_may_be_listed_file_by_file(tmp_path: Path) -> None:
    put(tmp_path, foo="float32", foo_quant="full_int8")
    found = own(tmp_path, "models: [{file: foo.tflite}, {file: ./foo_quant.tflite}]")
    assert found.suite.models == ("foo",)
    assert len(found.artifacts) == 2


def test_own_models_stand_beside_those_of_the_catalogue(tmp_path: Path) -> None:
    put(tmp_path, foo="float32")
    suite = load(tmp_path, "models: [mobilenet_v1, {file: foo.tflite}]\nschemes: [float32]")
    assert suite.models == ("mobilenet_v1", "foo")
    with pytest.raises(ConfigError, match="`schemes`"):
        load(tmp_path, "models: [mobilenet_v1, {file: foo.tflite}]")


def test_variants_are_called_as_the_suite_calls_them(tmp_path: Path) -> None:
    put(tmp_path, a="float32", b="full_int8", c="full_int8_per_tensor")
    files = "{float32: a.tflite, per_channel: b.tflite, int8_t: c.tflite}"
    found = own(tmp_path, f"models: [{{name: m, variants: {files}}}]")
    assert variants(found) == {
        "m float32": "a.tflite",
        "m per_channel": "b.tflite",
        "m int8_t": "c.tflite",
    }
    again = Suite.from_json(found.suite.to_json())
    assert again.schemes_of("m", default()) == ("float32", "per_channel", "int8_t")
    assert str(tmp_path) not in str(again.user_models[0].files)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("foo.tflite", ("foo", None)),
        ("foo_quant.tflite", ("foo", "quant")),
        ("foo-full_int8.tflite", ("foo", "full_int8")),
        ("foo_full_integer_quant.tflite", ("foo", "full_integer_quant")),
        ("int8.tflite", ("int8", None)),
        ("quantum.tflite", ("quantum", None)),
    ],
)
def test_names_are_split(name: str, parts: tuple[str, str | None]) -> None:
    assert split_name(Path(name)) == parts


# -- refused where it is written ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "place", "message"),
    [
        ("{file: absent.tflite}", "1:17", "there is no file"),
        ("{file: foo.pb}", "1:17", "is not a model file"),
        ("{file: [foo.tflite]}", "1:17", "expected text, not a list"),
        ("{fil: foo.tflite}", "1:11", "unknown key `fil`; did you mean `file`"),
        ("{file: foo.tflite, inptu: 3}", "1:29", "did you mean `input`"),
        ("{file: foo.tflite, input: [0]}", "1:36", "input: "),
        ("{name: foo}", "1:10", "variants: "),
        ("{name: foo, variants: {}}", "1:32", "list at least one"),
        ("{name: a/b, variants: {float32: foo.tflite}}", "1:17", "file name"),
        ("{name: foo, variants: {a b: foo.tflite}}", "1:38", "file name"),
        ("foo", "1:10", "unknown"),
    ],
)
def test_a_mistake_is_answered_with_its_place(
    tmp_path: Path, entry: str, place: str, message: str
) -> None:
    put(tmp_path, foo="float32")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"models: [{entry}]")
    assert f"mine.yaml:{place}: " in str(caught.value)
    assert message in str(caught.value)


def test_what_is_no_key_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key `user_models`"):
        load(tmp_path, "models: [mobilenet_v1]\nschemes: [float32]\nuser_models: []")


# -- refused for what the files hold --------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "{name: m, variants: {float32: f.tflite, full_int8: d.tflite}}",
            "full_int8 contradicts d",
        ),
        ("{name: m, variants: {float32: f.tflite, my_int8: f2.tflite}}", "my_int8 contradicts f2"),
        ("{file: liar_int8.tflite}", "the name liar_int8.tflite contradicts"),
        ("{file: same.tflite}", "same.tflite and same_fp32.tflite have the same content"),
        (
            "{file: twice_quant.tflite}",
            "quant.tflite and twice_int8.tflite are both|int8.tflite and",
        ),
        ("{file: q.tflite}", "q has no float32 to compare with, only full_int8"),
        ("{file: broken.tflite}", "broken.tflite: is not a complete .tflite file"),
        ("{file: f.tflite, input: [1, 3]}", "has another number of sizes"),
    ],
)
def test_files_that_are_not_what_they_are_called(tmp_path: Path, entry: str, message: str) -> None:
    put(tmp_path, f="float32", f2="float32", d="dynamic_range", liar_int8="float32", q="full_int8")
    put(tmp_path, same="float32", same_fp32="float32")
    put(tmp_path, twice="float32", twice_quant="full_int8", twice_int8="full_int8_per_tensor")
    (tmp_path / "broken.tflite").write_bytes((DATA / "float32.tflite").read_bytes()[:999])
    with pytest.raises(UsageError, match=message) as caught:
        own(tmp_path, f"models: [{entry}]")
    assert f"{tmp_path / 'mine.yaml'}:1:10: " in str(caught.value)


def test_a_pytorch_file_needs_its_runner(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.jit.script(torch.nn.Linear(4, 2)).save(tmp_path / "net.pt")
    text = "models: [{file: net.pt, input: [1, 4]}]"
    assert load(tmp_path, text).user_models[0].input == (InputSpec((1, 4)),)
    with pytest.raises(UsageError, match=r"net\.pt is a PyTorch file and needs runner: torch"):
        own(tmp_path, text)


def test_the_same_bytes_under_two_models_are_refused(tmp_path: Path) -> None:
    put(tmp_path, a="float32", b="float32")
    found = own(tmp_path, "models: [{file: a.tflite}, {file: b.tflite}]")
    with pytest.raises(UsageError, match=r"a float32 \(a.tflite\) and b float32 \(b.tflite\) are"):
        check_variants(found, {})


def test_a_built_file_that_is_another_scheme_is_refused(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    data = (DATA / "dynamic_range.tflite").read_bytes()
    store.add(
        data, model="resnet50", scheme="full_int8", recipe_key="k", details={}, suffix=".tflite"
    )
    (artifact,) = stored_artifacts(tmp_path)
    nobody = OwnFiles(Suite(name="s", models=("resnet50",), schemes=("float32",)), {})
    with pytest.raises(UsageError, match=r"resnet50 full_int8 contradicts .* holds dynamic_range"):
        check_variants(nobody, {artifact.variant: artifact})
    artifact.path.write_bytes(data[:-1] + b"\1")  # damaged: the build sees to that
    check_variants(nobody, {artifact.variant: artifact})


# -- kept -----------------------------------------------------------------------------------------


def test_what_is_measured_is_kept_by_its_hash(tmp_path: Path) -> None:
    put(tmp_path, foo="float32")
    found = own(tmp_path, "models: [{file: foo.tflite}]")
    kept = keep(found, tmp_path / "models")
    variant = Variant("foo", "float32")
    put(tmp_path, foo="full_int8")
    again = find_kept(
        [(variant, kept[variant].sha256, "user file foo.tflite")], tmp_path / "models"
    )
    assert again[variant].path.read_bytes() == (DATA / "float32.tflite").read_bytes()
    again[variant].path.write_bytes(b"")
    assert not find_kept([(variant, kept[variant].sha256, "")], tmp_path / "models")


def test_a_file_that_changes_meanwhile_is_not_measured(tmp_path: Path) -> None:
    put(tmp_path, foo="float32")
    found = own(tmp_path, "models: [{file: foo.tflite}]")
    put(tmp_path, foo="float16")
    with pytest.raises(ArtifactError, match="has changed since it was read"):
        keep(found, tmp_path / "models")
    assert list((tmp_path / "models" / "files").iterdir()) == []
