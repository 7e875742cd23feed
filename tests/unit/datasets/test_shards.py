"""Images → shards: the pixels of each kind of file, and the cache."""

from __future__ import annotations

import hashlib
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from orchestrator.datasets import (
    Dataset,
    Geometry,
    Item,
    Shard,
    draw,
    find_dataset,
    find_shard,
    placement_of,
    prepare_shards,
)
from orchestrator.errors import UsageError
from orchestrator.measures.accuracy.detection import to_image
from tests.unit.datasets.making import SIDE, classes, picture, section

SQUARE = Geometry(8, 8, "stretch")


def drawn(root: Path, **keys: Any) -> Dataset:
    return draw(find_dataset(section(root, "agreement", **keys), root), None, seed=0)


def pixels(path: Path, geometry: Geometry, cache: Path) -> npt.NDArray[np.uint8]:
    """What a device is given of one image."""
    (path.parent / "alone").mkdir(exist_ok=True)
    alone = path.parent / "alone" / path.name
    alone.write_bytes(path.read_bytes())
    dataset = Dataset((Item(path.name, path=alone),), (), "", "")
    (shard,) = prepare_shards(draw(dataset, None, 0), geometry, 1, cache)
    found: npt.NDArray[np.uint8] = np.load(shard.path)[0]
    return found


def test_a_shard_is_what_a_device_maps_into_memory(tmp_path: Path) -> None:
    dataset = drawn(classes(tmp_path / "d", {"ant": 3, "bee": 2}))
    shards = prepare_shards(dataset, Geometry(6, 8, "stretch"), 2, tmp_path / "cache")
    assert [(each.first, each.count) for each in shards] == [(0, 2), (2, 2), (4, 1)]
    for shard in shards:
        content = shard.path.read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (
            shard.sha256,
            shard.size_bytes,
        )
        rows = np.load(shard.path, mmap_mode="r")
        assert (rows.shape, rows.dtype.str, rows.flags.c_contiguous) == (
            (shard.count, 6, 8, 3),
            "|u1",
            True,
        )
    for number, item in enumerate(dataset.items):
        assert item.path is not None
        with Image.open(item.path) as image:
            expected = np.asarray(image.resize((8, 6), Image.Resampling.BILINEAR))
        assert np.array_equal(np.load(shards[number // 2].path)[number % 2], expected)


def test_what_was_made_is_found_again_and_what_was_damaged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = drawn(classes(tmp_path / "d", {"ant": 3}))
    cache = tmp_path / "cache"
    told: list[tuple[int, int]] = []

    def prepare() -> tuple[Shard, ...]:
        return prepare_shards(dataset, SQUARE, 2, cache, on_progress=lambda *n: told.append(n))

    made = prepare()
    assert told == [(2, 3), (3, 3)]
    assert prepare() == made and len(told) == 2
    content = made[1].path.read_bytes()
    made[1].path.write_bytes(b"damaged")
    assert find_shard(cache, made[1].sha256) is None
    assert prepare() == made and len(told) == 4
    assert made[1].path.read_bytes() == content
    # another version of the decoder is another recipe; what was made before is still found
    monkeypatch.setattr("orchestrator.datasets.shards.pillow_version", lambda: "0.1")
    assert prepare()[0].path.parent != made[0].path.parent
    assert find_shard(cache, made[0].sha256) is not None
    assert find_shard(cache, "../x") is None


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    root = classes(tmp_path / "d", {"ant": 48})

    def peak(samples: int) -> int:
        dataset = draw(find_dataset(section(root, "agreement"), root), samples, seed=0)
        tracemalloc.start()
        try:
            prepare_shards(dataset, Geometry(128, 128, "stretch"), 8, tmp_path / f"c{samples}")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(8)  # what is imported at first
    assert peak(48) < 1.3 * peak(16)


def test_colours_are_in_the_order_that_the_model_takes(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    rgb = pixels(path, SQUARE, tmp_path / "c")
    bgr = pixels(path, Geometry(8, 8, "stretch", "bgr"), tmp_path / "c")
    assert np.array_equal(rgb[..., ::-1], bgr) and not np.array_equal(rgb, bgr)


def test_crop_keeps_the_middle_and_letterbox_keeps_all(tmp_path: Path) -> None:
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, 18:46] = 200  # the middle 28 of 64 columns: 0.875 of the height
    Image.fromarray(wide).save(tmp_path / "a.png")
    cropped = pixels(tmp_path / "a.png", Geometry(28, 28, "crop"), tmp_path / "c")
    assert cropped[2:-2, 2:-2].min() == 200
    boxed = pixels(tmp_path / "a.png", Geometry(16, 16, "letterbox"), tmp_path / "c")
    assert (boxed[:4] == 114).all() and (boxed[12:] == 114).all()
    assert boxed[4:12, 8].min() == 200 and boxed[4:12, 0].max() == 0


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(640, 480), (33, 517), (1, 900), (300, 300)])
def test_boxes_are_put_back_where_they_came_from(resize: Any, size: tuple[int, int]) -> None:
    place = placement_of(*size, Geometry(320, 256, resize))
    box = np.array([0.0, 3.0, size[0] * 0.75, size[1]])
    scale, offset = [place.scale_x, place.scale_y] * 2, [place.left, place.top] * 2
    inside = box * scale + offset
    assert to_image(inside[None], "xyxy", "pixels", place)[0] == pytest.approx(box)
    if resize != "crop":  # all of the image is in the input
        whole = np.array([0, 0, *size]) * scale + offset
        assert whole.min() >= 0 and whole[2] <= 256 + 1e-9 and whole[3] <= 320 + 1e-9


def test_a_marker_lies_where_the_placement_says(tmp_path: Path) -> None:
    """Half of the picture is white; its edge is found in the prepared pixels."""
    image = np.zeros((200, 100, 3), np.uint8)
    image[120:] = 255
    Image.fromarray(image).save(tmp_path / "a.png")
    for resize in ("stretch", "letterbox", "crop"):
        geometry = Geometry(96, 96, resize)
        found = pixels(tmp_path / "a.png", geometry, tmp_path / "c")[:, 48, 0]
        place = placement_of(100, 200, geometry)
        edge = 120 * place.scale_y + place.top
        dark = max(row for row in range(96) if found[row] == 0)
        light = min(row for row in range(96) if found[row] == 255)
        assert dark < edge < light + 1
        assert light - dark <= 3


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "I;16"])
def test_every_kind_of_picture_has_three_channels(tmp_path: Path, mode: str) -> None:
    grey = np.full((SIDE, SIDE), 90, np.uint8)
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    else:
        suffix = "jpg" if mode == "CMYK" else "png"
        Image.fromarray(grey).convert("RGB").convert(mode).save(tmp_path / f"a.{suffix}")
    (path,) = tmp_path.glob("a.*")
    found = pixels(path, SQUARE, tmp_path / "c")
    assert found.shape == (8, 8, 3)
    if mode != "1":  # dithered
        assert np.abs(found.astype(int) - 90).max() <= 6


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (SIDE, SIDE), (10, 20, 30, 0))
    image.save(tmp_path / "a.png")
    assert (pixels(tmp_path / "a.png", SQUARE, tmp_path / "c") == 255).all()
    palette = Image.new("P", (SIDE, SIDE), 0)
    palette.save(tmp_path / "b.gif", transparency=0)
    assert (pixels(tmp_path / "b.gif", SQUARE, tmp_path / "c") == 255).all()


