"""``accuracy:`` of a suite: on which samples it is measured, what they mean, and what is fed.

What the section says is settled here, without a look at the disk; ``datasets`` finds the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from orchestrator.config.problems import Strict
from orchestrator.config.text import shown
from orchestrator.config.values import LocalPath, Sha256, Text, in_home

CLASSIFICATION = "classification"
DETECTION = "detection"
SEGMENTATION = "segmentation"
AGREEMENT = "agreement"

#: Samples of a trial: so many that starting a process costs little beside them, and that what they
#: answer fits what an agent keeps of a process. The outputs of agreement are larger than those of
#: classification, and so are boxes; masks are the largest.
_SHARD_SIZES: Mapping[str, int] = {
    CLASSIFICATION: 1024,
    DETECTION: 64,
    SEGMENTATION: 8,
    AGREEMENT: 64,
}
#: Tasks whose samples are images with objects in them, annotated as COCO's are.
OF_OBJECTS = (DETECTION, SEGMENTATION)
#: How many images are generated where agreement names none and does not say how many.
GENERATED_SAMPLES = 64
#: The ending of a file of arrays, whose samples are fed as they are.
ARRAYS = ".npz"

_MOST_CHANNELS = 64
_LARGEST_SIDE = 16384


def _as_place(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


class Place(Strict):
    """Where a data set is: a folder or a file, or the images and annotations of a COCO set."""

    path: LocalPath | None = Field(default=None, examples=["dataset: ~/imagenette2-320"])
    images: LocalPath | None = Field(
        default=None, description="The folder of the images.", examples=["images: val2017"]
    )
    annotations: LocalPath | None = Field(
        default=None,
        description="The objects in them, in COCO's form.",
        examples=["annotations: annotations/instances_val2017.json"],
    )

    @model_validator(mode="after")
    def _refuse_half(self) -> Place:
        both = self.images is not None and self.annotations is not None
        if both if self.path is None else self.images is None and self.annotations is None:
            return self
        raise ValueError(
            "is a folder or a file, or `{images: FOLDER, annotations: FILE.json}` for detection "
            "and segmentation"
        )

    @model_serializer
    def _as_written(self) -> str | dict[str, str]:
        if self.path is not None:
            return str(self.path)
        return {"images": str(self.images), "annotations": str(self.annotations)}

    @property
    def holds_arrays(self) -> bool:
        """Whether it is a file of arrays, whose samples are fed as they are."""
        return self.path is not None and self.path.suffix.lower() == ARRAYS


def _size(value: object) -> tuple[int, int]:
    sides = [value, value] if type(value) is int else value
    if (
        not isinstance(sides, list | tuple)
        or len(sides) != 2
        or not all(type(side) is int and 1 <= side <= _LARGEST_SIDE for side in sides)
    ):
        raise ValueError(
            "is neither a side nor height and width; write `size: 224` or `size: [320, 640]`"
        )
    height, width = sides
    return height, width


def _written_size(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)


def _per_channel(value: object) -> tuple[float, ...]:
    numbers: Any = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(numbers) <= _MOST_CHANNELS or not all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) <= 1e9
        for each in numbers
    ):
        raise ValueError(
            "is a number, or one for each channel, of values from 0 to 255; write for example "
            "`[127.5, 127.5, 127.5]`"
        )
    return tuple(float(each) for each in numbers)


def _divisors(value: tuple[float, ...]) -> tuple[float, ...]:
    if min(value) <= 0:
        raise ValueError("values are divided by it; write numbers above 0")
    return value


Size = Annotated[tuple[int, int], BeforeValidator(_size), PlainSerializer(_written_size)]
PerChannel = Annotated[tuple[float, ...], BeforeValidator(_per_channel)]


class OwnPreprocessing(Strict):
    """What is made of an image, as the suite says it: ``(pixel - mean) / std``, channel by channel.

    ``mean`` and ``std`` stand in the order of ``colour``. A ``size`` (height, width) of None is the
    model's own.
    """

    size: Size | None = Field(
        default=None,
        description="The side, or height and width, that an image is brought to. Left out: the "
        "model's own.",
        examples=["size: 224"],
    )
    resize: Literal["stretch", "crop", "letterbox"] | None = Field(
        default=None,
        description="How: its middle, or all of it, distorted or with bars. Images need it, arrays "
        "are fed as they are.",
        examples=["resize: crop"],
    )
    colour: Literal["rgb", "bgr"] = Field(
        default="rgb", description="The order of the channels.", examples=["colour: rgb"]
    )
    mean: PerChannel = Field(
        description="What is taken from a channel, whose values lie between 0 and 255.",
        examples=["mean: [127.5, 127.5, 127.5]"],
    )
    std: Annotated[PerChannel, AfterValidator(_divisors)] = Field(
        description="What the rest is divided by.", examples=["std: [127.5, 127.5, 127.5]"]
    )

    @field_validator("std")
    @classmethod
    def _refuse_other_channels(
        cls, value: tuple[float, ...], info: ValidationInfo
    ) -> tuple[float, ...]:
        mean = info.data.get("mean", value)
        if len(mean) != len(value) and 1 not in (len(mean), len(value)):
            raise ValueError(
                f"has {len(value)} channels and `mean` {len(mean)}; write one number for each"
            )
        return value


def _not_auto(value: object) -> object:
    """``auto`` is what stands where nothing does: the model's own preprocessing."""
    return None if value == "auto" else value


