"""Factorial runs with known effects, for the tests of `explain`."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.measurement import Outcome
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import Factors, Trial
from tests.analysis_runs import BASELINE, FACTORS, artifacts, measurement, ok, run_of, sha, trial

OLD, NEW = "tflite-runtime==2.14.0", "ai-edge-litert==2.3.0"
MODELS = ("mobilenet_v1", "resnet50")
SCHEMES = ("dynamic_range", "full_int8")
LEVELS: Mapping[str, Sequence[Any]] = {"isa": ("native", "haswell"), "runtime": (NEW, OLD)}

#: The logarithm of a true speed-up, of (model, scheme, factors).
Truth = Callable[[str, str, Factors], float]

#: What the tests vary: the size of each term of the logarithm of the speed-up.
TERMS = {
    "resnet50": 0.9, "full_int8": 0.3, "haswell": -0.7, OLD: -1.1, ("full_int8", "haswell"): 0.25,
}  # fmt: skip


def additive(model: str, scheme: str, factors: Factors) -> float:
    """``TERMS`` added up, on a speed-up of e^0.4."""
    here = {model, scheme, factors.isa, factors.runtime}
    total = 0.4
    for term, size in TERMS.items():
        parts = {term} if isinstance(term, str) else set(term)
        total += size if parts <= here else 0.0
    return total


def settings(levels: Mapping[str, Sequence[Any]] = LEVELS) -> list[Factors]:
    return [
        replace(FACTORS, **dict(zip(levels, values, strict=True)))
        for values in itertools.product(*levels.values())
    ]


def factorial(
    truth: Truth = additive,
    *,
    models: Sequence[str] = MODELS,
    schemes: Sequence[str] = SCHEMES,
    levels: Mapping[str, Sequence[Any]] = LEVELS,
    blocks: Callable[[str, Factors], int] = lambda model, factors: 6,
    noise: Callable[[random.Random], float] = lambda rng: rng.gauss(0, 0.01),
    without: Callable[[Trial], bool] = lambda trial: False,
    seed: int = 1,
    microarchitecture: str = "icelake",
) -> RunRecord:
    """Every combination, each trial under ``noise``; those that ``without`` picks failed."""
    rng = random.Random(seed)
    trials: list[TrialRecord] = []
    for model, factors in itertools.product(models, settings(levels)):
        name, _, version = factors.runtime.partition("==")
        for block in range(blocks(model, factors)):
            for scheme, replicate in ((BASELINE, 0), (BASELINE, 1), *((s, 0) for s in schemes)):
                log = 0.0 if scheme == BASELINE else truth(model, scheme, factors)
                us = 10_000 * math.exp(noise(rng) - log)
                made = trial(scheme, block, model=model, factors=factors, replicate=replicate)
                if without(made):
                    trials.append(
                        TrialRecord(made, Outcome.INCOMPATIBLE, None, "lacks an operator",
                                    artifact_sha256=sha(str(made.variant)))
                    )  # fmt: skip
                    continue
                record = ok(scheme, block, us, model=model, factors=factors, replicate=replicate)
                measured = replace(
                    measurement(us), runtime_name=name, runtime_version=version or "2.3.0"
                )
                trials.append(replace(record, measurement=measured))
    return run_of(
        trials,
        artifacts=artifacts((BASELINE, *schemes), models),
        facts={"here": {"cpu": {"microarchitecture": microarchitecture}}},
    )
