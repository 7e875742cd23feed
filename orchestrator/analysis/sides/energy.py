"""Energy of one inference, and the CO2 it stands for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from orchestrator.analysis.sides.side import Side

#: µg of CO2 for a millijoule at 1 g/kWh: 1 mJ is 1/3.6e9 kWh, and 1 g is 1e6 µg.
_UG_PER_MJ_AND_G_PER_KWH = 1 / 3600


@dataclass(frozen=True)
class EnergyPair:
    """Medians over the trials of either side: millijoules, and micrograms of CO2, an inference.

    ``source`` says which meter, and is empty where there was none. A side that no meter watched is
    None; CO2 is None without a grid intensity.
    """

    baseline_mj: float | None = None
    treatment_mj: float | None = None
    baseline_co2_ug: float | None = None
    treatment_co2_ug: float | None = None
    source: str = ""


def energy(baseline: Side, treatment: Side, gco2_per_kwh: float | None) -> EnergyPair:
    """Compute what either side consumed. Figures of unlike meters are not compared."""
    sources = {r.energy.source for side in (baseline, treatment) for r in side.timed if r.energy}
    if len(sources) != 1:
        return EnergyPair()
    one, other = _median_mj(baseline), _median_mj(treatment)
    return EnergyPair(
        baseline_mj=one,
        treatment_mj=other,
        baseline_co2_ug=_co2_ug(one, gco2_per_kwh),
        treatment_co2_ug=_co2_ug(other, gco2_per_kwh),
        source=sources.pop(),
    )


def _median_mj(side: Side) -> float | None:
    values = [r.energy.mj_per_inference for r in side.timed if r.energy is not None]
    return median(values) if values else None


def _co2_ug(mj: float | None, gco2_per_kwh: float | None) -> float | None:
    if mj is None or gco2_per_kwh is None:
        return None
    return mj * gco2_per_kwh * _UG_PER_MJ_AND_G_PER_KWH
