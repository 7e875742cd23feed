"""Every process's time, scheme by scheme: what bars, box plots and warm-up curves stand on. Pure.

The centre and its interval are over blocks, as for speed-ups, and of the first baseline of each
block alone, so that every scheme has one sample a block. The processes themselves are all there.
"""

from __future__ import annotations

import math
from typing import TypeAlias

from orchestrator.analysis.pairing import centre_us
from orchestrator.analysis.statistics import estimate
from orchestrator.analysis.table import Distribution
from orchestrator.plan import Factors, TrialKind
from orchestrator.runs.records import RunRecord

#: Device, factors, model, scheme.
_Key: TypeAlias = "tuple[str, Factors, str, str]"


def distributions(run: RunRecord) -> tuple[Distribution, ...]:
    """One a scheme that has a usable time: devices as the inventory has them, models and schemes
    as the manifest has them, the baseline first."""
    found: dict[_Key, list[tuple[int, int, float]]] = {}
    for record in run.trials:
        trial, time_us = record.trial, centre_us(record)
        if trial.kind is TrialKind.TIMING and time_us is not None:
            variant = trial.variant
            key = (trial.device, trial.factors, variant.model, variant.scheme)
            found.setdefault(key, []).append((trial.block, trial.replicate, time_us))
    order = _Order(run)
    return tuple(_distribution(key, found[key]) for key in sorted(found, key=order.place))


def _distribution(key: _Key, processes: list[tuple[int, int, float]]) -> Distribution:
    """``processes``: block, replicate and time in µs of each."""
    device, factors, model, scheme = key
    ordered = sorted(processes)
    first = [math.log(time_us) for _, replicate, time_us in ordered if replicate == 0]
    estimated = estimate(first) if first else None
    interval = estimated.interval if estimated else None
    return Distribution(
        device=device,
        model=model,
        factors=factors,
        scheme=scheme,
        centres_ms=tuple(time_us / 1000 for _, _, time_us in ordered),
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

    def place(self, key: _Key) -> tuple[object, ...]:
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
