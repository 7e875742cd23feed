"""``run.json``: what a run is made of. Written before anything is measured, atomically.

Format history: 1, the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import plain_files
from orchestrator.errors import JournalError
from orchestrator.measurement import Finding
from orchestrator.measures.accuracy.samples import OF_THE_SUITE, FeedRecord, SampleSet
from orchestrator.runs.machine_shape import FACTS
from orchestrator.runs.records import ArtifactRecord, CalibrationRecord
from orchestrator.shape import (
    FLAG,
    NUMBER,
    SHA256,
    TEXT,
    WHOLE,
    NotNull,
    Shape,
    problem,
    shape_of,
)
from orchestrator.trial import InputSpec, Variant

FORMAT = 1
FILE_NAME = "run.json"
#: A device has some kilobytes of facts, and a run a thousand devices at most.
MAX_BYTES = 32 * 2**20
#: Held by whoever reads the manifest in order to change it.
LOCK_NAME = ".manifest.lock"


@dataclass(frozen=True)
class BinaryRecord:
    """The ``benchmark_model`` binary a device ran: its hash, where it came from, whether pinned."""

    device: str
    sha256: str
    size_bytes: int
    source: str
    pinned: bool


@dataclass(frozen=True)
class SiteRecord:
    """The bundle that one device's trials of a runtime import from.

    ``runtime`` is the factor's value, ``requirement`` what was resolved for it, ``target`` for
    which kind of node; ``packages`` every wheel in it: name, version, file, sha256.
    """

    device: str
    runtime: str
    requirement: str
    target: str
    sha256: str
    size_bytes: int
    packages: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Manifest:
    """Everything that fixes a run, and the facts of its devices as they became known.

    ``inventory`` and ``suite`` are as the configuration prints them, without secrets; ``versions``
    maps software to its version on the controller; ``facts`` maps a device to what it reported.
    ``samples`` are what accuracy is measured on.
    """

    run_id: str
    created: str
    seed: int
    inventory: Mapping[str, Any]
    suite: Mapping[str, Any]
    devices: tuple[str, ...]
    versions: Mapping[str, str]
    artifacts: tuple[ArtifactRecord, ...] = ()
    binaries: tuple[BinaryRecord, ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sites: tuple[SiteRecord, ...] = ()
    samples: SampleSet | None = None

    @property
    def bundled(self) -> frozenset[str]:
        """Return the devices of the run that nothing reaches: their bundles are run there by
        hand."""
        listed = self.inventory.get("devices") or ()
        bundles = {d.get("name") for d in listed if d and d.get("transport") == "bundle"}
        return frozenset(self.devices) & bundles

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["artifacts"] = [
            {**a.variant.to_json(), "sha256": a.sha256, "size_bytes": a.size_bytes}
            | {"weights": a.weights, "no_op": a.no_op}
            | {"inputs": [each.to_json() for each in a.inputs], "signature": a.signature}
            | {"default_signature": a.default_signature, "exported": a.exported}
            | ({} if a.check_range is None else {"check_range": list(a.check_range)})
            | ({"remarks": [each.to_json() for each in a.remarks]} if a.remarks else {})
            | ({} if a.calibration is None else {"calibration": asdict(a.calibration)})
            | ({} if a.published_top1 is None else {"published_top1": a.published_top1})
            | ({"trained_on_samples": a.trained_on_samples} if a.trained_on_samples else {})
            for a in self.artifacts
        ]
        if self.samples is None:
            del data["samples"]
        else:
            data["samples"] = {k: v for k, v in data["samples"].items() if k not in OF_THE_SUITE}
        return {"format": FORMAT, **data}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Read what :meth:`to_json` wrote. Raises KeyError or TypeError on another shape."""
        return cls(
            run_id=data["run_id"],
            created=data["created"],
            seed=data["seed"],
            inventory=data["inventory"],
            suite=data["suite"],
            devices=tuple(data["devices"]),
            versions=data["versions"],
            artifacts=tuple(
                ArtifactRecord(
                    Variant.from_json(a),
                    a["sha256"],
                    a["size_bytes"],
                    a["weights"],
                    a.get("no_op"),
                    # runs of before this was known have none of these
                    tuple(map(InputSpec.from_json, a.get("inputs") or ())),
                    a.get("signature"),
                    a.get("default_signature"),
                    a.get("exported"),
                    _range(a.get("check_range")),
                    tuple(map(Finding.from_json, a.get("remarks") or ())),
                    _calibration(a.get("calibration")),
                    a.get("published_top1"),
                    a.get("trained_on_samples") or 0,
                )
                for a in data["artifacts"]
            ),
            binaries=tuple(BinaryRecord(**b) for b in data["binaries"]),
            facts=data["facts"],
            # runs of before there were bundles have none
            sites=tuple(
                SiteRecord(**{**s, "packages": tuple(s["packages"])}) for s in data.get("sites", ())
            ),
            samples=_samples(data),
        )


