"""What every builder of model files is given, and what the builders share.

A framework's ``parts`` build in a child process; what they are asked for, and what they may tell,
is here. Nothing of this imports a framework.
"""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.artifacts.files import sha256_of
from orchestrator.errors import ModelBuildError
from orchestrator.factors import OPEN
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import CALIBRATIONS, CURRENT, WEIGHTS
from orchestrator.frameworks.preprocessing import Preprocessing

#: Each image costs a ResNet50 half a second of one core, and of 64 images no activation scale of
#: MobileNet is more than a fifth wider than of 16. Accuracy would ask for more; time does not.
REPRESENTATIVE_IMAGES = 16
#: What the weights are called that were trained on ImageNet.
IMAGENET = "imagenet"
#: What is calibrated on, as a file's entry in the manifest says it.
RANDOM, FOLDER = "random", "folder"
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")


@dataclass(frozen=True)
class BuildOptions:
    """What the user may choose about building.

    ``weights``: ``auto`` takes ImageNet's where they can be had and random ones otherwise;
    ``imagenet`` and ``random`` insist. ``seed`` is that of random weights and random images.
    ``representative`` is a folder of images to calibrate on instead of random ones.
    ``compatibility``: ``current``, or the older runtime that must be able to load the files.
    ``calibration`` is how ranges are found (``max``, ``percentile``, ``entropy``), and ``dataset``
    a folder of labelled images, in Imagenette's layout, to train on; a scheme that needs neither
    leaves them out.
    """

    weights: str = "auto"
    seed: int = 0
    representative: Path | None = None
    compatibility: str = CURRENT
    calibration: str = "entropy"
    dataset: Path | None = None

    def __post_init__(self) -> None:
        for what, value, known in (
            ("weights", self.weights, WEIGHTS),
            ("compatibility", self.compatibility, (CURRENT, *registry.compatibilities())),
            ("calibration", self.calibration, CALIBRATIONS),
        ):
            if value not in known:
                raise ValueError(f"{what} {value!r}: write {', '.join(known)}")


DEFAULT_OPTIONS = BuildOptions()


@dataclass(frozen=True)
class BuildRequest:
    """One model's schemes to build, by the framework whose parts are in the module ``parts``, all
    in one ``export``.

    ``weights`` is the policy that holds for this build.
    """

    model: str
    schemes: tuple[str, ...]
    weights: str
    options: BuildOptions
    models_dir: Path
    framework: str
    parts: str
    export: str = OPEN

    def to_json(self) -> dict[str, Any]:
        """Return it as the child reads it."""
        folder, dataset = self.options.representative, self.options.dataset
        return {
            "framework": self.framework,
            "parts": self.parts,
            "model": self.model,
            "schemes": list(self.schemes),
            "export": self.export,
            "weights": self.weights,
            "policy": self.options.weights,
            "seed": self.options.seed,
            "representative": None if folder is None else str(folder.absolute()),
            "compatibility": self.options.compatibility,
            "calibration": self.options.calibration,
            "dataset": None if dataset is None else str(dataset.absolute()),
            "models_dir": str(self.models_dir.absolute()),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BuildRequest:
        """The inverse of :meth:`to_json`."""
        folder, dataset = data["representative"], data["dataset"]
        options = BuildOptions(
            weights=data["policy"],
            seed=data["seed"],
            representative=None if folder is None else Path(folder),
            compatibility=data["compatibility"],
            calibration=data["calibration"],
            dataset=None if dataset is None else Path(dataset),
        )
        return cls(
            model=data["model"],
            schemes=tuple(data["schemes"]),
            weights=data["weights"],
            options=options,
            models_dir=Path(data["models_dir"]),
            framework=data["framework"],
            parts=data["parts"],
            export=data["export"],
        )


class BuildSite(Protocol):
    """The build child, as a builder sees it."""

    @property
    def resumed(self) -> bool:
        """Whether this process goes on where an earlier one called :meth:`begin_afresh`."""
        ...

    def say(self, step: str) -> None:
        """Tell the parent what is done now."""
        ...

    def stored(self, scheme: str) -> None:
        """Tell the parent that the file of a scheme is in the store."""
        ...

    def begin_afresh(self, schemes: tuple[str, ...]) -> None:
        """Become a new interpreter that builds ``schemes``, which are left, and never return.

        What is still needed has to be on disk. This gives back memory that nothing can free, and
        the process stays the same, so that the parent still follows, and can kill, all of it.
        """
        ...


class ModelSpec(Protocol):
    """What is known of a model of a catalogue: the most memory that building it takes, what it
    makes of an image, and what share of ImageNet's validation set is published for its weights."""

    @property
    def peak_mb(self) -> int: ...

    @property
    def top1(self) -> float | None: ...

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What images are made into for it; None where it takes none."""
        ...


def recipe_key(recipe: Mapping[str, Any]) -> str:
    """Hash of a recipe: what a stored file is found by."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def peak_mb() -> int:
    """This process's peak resident set until now, in MB: what ``peak_mb`` of the catalogues is
    taken from."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000


def representative_images(folder: Path) -> tuple[Path, ...]:
    """The images of a folder that are calibrated on: the first by name. Raises ModelBuildError."""
    try:
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as exc:
        raise ModelBuildError(f"representative data {folder}: {exc.strerror or exc}") from exc
    if not found:
        raise ModelBuildError(
            f"representative data {folder}: holds no image ({', '.join(IMAGE_SUFFIXES)})"
        )
    return tuple(found[:REPRESENTATIVE_IMAGES])


def representative_data(options: BuildOptions) -> dict[str, Any]:
    """What a scheme is calibrated on, as recorded and hashed. Raises ModelBuildError."""
    if options.representative is None:
        return {"kind": RANDOM, "count": REPRESENTATIVE_IMAGES, "seed": options.seed}
    images = representative_images(options.representative)
    names = [sha256_of(image) for image in images]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return {"kind": FOLDER, "count": len(images), "sha256": digest}


#: Builds and stores what is asked for. Raises ModelBuildError, ArtifactError, ImportError.
Build = Callable[[BuildRequest, BuildSite], None]