def test_an_orientation_is_applied_and_one_that_is_broken_is_none(tmp_path: Path) -> None:
    upright = np.zeros((SIDE, SIDE, 3), np.uint8)
    upright[: SIDE // 2] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(upright[::-1].copy()).save(tmp_path / "a.png", exif=exif.tobytes())
    found = pixels(tmp_path / "a.png", SQUARE, tmp_path / "c")
    assert found[0].min() == 255 and found[-1].max() == 0
    Image.fromarray(upright).save(tmp_path / "b.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert pixels(tmp_path / "b.jpg", SQUARE, tmp_path / "c").shape == (8, 8, 3)


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be of a size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (png_of(20_000, 20_000), "bomb|more than an image"),
        (png_of(9_000, 9_000), "more than an image of a data set has"),
        (b"", "none of BMP, GIF"),
        (b"<html>404 Not Found</html>", "none of BMP, GIF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "none of BMP, GIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "none of BMP, GIF"),
        (png_of(64, 64)[:60], "truncated"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    picture(tmp_path / "d" / "good.png")
    (tmp_path / "d" / "bad.png").write_bytes(content)
    with pytest.raises(UsageError, match=rf"bad\.png: cannot be read \(.*({why})") as caught:
        prepare_shards(drawn(tmp_path / "d"), SQUARE, 8, tmp_path / "cache")
    assert "take it out of the data set" in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_image_that_changes_after_the_draw_is_named(tmp_path: Path) -> None:
    dataset = drawn(classes(tmp_path / "d", {"ant": 2}))
    picture(tmp_path / "d" / "ant" / "1.png", seed=99)
    with pytest.raises(UsageError, match=r"1\.png: has changed since"):
        prepare_shards(dataset, SQUARE, 8, tmp_path / "cache")


def test_without_pillow_the_next_step_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes(tmp_path, {"ant": 1})
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match=r"orchestrate-quantized\[accuracy\]"):
        find_dataset(section(tmp_path), tmp_path)


def test_generated_images_are_their_seed_s(tmp_path: Path) -> None:
    def shard(seed: int, samples: int) -> npt.NDArray[Any]:
        found = find_dataset(section(None, "agreement", samples=samples), tmp_path, seed=seed)
        (each,) = prepare_shards(draw(found, samples, seed), SQUARE, 64, tmp_path / "cache")
        rows: npt.NDArray[Any] = np.load(each.path)
        return rows

    rows = shard(1, 5)
    assert (rows.shape, rows.dtype.str) == ((5, 8, 8, 3), "|u1")
    assert len({each.tobytes() for each in rows}) == 5
    assert np.array_equal(rows, shard(1, 5)) and not np.array_equal(rows, shard(2, 5))
