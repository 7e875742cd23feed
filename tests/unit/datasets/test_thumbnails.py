"""Small pictures of samples: of the very files that were measured, and of nothing else."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.config.accuracy import Accuracy
from orchestrator.datasets import dataset, resolve, thumbnails
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet

Image = pytest.importorskip("PIL.Image", reason="needs the extra `accuracy`")

SIDE, MOST_BYTES = 96, 12_000
FEED = FeedRecord("m", "", 0, (0.0,), (1.0,), (), height=8, width=8, resize="stretch", colour="rgb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, (name, size) in enumerate({"cat": (640, 480), "dog": (8, 8)}.items()):
        place = tmp_path / "set" / name
        place.mkdir(parents=True)
        image = Image.new("RGB", size, (200, 40 * number, 10))
        image.save(place / "one.jpg", comment=b"secret place", exif=_exif())
    return tmp_path / "set"


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "secret camera"
    content: bytes = exif.tobytes()
    return content


def samples_of(folder: Path) -> SampleSet:
    """As a run keeps them."""
    section = Accuracy.model_validate(
        {
            "task": "classification",
            "dataset": str(folder),
            "preprocessing": {"size": 8, "resize": "stretch", "mean": 0, "std": 1},
        }
    )
    _, drawn = resolve(section, Path(), 1)
    return SampleSet(
        "classification", 1.0, drawn.source, drawn.digest, tuple(i.key for i in drawn.items),
        tuple(i.label for i in drawn.items), drawn.classes, (FEED,),
    )  # fmt: skip


def made(samples: SampleSet, keys: tuple[str, ...] = ()) -> tuple[dict[str, bytes], str]:
    return thumbnails.make_thumbnails(
        samples, keys or samples.keys, side=SIDE, most_bytes=MOST_BYTES
    )


def test_each_fits_its_bounds_and_tells_nothing_but_pixels(folder: Path) -> None:
    found, missing = made(samples_of(folder))
    assert missing == "" and set(found) == {"cat/one.jpg", "dog/one.jpg"}
    for content in found.values():
        picture = Image.open(io.BytesIO(content))
        assert picture.format == "JPEG" and max(picture.size) == SIDE
        assert len(content) <= MOST_BYTES
        assert b"secret" not in content and not picture.getexif()


def test_only_what_is_asked_for_is_made(folder: Path) -> None:
    found, _ = made(samples_of(folder), ("dog/one.jpg",))
    assert set(found) == {"dog/one.jpg"}


def test_a_folder_that_changed_since_shows_nothing(folder: Path) -> None:
    samples = samples_of(folder)
    Image.new("RGB", (9, 9)).save(folder / "dog" / "one.jpg")
    found, missing = made(samples)
    assert found == {} and "has changed since the run" in missing


def test_whoever_has_not_the_pictures_cannot_ask_for_them(folder: Path) -> None:
    """A received run that names somebody's folder and guesses what lies in there."""
    samples = replace(samples_of(folder), digest="0" * 64)
    assert made(samples)[0] == {}


def test_no_link_is_followed(folder: Path, tmp_path: Path) -> None:
    samples = samples_of(folder)
    outside = tmp_path / "outside.jpg"
    (folder / "dog" / "one.jpg").rename(outside)
    (folder / "dog" / "one.jpg").symlink_to(outside)
    found, missing = made(samples)
    assert found == {} and "links are not followed" in missing


@pytest.mark.parametrize(
    "key", ["../outside.jpg", "/etc/passwd", "cat", "", "a\0b", "\udc80", "\ud800"]
)
def test_a_key_that_leads_elsewhere_shows_nothing(folder: Path, key: str) -> None:
    samples = samples_of(folder)
    (folder.parent / "outside.jpg").write_bytes((folder / "cat" / "one.jpg").read_bytes())
    found, missing = made(replace(samples, keys=(key, samples.keys[1])))
    assert found == {} and "cannot be read" in missing


@pytest.mark.parametrize("source", ["set", "generated(seed=1)", "~nobody-of-that-name/x", "a\0b"])
def test_without_the_folder_it_is_said_that_there_is_none(folder: Path, source: str) -> None:
    found, missing = made(replace(samples_of(folder), source=source))
    assert found == {} and "is not a folder of images on this machine" in missing


def test_arrays_have_no_pictures(folder: Path) -> None:
    samples = samples_of(folder)
    found, missing = made(replace(samples, feeds=(replace(FEED, height=0, width=0),)))
    assert found == {} and missing


def test_a_file_that_is_no_image_costs_itself_alone(folder: Path) -> None:
    (folder / "dog" / "one.jpg").write_bytes(b"\xff\xd8 not an image")
    found, missing = made(samples_of(folder))
    assert set(found) == {"cat/one.jpg"} and "one.jpg" in missing


def test_more_bytes_than_are_read_show_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(folder)
    monkeypatch.setattr(thumbnails, "_MOST_READ", 100)
    found, missing = made(samples)
    assert found == {} and "are not read for this" in missing


def test_the_digest_is_that_of_the_draw(folder: Path) -> None:
    samples = samples_of(folder)
    lines = [
        dataset.drawn_line(dataset.Item(key, label, sha256=_sha(folder / key)))
        for key, label in zip(samples.keys, samples.labels, strict=True)
    ]
    assert dataset.digest_of(lines) == samples.digest


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
