"""A report's page for the tests: nine devices, ten models, five schemes, and all that can stand
beside them; and one whose every text is hostile."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

from orchestrator.analysis import SpeedupTable, analyse
from orchestrator.analysis.table import Alternative, PublishedFigure, Verdict
from orchestrator.measurement import Finding, Memory, Outcome
from orchestrator.report.background import Background
from orchestrator.runs.curves import Curve
from orchestrator.runs.manifest import BinaryRecord, Manifest
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import TrialKind
from tests.analysis_runs import (
    BASELINE,
    artifacts,
    bad,
    blocks_of,
    memory_trial,
    run_of,
    sha,
    with_finding,
)

DEVICES = {
    "icelake-1": "icelake", "cascadelake-1": "cascadelake", "skylake-1": "skylake",
    "broadwell-1": "broadwell", "haswell-1": "haswell", "pi4": "cortex-a72", "pi5": "cortex-a76",
    "jetson": "carmel", "colab": "",
}  # fmt: skip
MODELS = (
    "mobilenet_v1", "mobilenet_v2", "resnet50", "resnet101", "inception_v3", "vgg16", "vgg19",
    "densenet121", "efficientnet_b0", "nasnet_mobile",
)  # fmt: skip
SPEEDS = {
    BASELINE: 1.0, "float16": 1.0, "dynamic_range": 3.1, "full_int8": 2.2, "weight_only_int8": 0.8,
}  # fmt: skip
EVIL = "\x1b]0;owned\x07<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&\u202e&amp; ${}%"


def run(devices: int = 9, models: int = 10, blocks: int = 6) -> RunRecord:
    """Speed-ups of every kind, some schemes that failed, noise that differs by device."""
    draw = random.Random(7)
    trials = []
    names = list(DEVICES)[:devices]
    for place, device in enumerate(names):
        for number, model in enumerate(MODELS[:models]):
            base = 10_000 * 1.6**number * (1 + place / 3)
            times = {s: base / speed ** draw.uniform(-0.5, 1.2) for s, speed in SPEEDS.items()}
            where: dict[str, Any] = {"device": device, "model": model}
            if (place + number) % 7 == 3:
                del times["full_int8"]
                trials += [bad("full_int8", block, **where) for block in range(2)]
            spread = 0.01 + 0.004 * place
            trials += blocks_of(
                times,
                blocks,
                noise=lambda rng, spread=spread: rng.gauss(0, spread),  # type: ignore[misc]
                seed=100 * place + number,
                **where,
            )
            trials += [
                memory_trial(s, Memory(peak_bytes=int((60 + 30 * number) * 1e6)), **where)
                for s in times
            ]
    facts = {name: {"cpu": {"microarchitecture": DEVICES[name]}} for name in names}
    return run_of(
        trials,
        artifacts=artifacts(tuple(SPEEDS), MODELS[:models]),
        devices=tuple(names),
        facts=facts,
    )


def background(record: RunRecord) -> Background:
    """A manifest, facts and single times that go with ``record``."""
    draw = random.Random(3)
    first: dict[object, TrialRecord] = {}
    for each in record.trials:
        trial = each.trial
        if each.outcome is Outcome.OK and trial.kind is TrialKind.TIMING:
            first.setdefault((trial.device, trial.variant, trial.factors), each)
    curves = []
    for each in first.values():
        device, variant, factors = each.trial.device, each.trial.variant, each.trial.factors
        assert each.measurement is not None and each.measurement.timing.median_us is not None
        ms = each.measurement.timing.median_us / 1000
        warm = tuple(ms * (1 + 1.5 * math.exp(-number / 2)) for number in range(6))
        steady = tuple(ms * draw.gauss(1, 0.02) for _ in range(54))
        curves.append(Curve(device, variant.model, variant.scheme, factors, 0, warm, steady))
    manifest = Manifest(
        run_id=record.run_id,
        created="2026-01-01T00:00:00Z",
        seed=42,
        inventory={"path": "my inventory.yaml"},
        suite={
            "name": "seven-cnns",
            "baseline": record.baseline,
            "protocol": {"blocks": "6:20", "precision": 0.02, "budget": 240.0},
        },
        devices=record.devices,
        versions={"orchestrate": "0.1.0", "python": "3.11.7"},
        artifacts=tuple(record.artifacts.values()),
        binaries=(BinaryRecord(record.devices[0], sha("tool"), 7, "official", pinned=False),),
        facts=record.facts,
    )
    facts = {
        name: {
            **facts,
            "hostname": "secret-host",
            "machine_id": "secret-id",
            "system": {"kernel": "6.1.0"},
            "memory": {"total_bytes": 16_000_000_000},
        }
        for name, facts in record.facts.items()
    }
    return Background(manifest, facts, tuple(curves))


def full(table: SpeedupTable) -> SpeedupTable:
    """``table`` with everything in its first row that a row may have."""
    published = (
        PublishedFigure("a study", "Xeon", 1.4, 1.35, 1.45, "faster", "contradicts", "capped"),
        PublishedFigure("Qin et al. 2018", "TX2", None, None, None, "slower", "agrees"),
    )
    row = dataclasses.replace(
        table.rows[0],
        by_mean=Alternative(1.01, 0.9, 1.1, Verdict.INDISTINGUISHABLE),
        by_minimum=Alternative(1.2, 1.1, 1.3, Verdict.FASTER),
        published=published,
        control="uncontrolled",
        baseline_energy_mj=12.5,
        treatment_energy_mj=6.25,
        baseline_co2_ug=1.5,
        treatment_co2_ug=0.75,
        energy_source="RAPL package",
    )
    return dataclasses.replace(table, rows=(row, *table.rows[1:]))


def hostile() -> tuple[SpeedupTable, Background]:
    """Devices, models, schemes, findings, facts and the manifest all say EVIL."""
    where: dict[str, Any] = {"device": EVIL, "model": EVIL}
    trials = [
        *blocks_of({BASELINE: 2000.0, EVIL: 1000.0}, 6, **where),
        bad(EVIL, 6, reason=EVIL, **where),
    ]
    trials[0] = with_finding(trials[0], Finding(EVIL, EVIL, EVIL))
    record = run_of(
        trials,
        artifacts={},
        devices=(EVIL,),
        facts={EVIL: {"cpu": {"microarchitecture": EVIL}}},
        lost={EVIL: EVIL},
    )
    behind = background(record)
    manifest = dataclasses.replace(
        behind.manifest,
        created=EVIL,
        inventory={"path": EVIL},
        suite={"name": EVIL, "baseline": EVIL, "protocol": {"blocks": EVIL}},
        versions={EVIL: EVIL},
        binaries=(BinaryRecord(EVIL, EVIL, 7, EVIL, pinned=True),),
    )
    facts = {EVIL: {"cpu": {"model_name": EVIL, "features": 7, "base_mhz": "x"}}}
    table = analyse(record)
    row = dataclasses.replace(
        table.rows[0],
        published=(PublishedFigure(EVIL, EVIL, None, None, None, EVIL, EVIL, EVIL),),
        control=EVIL,
        energy_source=EVIL,
    )
    table = dataclasses.replace(table, rows=(row,))
    return table, dataclasses.replace(behind, manifest=manifest, facts=facts)
