"""Imported figures → a run on disk: manifest, journal, each figure's text and the whole files."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.frameworks.registry import group_of
from orchestrator.imports.trials import FigureTrial, slug, to_event
from orchestrator.runs import rawlog
from orchestrator.runs.directory import RunDirectory, new_run_id
from orchestrator.runs.journal import Journal
from orchestrator.runs.manifest import Manifest, write_manifest
from orchestrator.trial import Group

#: The name of the suite that an imported run has.
SUITE = "imported"


def save(
    results: Path, placed: Sequence[FigureTrial], files: Mapping[str, bytes], baseline: str
) -> RunDirectory:
    """Write the run. ``files`` are the sources by name, kept byte for byte in ``logs/``."""
    directory = RunDirectory.create(results, new_run_id())
    for number, (name, data) in enumerate(files.items(), 1):
        kept = f"imported-{number}-{slug(Path(name).stem)}{Path(name).suffix}"
        directory.keep(kept, data)
    write_manifest(directory.path, _manifest(directory.run_id, placed, baseline))
    with Journal(directory.path) as journal:
        for device, facts in _facts(placed).items():
            journal.append(device, "device_ready", facts=facts)
        for each in placed:
            journal.append(each.trial.device, "planned", **_flat(each))
            log = directory.write_log(each.trial.trial_id, _log_of(each))
            journal.append(each.trial.device, "finished", **_flat(each), **to_event(each), log=log)
        for group in dict.fromkeys(_group(each, baseline) for each in placed):
            journal.append(group.device, "stopped", group=group.key, reason="imported")
    return directory


def _log_of(placed: FigureTrial) -> str:
    """The text that the figure was read from, with its single times in our form, if it has any."""
    times = placed.imported.reading.steady_us
    return rawlog.single_times(times) + placed.imported.text if times else placed.imported.text


def _group(placed: FigureTrial, baseline: str) -> Group:
    trial = placed.trial
    return group_of(trial.device, trial.variant.model, trial.factors, (), baseline)


def _flat(placed: FigureTrial) -> dict[str, Any]:
    return {k: v for k, v in placed.trial.to_json().items() if k != "device"}


def _facts(placed: Sequence[FigureTrial]) -> dict[str, dict[str, Any]]:
    kinds = {p.trial.device: p.imported.microarchitecture for p in placed}
    return {device: {"cpu": {"microarchitecture": kind or None}} for device, kind in kinds.items()}


def _manifest(run_id: str, placed: Sequence[FigureTrial], baseline: str) -> Manifest:
    devices = tuple(dict.fromkeys(p.trial.device for p in placed))
    most = max(p.trial.block for p in placed) + 1
    variants = list(dict.fromkeys(p.trial.variant for p in placed))
    return Manifest(
        run_id=run_id,
        created=f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.%fZ}",
        seed=0,
        inventory={"devices": [{"name": name, "transport": "imported"} for name in devices]},
        suite={
            "name": SUITE,
            "models": sorted({v.model for v in variants}),
            "schemes": sorted({v.scheme for v in variants}),
            "baseline": baseline,
            "runner": "imported",
            "protocol": {"blocks": f"6:{max(6, most)}", "precision": 0.02},
        },
        devices=devices,
        versions={"orchestrate": __version__, "python": platform.python_version()},
    )
