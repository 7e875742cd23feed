"""Every process's time, scheme by scheme: what bars, box plots and warm-up curves stand on. Pure.

The centre and its interval are over blocks, as for speed-ups, and of the first baseline of each
block alone, so that every scheme has one sample a block. The processes themselves are all there.
"""

from __future__ import annotations

import math

from orchestrator.analysis.pairing import centre_us, centres
from orchestrator.analysis.statistics import estimate
from orchestrator.analysis.table import Distribution
from orchestrator.plan import Factors, TrialKind
from orchestrator.runs.records import RunRecord, TrialRecord


def distributions(run: RunRecord) -> tuple[Distribution, ...]:
    """One a scheme that has a usable time: devices as the inventory has them, models and schemes
    as the manifest has them, the baseline first."""
    found: dict[tuple[str, Factors, str, str], list[TrialRecord]] = {}
    for record in run.trials:
        trial = record.trial
        if trial.kind is TrialKind.TIMING and centre_us(record) is not None:
            variant = trial.variant
            key = (trial.device, trial.factors, variant.model, variant.scheme)
            found.setdefault(key, []).append(record)
    order = _Order(run)
    return tuple(_distribution(key, found[key]) for key in sorted(found, key=order.place))


def _distribution(key: tuple[str, Factors, str, str], records: list[TrialRecord]) -> Distribution:
    device, factors, model, scheme = key
    ordered = sorted(records, key=lambda record: (record.trial.block, record.trial.replicate))
    times = [time for record in ordered if (time := centre_us(record)) is not None]
    first = [math.log(time) for time in centres(records).values()]
    estimated = estimate(first) if first else None
    interval = estimated.interval if estimated else None
    return Distribution(
        device=device,
        model=model,
        factors=factors,
        scheme=scheme,
        centres_ms=tuple(time / 1000 for time in times),
        centre_ms=math.exp(estimated.centre) / 1000 if estimated else None,
        low_ms=math.exp(interval.low) / 1000 if interval else None,
        high_ms=math.exp(interval.high) / 1000 if interval else None,
    )


class _Order:
    def __init__(self, run: RunRecord) -> None:
        variants = tuple(run.artifacts)
        self._devices = {name: place for place, name in enumerate(run.devices)}
        self._models = {
            name: place for place, name in enumerate(dict.fromkeys(v.model for v in variants))
        }
        schemes = [run.baseline, *(v.scheme for v in variants)]
        self._schemes = {name: place for place, name in enumerate(dict.fromkeys(schemes))}

    def place(self, key: tuple[str, Factors, str, str]) -> tuple[object, ...]:
        device, factors, model, scheme = key
        return (
            self._devices.get(device, len(self._devices)),
            device,
            factors,
            self._models.get(model, len(self._models)),
            model,
            self._schemes.get(scheme, len(self._schemes)),
            scheme,
        )
