"""What a measuring child tells of an output: in short, and of the samples of a shard."""

from __future__ import annotations

import array
import base64
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrate_agent.children import litert_outputs
from orchestrate_agent.children.measuring import ChildError
from orchestrate_agent.children.outputs import (
    MOST_VALUES,
    Output,
    checked,
    sketch_of,
    stride_of,
    summary_of,
)
from orchestrate_agent.children.samples import MOST_SKETCHED, Shard, answer_of, top_of


def output(values: list[float], **fields: Any) -> Output:
    return Output(
        "logits",
        (1, len(values)),
        "float32",
        array.array("f", values).tobytes(),
        lambda every: values[::every],
        **fields,
    )


def test_a_summary_counts_and_describes() -> None:
    told = summary_of(output([0.0, 1.0, 1.0, -2.0], step=0.5))
    assert (told["seen"], told["finite"], told["zeros"], told["distinct"]) == (4, 4, 1, 3)
    assert (told["mean"], told["low"], told["high"], told["step"]) == (0.0, -2.0, 1.0, 0.5)
    assert told["deviation"] == pytest.approx(math.sqrt(1.5), rel=1e-5)


def test_what_is_not_finite_is_counted_and_has_no_sketch() -> None:
    told = summary_of(output([math.nan, math.inf, 1.0]))
    assert (told["finite"], told["mean"], told["sketch"]) == (1, 1.0, [])
    told = summary_of(output([math.nan] * 3))
    assert (told["finite"], told["mean"], told["low"]) == (0, None, None)


def test_a_large_output_is_looked_at_here_and_there_and_its_digest_is_of_all() -> None:
    values = [float(i) for i in range(3 * MOST_VALUES)]
    one = summary_of(output(values))
    values[1] += 1  # which nobody looks at
    other = summary_of(output(values))
    assert one["seen"] <= MOST_VALUES
    assert one["sketch"] == other["sketch"] and one["digest"] != other["digest"]


@pytest.mark.parametrize("channels", [2, 3, 4, 21, 80])
def test_no_channel_of_a_large_output_is_left_out(channels: int) -> None:
    # of a network that segments, one class answers nothing everywhere
    values = [float(i % channels) for i in range(channels * 2**14)]
    assert summary_of(output(values))["distinct"] == channels
    for size in range(1, 200):
        assert math.gcd(stride_of(size, 10), size) == 1 and size / stride_of(size, 10) <= 10


def test_distances_of_sketches_are_those_of_the_values() -> None:
    draw = random.Random(5)
    ratios = []
    for _ in range(200):
        one = [draw.gauss(0, 1) for _ in range(1000)]
        other = [value + draw.gauss(0, 0.3) for value in one]
        ratios.append(math.dist(sketch_of(one, 64), sketch_of(other, 64)) / math.dist(one, other))
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.03)
    assert min(ratios) > 0.6 and max(ratios) < 1.4


def test_times_are_not_lost_to_an_answer_that_cannot_be_had() -> None:
    def fails() -> tuple[float, list[Output]]:
        raise RuntimeError("the graph\n died")

    assert checked(fails) == {"outputs": None, "outputs_error": "the graph died"}


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), KeyError("no room"), Exception("no room")]
)
def test_no_kind_of_error_of_a_runtime_takes_the_times_away(error: Exception) -> None:
    def fails() -> tuple[float, list[Output]]:
        raise error

    assert "no room" in checked(fails)["outputs_error"]


# -- samples


def saved(folder: Path, values: np.ndarray[Any, Any]) -> Path:
    path = folder / "shard.npy"
    np.save(path, values)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "float32"])
def test_a_shard_gives_its_rows_as_numpy_wrote_them(tmp_path: Path, dtype: str) -> None:
    values = np.arange(5 * 2 * 3).reshape(5, 2, 3).astype(dtype)
    shard = Shard(str(saved(tmp_path, values)))
    assert (shard.count, shard.shape, shard.dtype) == (5, (2, 3), dtype)
    assert shard.rows(1, 2) == values[1:3].tobytes()


def test_behind_the_last_sample_stands_the_last_one_again(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.uint8).reshape(3, 2)
    shard = Shard(str(saved(tmp_path, values)))
    assert shard.rows(2, 3) == values[2].tobytes() * 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:40],
        lambda data: data[:-1],
        lambda data: b"\x00" * 10 + data[10:],
        lambda data: data.replace(b"|u1", b"<c8"),
        lambda data: data.replace(b"'shape': (3, 2)", b"'shape': (3, 9)"),
        lambda data: b"",
    ],
)
def test_what_is_not_a_shard_is_told(tmp_path: Path, spoil: Any) -> None:
    path = saved(tmp_path, np.arange(6, dtype=np.uint8).reshape(3, 2))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ChildError):
        Shard(str(path))


def test_what_was_read_is_given_back_to_the_system_and_can_be_read_again(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3000, 8192), dtype=np.uint8)
    shard = Shard(str(saved(tmp_path, values)))
    for first in range(0, 3000, 250):
        assert shard.rows(first, 250) == values[first : first + 250].tobytes()
    assert shard.rows(7, 1) == values[7].tobytes()


def test_of_many_large_outputs_the_first_alone_are_described() -> None:
    many = [output([float(i) for i in range(2000)]) for _ in range(20)]
    assert sum("top" in each for each in answer_of(many, 64)) == 1
    assert sum("sketch" in each for each in answer_of(many, 1024)) == 8
    assert all(each["digest"] and each["finite"] for each in answer_of(many, 64))


def test_a_small_output_is_told_whole_and_a_large_one_by_its_largest() -> None:
    small, large = output([1.5, -2.0]), output([float(i % 7) for i in range(100)])
    whole, part = answer_of([small, large], 64)
    assert array.array("f", base64.b64decode(whole["values"])).tolist() == [1.5, -2.0]
    assert "values" not in part and part["top"][0] == [6, 6.0] and len(part["top"]) == 5
    assert len(base64.b64decode(part["sketch"])) == 4 * 64
    (broken,) = answer_of([output([math.nan] * 100)], 64)
    assert broken["finite"] is False and "top" not in broken


def test_of_equal_values_the_first_comes_first() -> None:
    assert top_of([1.0, 3.0, 3.0, 0.0, 3.0, 2.0, 1.0]) == [
        [1, 3.0],
        [2, 3.0],
        [4, 3.0],
        [5, 2.0],
        [0, 1.0],
    ]


def test_the_sketch_of_a_large_answer_is_of_some_of_it_and_its_top_of_all() -> None:
    values = [0.0] * (3 * MOST_SKETCHED)
    values[1] = 9.0
    (told,) = answer_of([output(values)], 64)
    assert told["top"][0] == [1, 9.0]
    assert not any(base64.b64decode(told["sketch"]))


class Graph:
    """Stands in for a graph of one input whose answer is ``held``."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def outputs(self) -> list[dict[str, Any]]:
        return [{"name": "logits", "index": 0, "dtype": np.float32, "quantization": (0.0, 0)}]

    def get(self, index: int) -> Any:
        return self.held


@pytest.mark.parametrize("held", [np.float32(1), np.zeros((), "f"), np.zeros((1, 3), "f")])
def test_an_output_that_has_no_row_a_sample_is_refused(held: Any) -> None:
    answering = litert_outputs.Answering(np, Graph(held), lambda: None)
    with pytest.raises(ChildError, match=r"output logits of shape .* of 4 items"):
        answering.answer_batch(4)
    assert len(answering.answer_batch(1)) == 1