_FILE: dict[str, Shape] = {"sha256": SHA256, "size_bytes": WHOLE}
_SHAPE: Shape = {
    **dict.fromkeys(("run_id", "created"), TEXT),
    "seed": WHOLE,
    "inventory": {
        **dict.fromkeys(("path", "suite"), TEXT),
        "devices": NotNull(
            [NotNull({"name": NotNull(TEXT), "transport": TEXT, "grid_gco2_per_kwh": NUMBER})]
        ),
    },
    "suite": {
        **dict.fromkeys(("name", "baseline"), TEXT),
        "protocol": {"blocks": TEXT, "precision": NUMBER, "duet": FLAG},
        "user_models": NotNull([NotNull({"name": NotNull(TEXT)})]),
        "accuracy": {"task": NotNull(TEXT), "margin": NotNull(NUMBER)},
    },
    "devices": [NotNull(TEXT)],
    "versions": {"*": NotNull(TEXT)},
    "artifacts": [
        {
            **_FILE,
            **dict.fromkeys(("model", "scheme", "framework", "weights", "no_op"), TEXT),
            **dict.fromkeys(("signature", "default_signature", "exported"), TEXT),
            "export": NotNull(TEXT),
            "inputs": [NotNull(shape_of(InputSpec))],
            "check_range": [NotNull(NUMBER)],
            "remarks": [NotNull(shape_of(Finding))],
            "calibration": shape_of(CalibrationRecord),
            "published_top1": NUMBER,
            "trained_on_samples": WHOLE,
        }
    ],
    "binaries": [{**_FILE, "device": TEXT, "source": TEXT, "pinned": FLAG}],
    "facts": {"*": NotNull(FACTS)},
    "sites": [
        {
            **_FILE,
            **dict.fromkeys(("device", "runtime", "requirement", "target"), TEXT),
            "packages": [{"*": TEXT}],
        }
    ],
    "samples": {
        **dict.fromkeys(("task", "source", "digest"), NotNull(TEXT)),
        "margin": NotNull(NUMBER),
        "keys": NotNull([NotNull(TEXT)]),
        "labels": NotNull([WHOLE]),
        "classes": NotNull([NotNull(TEXT)]),
        "feeds": NotNull([NotNull(shape_of(FeedRecord))]),
        **dict.fromkeys(("image_ids", "category_ids"), NotNull([NotNull(WHOLE)])),
        "sizes": NotNull([NotNull([NotNull(WHOLE)])]),
    },
}
#: Where null cannot stand.
_NEEDED = ("run_id", "created", "seed", "inventory", "suite", "devices", "versions", "facts")


def _range(data: Any) -> tuple[float, float] | None:
    return None if data is None else (float(data[0]), float(data[1]))


def _samples(data: Mapping[str, Any]) -> SampleSet | None:
    """The samples with what the suite says of them, which runs of before repeat in the section."""
    if not data.get("samples"):
        return None
    asked = data["suite"].get("accuracy") or {}
    said = {name: asked[name] for name in OF_THE_SUITE if name in asked}
    return SampleSet.from_json({**said, **data["samples"]})


def _calibration(data: Any) -> CalibrationRecord | None:
    if data is None:
        return None
    return CalibrationRecord(data["kind"], data["count"], data.get("sampled", 0))


def _check_shape(path: Path, data: Any) -> None:
    found = problem(data, _SHAPE)
    missing = [name for name in _NEEDED if data.get(name) is None]
    protocol = data["suite"].get("protocol") or {} if not (found or missing) else {}
    missing += [f"suite.protocol.{n}" for n in ("blocks", "precision") if protocol.get(n) is None]
    if found or missing:
        what = f"{found[0][:100]} is not {found[1]}" if found else f"{missing[0]} is missing"
        raise JournalError(f"{path}: not a run manifest ({what}); restore it from a copy")


def write_manifest(run_dir: Path, manifest: Manifest) -> None:
    """Replace ``run.json`` in one step; a reader sees the old one or the new one.

    Raises JournalError where it cannot be written.
    """
    text = json.dumps(manifest.to_json(), indent=1, sort_keys=False) + "\n"
    try:
        plain_files.write(run_dir, FILE_NAME, text.encode())
    except OSError as exc:
        raise JournalError(
            f"{run_dir / FILE_NAME}: cannot be written ({exc.strerror}); make room, or choose "
            f"another --results"
        ) from exc


def read_manifest(run_dir: Path) -> Manifest:
    """Read ``run.json``. Raises JournalError naming the file where it cannot be understood."""
    path = run_dir / FILE_NAME
    try:
        data = json.loads(plain_files.read(run_dir, FILE_NAME, most_bytes=MAX_BYTES))
        if data["format"] > FORMAT:
            raise JournalError(
                f"{path}: written by a later version (format {data['format']}, this one reads up "
                f"to {FORMAT}); upgrade orchestrate"
            )
        _check_shape(path, data)
        return Manifest.from_json(data)
    except OSError as exc:
        raise JournalError(f"{path}: cannot be read ({exc.strerror}); is this a run?") from exc
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise JournalError(f"{path}: not a run manifest ({exc!r}); restore it from a copy") from exc
