"""Runs made by hand or by a seeded generator, for the tests of the analysis and the reports."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrate_agent.children.outputs import Output, summary_of
from orchestrator.frameworks.reading.answers import outputs_of
from orchestrator.measurement import (
    Finding,
    Invocations,
    Measurement,
    Memory,
    Outcome,
    Outputs,
)
from orchestrator.runs.records import ArtifactRecord, RunRecord, TrialRecord
from orchestrator.trial import Duet, Factors, Trial, TrialKind, Variant

FACTORS = Factors("litert", "any", "xnnpack", 1, 1, "native")
BASELINE = "float32"
SIZES = {"float32": 16_900_000, "float16": 8_500_000, "full_int8": 4_400_000}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def measurement(
    median_us: float | None, *, version: str | None = "2.3.0", memory: Memory | None = None
) -> Measurement:
    steady = Invocations(count=30, mean_us=median_us, median_us=median_us)
    return Measurement(
        init_us=None,
        first_us=None,
        warmup=None,
        steady=steady,
        memory=memory,
        runtime_name="ai-edge-litert",
        runtime_version=version,
    )


def trial(
    scheme: str,
    block: int,
    *,
    replicate: int = 0,
    device: str = "here",
    model: str = "mobilenet_v1",
    kind: TrialKind = TrialKind.TIMING,
    factors: Factors = FACTORS,
) -> Trial:
    name = f"{device}.{model}.{scheme}.{kind.value}.{block}.{replicate}"
    trial_id = f"{name}.{sha(str(factors))[:8]}"
    variant = Variant(model, scheme, factors.export)
    return Trial(trial_id, device, kind, variant, factors, block, replicate)


def ok(
    scheme: str, block: int, us: float | None, *, version: str | None = "2.3.0", **which: Any
) -> TrialRecord:
    """A trial that ended ok with ``us`` as its median; ``which`` goes to :func:`trial`."""
    made = trial(scheme, block, **which)
    return TrialRecord(
        made,
        Outcome.OK,
        measurement(us, version=version),
        artifact_sha256=sha(str(made.variant)),
    )


def bad(
    scheme: str,
    block: int,
    outcome: Outcome = Outcome.FAILED,
    reason: str = "it broke",
    **which: Any,
) -> TrialRecord:
    made = trial(scheme, block, **which)
    return TrialRecord(made, outcome, None, reason, artifact_sha256=sha(str(made.variant)))


def memory_trial(scheme: str, memory: Memory, number: int = 0, **which: Any) -> TrialRecord:
    made = trial(scheme, -1, replicate=number, kind=TrialKind.MEMORY, **which)
    return TrialRecord(made, Outcome.OK, measurement(1.0, memory=memory))


def artifacts(
    schemes: Sequence[str] = (BASELINE, "full_int8"),
    models: Sequence[str] = ("mobilenet_v1",),
    exports: Sequence[str] = ("open",),
) -> dict[Variant, ArtifactRecord]:
    variants = [Variant(*each) for each in itertools.product(models, schemes, exports)]
    return {
        v: ArtifactRecord(v, sha(str(v)), SIZES.get(v.scheme, 10**6), "random(seed=0)")
        for v in variants
    }


def run_of(trials: Sequence[TrialRecord], **changes: Any) -> RunRecord:
    settings: dict[str, Any] = {
        "run_id": "20260101T000000Z-abcdef",
        "baseline": BASELINE,
        "devices": tuple(dict.fromkeys(r.trial.device for r in trials)) or ("here",),
        "trials": tuple(trials),
        "artifacts": artifacts(),
        "facts": {"here": {"cpu": {"microarchitecture": "cascadelake"}}},
        "lost": {},
        "stopped": {},
        "precision": 0.02,
        "min_blocks": 6,
        "max_blocks": 20,
        "planned": tuple(r.trial for r in trials),
    }
    return RunRecord(**settings | changes)


def blocks_of(
    times: Mapping[str, float],
    count: int,
    *,
    noise: Callable[[random.Random], float] = lambda rng: rng.gauss(0, 0.005),
    seed: int = 1,
    **which: Any,
) -> list[TrialRecord]:
    """``count`` blocks of every scheme at its true time in µs, under multiplicative noise;
    the baseline twice."""
    rng = random.Random(seed)
    sides = [*((scheme, 0) for scheme in times), (BASELINE, 1)]
    return [
        ok(scheme, block, times[scheme] * 2.718281828 ** noise(rng), replicate=replicate, **which)
        for block in range(count)
        for scheme, replicate in sides
    ]


def answer(*values: float, step: float | None = None, name: str = "logits") -> Outputs:
    """What one output of these values is in short, as a measuring child tells it."""
    output = Output(
        name,
        (1, len(values)),
        "float32",
        repr(values).encode(),
        lambda every: values[::every],
        step,
    )
    found = outputs_of({"input_error": 0.0, "outputs": [summary_of(output)]})
    assert found is not None
    return found


def answering(
    baseline: Outputs, treatment: Outputs, *, weights: str = "imagenet", **which: Any
) -> RunRecord:
    """A run whose two sides answer so."""
    trials = []
    for record in blocks_of({BASELINE: 100_000.0, "full_int8": 25_000.0}, 8, **which):
        outputs = baseline if record.trial.variant.scheme == BASELINE else treatment
        assert record.measurement is not None
        trials.append(replace(record, measurement=replace(record.measurement, outputs=outputs)))
    return run_of(
        trials, artifacts={v: replace(a, weights=weights) for v, a in artifacts().items()}
    )


def duets_of(
    times: Mapping[str, float],
    count: int,
    *,
    weather: Callable[[random.Random], float] = lambda rng: rng.gauss(0, 0.2),
    apart: float = 0.0,
    seed: int = 1,
) -> list[TrialRecord]:
    """``count`` blocks of duets under noise that strikes both halves alike and is another for each
    duet, and 0.2 % of their own. All measure for a second; treatments begin ``apart`` s later."""
    rng = random.Random(seed)
    treatments = [scheme for scheme in times if scheme != BASELINE]
    pairs = [((BASELINE, 0), (BASELINE, 1))]
    pairs += [((scheme, 0), (BASELINE, n)) for n, scheme in enumerate(treatments, 2)]
    found = []
    for block in range(count):
        for begun, pair in enumerate(pairs):
            shared = weather(rng)
            halves = [
                ok(scheme, block, times[scheme] * math.exp(shared + rng.gauss(0, 0.002)),
                   replicate=replicate)
                for scheme, replicate in pair
            ]  # fmt: skip
            for half, (own, other) in enumerate((halves, halves[::-1])):
                assert own.measurement is not None
                start = 10.0 * begun + (apart if own.trial.variant.scheme != BASELINE else 0.0)
                duet = Duet(other.trial.trial_id, half)
                found.append(
                    replace(
                        own,
                        trial=replace(own.trial, duet=duet),
                        measurement=replace(own.measurement, steady_window_s=(start, start + 1.0)),
                    )
                )
    return found


def with_finding(record: TrialRecord, finding: Finding) -> TrialRecord:
    return TrialRecord(
        record.trial,
        record.outcome,
        record.measurement,
        record.reason,
        (*record.findings, finding),
        record.artifact_sha256,
        record.binary_sha256,
    )
