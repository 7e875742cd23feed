"""What the trials of accuracy are fed, and what is right: plain values, kept with the run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Values of a sample's outputs that are sent as they are, by task; of larger outputs the five
#: highest values and a sketch. What a shard's samples answer must fit what an agent keeps of a
#: process: 1 MiB.
WHOLE_VALUES: Mapping[str, int] = {
    "classification": 64,
    "agreement": 1024,
    "detection": 2560,
    "segmentation": 2560,
}

#: Fields of a :class:`SampleSet` that the suite of the run has already.
OF_THE_SUITE = ("task", "margin", "outputs", "iou")


@dataclass(frozen=True)
class ShardRecord:
    """A file of samples: ``count`` of them from the one at ``first`` on, in the order of the
    draw."""

    sha256: str
    size_bytes: int
    first: int
    count: int


@dataclass(frozen=True)
class FeedRecord:
    """What a model is fed of the samples at one input size, 0 for its own.

    ``mean`` is taken away from a value and ``std`` divides what is left, one number or one for each
    channel; empty where nothing is done. ``height`` and ``width`` are those of the prepared images
    in pixels and ``resize`` how they came to be; 0 and empty for what is not an image.
    ``framework`` is that of the variants, empty where a run has one. ``low`` and ``high`` are the
    least and the largest value of the first samples before anything is done to them, and
    ``commonest`` the share of their commonest value; None in runs of before these were looked at.
    """

    model: str
    framework: str
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shards: tuple[ShardRecord, ...]
    height: int = 0
    width: int = 0
    resize: str = ""
    colour: str = ""
    low: float | None = None
    high: float | None = None
    commonest: float | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What a trial finds it by."""
        return self.model, self.framework, self.input_size

    @property
    def fed_range(self) -> tuple[float, float] | None:
        """The least and the largest value that a model is fed; None where nobody looked."""
        if self.low is None or self.high is None:
            return None
        channels = max(len(self.mean), len(self.std), 1)
        means = self.mean * (channels if len(self.mean) == 1 else 1) or (0.0,) * channels
        stds = self.std * (channels if len(self.std) == 1 else 1) or (1.0,) * channels
        scales = tuple(zip(means, stds, strict=True))
        return (
            min((self.low - mean) / std for mean, std in scales),
            max((self.high - mean) / std for mean, std in scales),
        )


@dataclass(frozen=True)
class SampleSet:
    """The samples of a run in the order of their draw, and how each model is fed.

    ``task``, ``margin`` (percentage points) and ``outputs`` are the suite's, in which ``run.json``
    has them. ``keys`` name the
    samples; ``labels`` are the numbers of the outputs that are right, None where nobody knows;
    ``classes`` their names. ``truth`` are COCO's annotations, ``image_ids`` and ``sizes`` (width,
    height) the images', ``category_ids`` what each of a detector's classes means. ``iou`` is a
    further overlap at which average precision is asked for.
    """

    task: str
    margin: float
    source: str
    digest: str
    keys: tuple[str, ...]
    labels: tuple[int | None, ...]
    classes: tuple[str, ...] = ()
    feeds: tuple[FeedRecord, ...] = ()
    outputs: Mapping[str, Any] | str | None = None
    truth: Mapping[str, Any] | None = None
    image_ids: tuple[int, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    category_ids: tuple[int, ...] = ()
    iou: float | None = None

    @property
    def masks(self) -> tuple[str | None, str | None]:
        """Which output holds masks, and by which one the best of them are told; None for none."""
        described = self.outputs
        if not isinstance(described, Mapping) or not described.get("masks"):
            return None, None
        # of six columns the score is one, and the highest value none
        scores = described["scores"]
        return described["masks"], None if scores == described["boxes"] else scores

    def feed(self, model: str, framework: str, input_size: int) -> FeedRecord:
        """What trials of this model are fed. Raises KeyError where nobody knows."""
        for each in self.feeds:
            if each.key == (model, framework, input_size):
                return each
        raise KeyError((model, framework, input_size))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SampleSet:
        """Read it as ``run.json`` has it, with what the suite says.

        Raises KeyError, TypeError or ValueError.
        """
        values = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        lists = ("keys", "labels", "classes", "image_ids", "category_ids")
        values |= {name: tuple(values[name]) for name in lists if name in values}
        values["sizes"] = tuple((int(w), int(h)) for w, h in values.get("sizes", ()))
        values["feeds"] = tuple(_feed(each) for each in values.get("feeds", ()))
        found = cls(**values)
        if len(found.labels) != len(found.keys):
            raise ValueError("labels and samples do not match")
        return found


def _feed(data: Mapping[str, Any]) -> FeedRecord:
    known = {name: data[name] for name in FeedRecord.__dataclass_fields__ if name in data}
    shards = tuple(
        ShardRecord(**{name: each[name] for name in ShardRecord.__dataclass_fields__})
        for each in data["shards"]
    )
    return FeedRecord(
        **{**known, "mean": tuple(data["mean"]), "std": tuple(data["std"]), "shards": shards}
    )