#: What a suite writes for the outputs of the operator TFLite_Detection_PostProcess.
POSTPROCESS = "postprocess"


def _as_outputs(value: object) -> object:
    return {POSTPROCESS: True} if value == POSTPROCESS else value


class Outputs(Strict):
    """Which outputs of a detector are what, by their names in the file.

    ``postprocess``: those of the operator TFLite_Detection_PostProcess, told apart by what they
    are. Otherwise ``boxes`` and ``scores`` are names, the same one where an output has six columns
    (a box, its score, its class); without ``classes`` the scores are one for each class; ``count``
    is how many places of the others hold a detection. ``class_base`` is the number that the model
    gives to the first class. ``units`` are those of the input, or ``image_pixels``. ``masks`` has
    one for each place, N × height × width, of shares from 0 to 1: of the inside of each ``box``, or
    of all of the ``input`` or the ``image``, as ``masks_cover`` says.
    """

    postprocess: bool = Field(default=False, examples=["outputs: postprocess"])
    boxes: Text | None = Field(
        default=None,
        description="The output with the boxes. The same name for boxes, scores and classes is an "
        "output with six columns: a box, its score, its class.",
        examples=["boxes: detection_boxes"],
    )
    scores: Text | None = Field(
        default=None,
        description="The output with the scores; without `classes` one for each class.",
        examples=["scores: detection_scores"],
    )
    classes: Text | None = Field(
        default=None,
        description="The output with the classes.",
        examples=["classes: detection_classes"],
    )
    count: Text | None = Field(
        default=None,
        description="The output that says how many places of the others hold a detection.",
        examples=["count: num_detections"],
    )
    format: Literal["yxyx", "xyxy", "xywh", "cxcywh", "yxhw", "cycxhw"] | None = Field(
        default=None,
        description="What the four numbers of a box are: corners, a corner and a size, or a centre "
        "and a size.",
        examples=["format: yxyx"],
    )
    units: Literal["normalized", "pixels", "image_pixels"] | None = Field(
        default=None,
        description="Parts of the input, its pixels, or the image's pixels.",
        examples=["units: normalized"],
    )
    class_base: int = Field(
        default=0,
        ge=0,
        le=1,
        description="The number that the model gives to the first class.",
        examples=["class_base: 0"],
    )
    masks: Text | None = Field(
        default=None,
        description="The output with the masks, for segmentation: one for each place, N × height × "
        "width, of shares from 0 to 1.",
        examples=["masks: detection_masks"],
    )
    masks_cover: Literal["box", "input", "image"] | None = Field(
        default=None,
        description="What a mask is of: the inside of its box, all of the input, or all of the "
        "image.",
        examples=["masks_cover: box"],
    )

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Outputs:
        if self.postprocess:
            more = sorted(self.model_fields_set - {POSTPROCESS})
            if more:
                raise ValueError(f"`{POSTPROCESS}` says it all; delete `{more[0]}`")
            return self
        for key in ("boxes", "scores", "format", "units"):
            if getattr(self, key) is None:
                field = type(self).model_fields[key]
                example = field.examples[0] if field.examples else key
                raise ValueError(
                    f"does not say `{key}`, and nothing is guessed; write for example `{example}`, "
                    f"or `outputs: {POSTPROCESS}` for the operator at the end of an SSD"
                )
        if (self.masks is None) is not (self.masks_cover is None):
            raise ValueError(
                "has one of `masks` and `masks_cover`; write both: the output's name, and whether "
                "a mask is of the inside of its `box`, or of all of the `input` or the `image`"
            )
        return self

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        if self.postprocess:
            return POSTPROCESS
        every = {key: getattr(self, key) for key in type(self).model_fields}
        del every[POSTPROCESS]
        return {key: value for key, value in every.items() if value is not None}


def _check_split(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text:
        raise ValueError(
            f"{shown(text)} is not a folder below `dataset`; write for example `split: val`"
        )
    return text


#: What each key that not every task has is for.
_OF_TASKS: Mapping[str, tuple[str, ...]] = {
    "labels": (CLASSIFICATION, *OF_OBJECTS),
    "class_offset": (CLASSIFICATION,),
    "categories": OF_OBJECTS,
    "outputs": OF_OBJECTS,
    "iou": OF_OBJECTS,
}


class Accuracy(Strict):
    """On which samples accuracy is measured, and what their labels mean.

    ``samples`` None is all there are; once the data set has been looked at, ``samples`` is how many
    were drawn, and ``digest`` says which. ``margin`` is in percentage points. ``dataset`` None:
    agreement over generated images.
    """

    task: Literal["classification", "detection", "segmentation", "agreement"] = Field(
        description="What is scored; `agreement` with the baseline needs no labels.",
        examples=[f"task: {CLASSIFICATION}"],
    )
    dataset: Annotated[Place, BeforeValidator(_as_place)] | None = Field(
        default=None,
        validate_default=True,
        description="The samples: a folder, a `.npz` file, or for detection and segmentation "
        "`images` and `annotations`. A path is relative to the suite's folder. Left out, for "
        "agreement alone: generated images.",
        examples=["dataset: ~/imagenette2-320"],
    )
    split: Annotated[Text, AfterValidator(_check_split)] | None = Field(
        default=None, description="A folder below `dataset`.", examples=["split: val"]
    )
    labels: LocalPath | None = Field(
        default=None,
        description="A file with one class a line, the first for the model's output 0. Left out: "
        "classes are numbered in the order of their folders' names, and those of ImageNet and "
        "Imagenette as ImageNet's 1,000 are.",
        examples=["labels: imagenet.txt"],
    )
    class_offset: int = Field(
        default=0,
        ge=0,
        le=1,
        description="Added to every label: 1 for a model whose output 0 is the background.",
        examples=["class_offset: 1"],
    )
    categories: Literal["ids", "order"] | None = Field(
        default=None,
        description="Whether a detector numbers its classes as the annotations' categories are, "
        "gaps included, or one after the other.",
        examples=["categories: order"],
    )
    samples: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="So many are drawn by the run's seed, the same for all. Left out: all there "
        "are.",
        examples=["samples: 1500"],
    )
    preprocessing: Annotated[OwnPreprocessing | None, BeforeValidator(_not_auto)] = Field(
        default=None,
        validate_default=True,
        description="What is made of a sample: `auto` (left out: the same) is what the catalogue's "
        "models were trained with; files of your own need the keys below.",
        examples=["preprocessing: auto"],
    )
    margin: Annotated[float, Field(gt=0, le=100)] = Field(
        default=1.0,
        description="The loss in percentage points that counts as none.",
        examples=["margin: 1.0"],
    )
    outputs: Annotated[Outputs, BeforeValidator(_as_outputs)] | None = Field(
        default=None,
        validate_default=True,
        description="Which output of a detector is what: `postprocess` for an SSD whose last "
        "operator does the post-processing, else the keys below, names as the file has them. "
        "Detection and segmentation need it.",
        examples=[f"outputs: {POSTPROCESS}"],
    )
    iou: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="An overlap at which average precision is told as well, such as others counted "
        "as right.",
        examples=["iou: 0.3"],
    )
    digest: Sha256 | None = None

    @field_validator("dataset")
    @classmethod
    def _refuse_another_kind(cls, value: Place | None, info: ValidationInfo) -> Place | None:
        task = info.data.get("task")
        if value is None and task in (CLASSIFICATION, *OF_OBJECTS):
            raise ValueError(
                "is missing; write for example `dataset: ~/imagenette2-320`, or "
                "`task: agreement`, which needs no labels"
            )
        if value is None or task is None or (task in OF_OBJECTS) == (value.path is None):
            return value
        if task == SEGMENTATION:
            raise ValueError(
                "for segmentation is `{images: FOLDER, annotations: FILE.json}`, COCO's instances "
                "with their masks: what is scored is objects. Label images, a class a pixel "
                "(semantic segmentation), are not scored here; `task: agreement` compares such "
                "networks without labels"
            )
        raise ValueError(
            "for detection is `{images: FOLDER, annotations: FILE.json}`"
            if task == DETECTION
            else f"for {task} is a folder or a {ARRAYS} file; annotations are for detection and "
            "segmentation"
        )

    @field_validator("split")
    @classmethod
    def _refuse_no_folder(cls, value: str | None, info: ValidationInfo) -> str | None:
        place = info.data.get("dataset")
        if value is not None and (place is None or place.path is None or place.holds_arrays):
            raise ValueError("is a folder below `dataset`, which is none here; delete `split`")
        return value

    @field_validator(*_OF_TASKS)
    @classmethod
    def _refuse_another_task(cls, value: Any, info: ValidationInfo) -> Any:
        task, key = info.data.get("task"), str(info.field_name)
        if task is None:
            return value
        if value and task not in _OF_TASKS[key]:
            raise ValueError(f"means nothing to `task: {task}`; delete it")
        if key == "outputs" and task == SEGMENTATION and (value is None or value.masks is None):
            raise ValueError(
                "does not say which output holds the masks, and nothing is guessed; write "
                "`outputs: {boxes: NAME, scores: NAME, classes: NAME, format: yxyx, units: "
                "normalized, masks: NAME, masks_cover: box}`"
            )
        if key == "outputs" and task == DETECTION and value is not None and value.masks is not None:
            raise ValueError("`masks` means nothing to `task: detection`; write `segmentation`")
        if key == "outputs" and value is None and task == DETECTION:
            raise ValueError(
                f"is missing: which output is what is not guessed; write `outputs: {POSTPROCESS}` "
                "for the operator at the end of an SSD, or `outputs: {boxes: NAME, scores: NAME, "
                "classes: NAME, format: yxyx, units: normalized}`"
            )
        return value

    @field_validator("preprocessing")
    @classmethod
    def _refuse_no_resize(
        cls, value: OwnPreprocessing | None, info: ValidationInfo
    ) -> OwnPreprocessing | None:
        if value is None or not {"task", "dataset"} <= info.data.keys():
            return value
        place = info.data["dataset"]
        arrays = place is not None and place.holds_arrays
        if arrays and (value.size is not None or value.resize is not None):
            raise ValueError(
                f"a {ARRAYS} file is fed as it is; delete `size` and `resize`, `mean` and `std` "
                "alone say what is made of its values"
            )
        if not arrays and value.resize is None:
            raise ValueError(
                "does not say how an image is brought to the model's size; write `resize: crop` "
                "(the middle of it), `stretch` or `letterbox`"
            )
        if not arrays and not {len(value.mean), len(value.std)} <= {1, 3}:
            raise ValueError("an image has three channels; write three numbers, or one for all")
        if value.resize == "crop" and info.data["task"] in OF_OBJECTS:
            raise ValueError(
                "`resize: crop` cuts objects off; write `stretch` or `letterbox`, as the model "
                "was trained"
            )
        return value

    @property
    def feeds_images(self) -> bool:
        """Whether its samples are pictures, which have to be brought to a model's size."""
        return self.dataset is None or not self.dataset.holds_arrays

    @property
    def shard_size(self) -> int:
        """The most samples of one trial."""
        return _SHARD_SIZES[self.task]

    @property
    def trials(self) -> int:
        """How many trials a variant has: one a shard."""
        return self.shards

    @property
    def shards(self) -> int:
        """How many files of samples there are. ValueError before samples were drawn."""
        if self.samples is None:
            raise ValueError("how many samples there are is known once the data set was looked at")
        return -(-self.samples // self.shard_size)

    def from_folder(self, base: Path) -> Accuracy:
        """Return it with its paths from the folder ``base`` on, where they are not absolute."""
        places: dict[str, Any] = {}
        if self.dataset is not None:
            named = {key: getattr(self.dataset, key) for key in type(self.dataset).model_fields}
            paths = {key: base / path for key, path in named.items() if path is not None}
            places["dataset"] = self.dataset.model_copy(update=paths)
        if self.labels is not None:
            places["labels"] = base / self.labels
        return self.model_copy(update=places)

    def resolved(self, samples: int, digest: str) -> Accuracy:
        """Return it with what the draw found: how many samples, and which."""
        return self.model_copy(update={"samples": samples, "digest": digest})

    def for_a_run(self) -> dict[str, Any]:
        """Return it as a run's folder keeps it: paths, which going on needs, with ``~`` for the
        home folder, whose name is a person's."""
        data = self.model_dump(mode="json", exclude_none=True)
        place = data.get("dataset")
        if isinstance(place, str):
            data["dataset"] = in_home(place)
        elif place is not None:
            data["dataset"] = {key: in_home(path) for key, path in place.items()}
        if "labels" in data:
            data["labels"] = in_home(data["labels"])
        return data
