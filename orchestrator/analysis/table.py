"""What the analysis says: rows of speed-ups and what else it finds. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from orchestrator.factors import Factors
from orchestrator.figures import Figure
from orchestrator.frameworks.settings import level_of
from orchestrator.measurement import Finding, Outcome
from orchestrator.trial import TrialKind


class Verdict(str, Enum):
    FASTER = "faster"
    SLOWER = "slower"
    INDISTINGUISHABLE = "indistinguishable"
    INVALID = "invalid"


@dataclass(frozen=True)
class Alternative:
    """A comparison by another statistic of each process: ratios, as in ``Speedup``."""

    speedup: float
    ci_low: float | None
    ci_high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class PublishedFigure:
    """What a publication says of the same model and scheme on the same microarchitecture.

    ``speedup`` is None where only the direction is known (``slower`` or ``faster``). ``low`` and
    ``high`` bound it by its stated precision. ``agreement`` is ``agrees``, ``contradicts`` or
    ``cannot tell``, by interval; ``note`` says what the two do not share (an instruction set that
    was capped, another runner, another number of threads). ``comparable`` is False where that makes
    them figures of different things.
    """

    source: str
    hardware: str
    speedup: float | None
    low: float | None
    high: float | None
    direction: str
    agreement: str
    note: str = ""
    comparable: bool = True


@dataclass(frozen=True)
class Speedup:
    """One comparison: baseline ÷ treatment on one device under the same factors.

    Times are in milliseconds: the median, over the blocks compared, of each process's centre.
    Sizes and memory are in MB (10⁶ bytes). ``speedup``, its interval and ``noise_floor`` are
    plain ratios; ``noise_floor`` is at least 1. A figure that was not measured is ``None``; an
    invalid comparison has no speed-up. ``factors`` is None where no trial of the model was sent to
    the device.

    ``achieved_precision`` is the half-width of the interval of the log ratio. ``p_adjusted`` is
    after Holm's correction over the whole table. ``aa_*`` is the baseline against itself.
    ``reason`` says in one sentence why the verdict is what it is, ``stopped`` why no further
    block was run. The factor ``runtime`` is what the suite asked for, ``runtime_version`` what ran,
    by name and version.
    ``memory_kind`` is ``peak``, ``overall`` (growth since the start) or None.

    ``by_mean`` and ``by_minimum`` are the comparison by the mean and the minimum of each process,
    None where a runner does not report them. ``control`` says how far the machine's conditions
    were in our hands: ``controlled``, ``partly controlled`` or ``uncontrolled``, a colon, and why;
    empty where nothing was measured. Energy is that of one inference in millijoules, CO2 in
    micrograms from the grid intensity that the user gave. ``runtime_from`` is whose the runtime
    was, ``device`` or ``bundle``; ``baseline_delegated`` and ``treatment_delegated`` are the nodes
    that a delegate took of all there are, like ``30/34``. ``isa_way`` is how CPUID was made to trap
    where the instruction set is capped: ``faulting`` or ``rewriting``. ``inputs`` says what was
    fed, like ``1 × 224 × 224 × 3``, and which signature was called where one was chosen; empty
    where nobody knows. ``looked_at`` says by whom what was computed was looked at, where the runner
    shows no outputs itself; empty where it does. Accuracy is that of :class:`AccuracyComparison`,
    as shares of 1, empty where it was not measured.
    """

    run_id: str
    device: str
    microarchitecture: str
    factors: Factors | None
    runtime_version: str
    model: str
    scheme: str
    baseline_scheme: str
    blocks: int
    baseline_ms: float | None
    treatment_ms: float | None
    speedup: float | None
    ci_low: float | None
    ci_high: float | None
    noise_floor: float | None
    verdict: Verdict
    baseline_size_mb: float | None
    treatment_size_mb: float | None
    baseline_memory_mb: float | None
    treatment_memory_mb: float | None
    findings: tuple[Finding, ...]
    reason: str
    memory_kind: str | None = None
    achieved_precision: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    aa_ratio: float | None = None
    aa_low: float | None = None
    aa_high: float | None = None
    aa_blocks: int = 0
    baseline_weights: str = ""
    treatment_weights: str = ""
    stopped: str = ""
    failures: Mapping[str, int] = field(default_factory=dict)
    by_mean: Alternative | None = None
    by_minimum: Alternative | None = None
    published: tuple[PublishedFigure, ...] = ()
    control: str = ""
    baseline_energy_mj: float | None = None
    treatment_energy_mj: float | None = None
    baseline_co2_ug: float | None = None
    treatment_co2_ug: float | None = None
    energy_source: str = ""
    duet: bool = False
    runtime_from: str = ""
    baseline_delegated: str = ""
    treatment_delegated: str = ""
    isa_way: str = ""
    inputs: str = ""
    accuracy_metric: str = ""
    baseline_accuracy: float | None = None
    treatment_accuracy: float | None = None
    accuracy_verdict: str = ""
    looked_at: str = ""

    def __post_init__(self) -> None:
        if self.verdict is Verdict.INVALID and self.speedup is not None:
            raise ValueError(f"{self.device} {self.model} {self.scheme}: invalid, yet a speed-up")

    @property
    def isa(self) -> str:
        """The instruction set, which is part of where it ran; empty where nothing was sent."""
        return self.factors.isa if self.factors else ""

    def level(self, factor: str) -> Any:
        """Its level of a factor; empty where the runner does not take it, or nothing was sent."""
        return level_of(self.factors, factor) if self.factors else ""


@dataclass(frozen=True)
class NoiseFloor:
    """What comparing the baseline against itself yields in one group, as ratios.

    ``floor`` is the bound of the interval that lies farther from 1, as a ratio of at least 1. It
    is None, as the interval is, with fewer than six blocks in which both baselines ended ok.
    """

    device: str
    model: str
    factors: Factors
    blocks: int
    ratio: float | None
    low: float | None
    high: float | None
    floor: float | None

    @property
    def excludes_one(self) -> bool:
        """Whether even the baseline against itself is not 1."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high


class FigureVerdict(str, Enum):
    """What a comparison of a figure other than time says of the treatment."""

    BETTER = "better"
    WORSE = "worse"
    INDISTINGUISHABLE = "indistinguishable"
    INVALID = "invalid"


@dataclass(frozen=True)
class FigureComparison:
    """One figure of one scheme, compared with the baseline's, under the same factors.

    ``baseline`` and ``treatment`` are medians over the blocks compared, in the figure's unit.
    ``gain`` and its interval are as the figure is shown: the ratio, above 1 where the treatment is
    the better one, or the difference, above 0 where it is. ``noise_floor`` is what the baseline
    against itself yields in the same terms. An invalid comparison has no gain.
    """

    device: str
    model: str
    factors: Factors
    scheme: str
    baseline_scheme: str
    figure: Figure
    blocks: int
    baseline: float | None
    treatment: float | None
    gain: float | None
    low: float | None
    high: float | None
    noise_floor: float | None
    p_adjusted: float | None
    verdict: FigureVerdict
    reason: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class ScoredShare:
    """A figure of one side over samples, as a share of 1, with its 95 % interval where there is
    one. None where it was not scored."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ClassChange:
    """What a treatment lost and gained among the ``samples`` of one class; shares of 1."""

    name: str
    samples: int
    baseline: float
    treatment: float
    lost: int
    gained: int


@dataclass(frozen=True)
class ChangedAnswer:
    """A sample that the two sides answer unlike, by its key in the data set, with what is right
    and what either side says, in words."""

    key: str
    label: str
    baseline: str
    treatment: str


@dataclass(frozen=True)
class Agreement:
    """How alike two sides answer the same samples, labels or not, in one output.

    ``same_top1`` is None of an output that has no classes. ``snr_db`` is the median over samples of
    the baseline's energy over that of the deviation, ``worst_snr_db`` the least; both are infinite
    where the values are equal. ``estimated``: out of sketches, because the values were not kept.
    """

    output: str
    samples: int
    same_top1: ScoredShare | None
    same_bytes: float
    cosine: float | None
    snr_db: float | None
    worst_snr_db: float | None
    largest_deviation: float | None
    estimated: bool


@dataclass(frozen=True)
class AccuracyComparison:
    """Accuracy of one scheme beside the baseline's, on one device under the same factors.

    Both answered the same ``samples``. ``metric`` names the figure that is judged: ``top-1``,
    ``AP`` (COCO's AP@[.50:.95], of boxes) or ``mask AP`` (the same of masks), or ``agreement``
    where there are no labels and nothing is judged.
    ``difference`` is the treatment's minus the baseline's, with its 95 % interval, as shares of 1.
    ``lost`` samples only the baseline has right, ``gained`` only the treatment. ``p_adjusted`` is
    after Holm's correction over the table. ``verdict`` is one of ``better``, ``no worse`` (than
    ``margin`` percentage points), ``worse``, ``cannot tell``, ``invalid``, and empty where nothing
    is judged. ``would_tell`` is about how many samples a verdict takes. ``others`` maps further
    figures to (baseline, treatment), None where a side has none. ``outcomes`` has a letter for
    each sample of the run, of what is right or wrong: ``1`` both sides right, ``0`` neither, ``-``
    lost, ``+`` gained, a space not answered by both; empty where nothing is right or wrong.
    ``changed`` names some samples with another answer, of a detector images in which another number
    of objects is found; ``changes`` is how many there are, where agreement does not tell.
    """

    device: str
    model: str
    factors: Factors
    scheme: str
    baseline_scheme: str
    metric: str
    samples: int
    margin: float
    baseline: ScoredShare
    treatment: ScoredShare
    difference: float | None
    low: float | None
    high: float | None
    lost: int | None
    gained: int | None
    p_value: float | None
    p_adjusted: float | None
    verdict: str
    reason: str
    would_tell: int | None = None
    others: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    agreement: tuple[Agreement, ...] = ()
    classes: tuple[ClassChange, ...] = ()
    changed: tuple[ChangedAnswer, ...] = ()
    changes: int | None = None
    outcomes: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class TradeOff:
    """One scheme of a model in one place, by speed, accuracy and size, the baseline being one.

    ``difference`` is that of :class:`AccuracyComparison`, with its interval; ``size_share`` the
    size of the file over that of the baseline's. ``front``: it is on the Pareto front, no other
    scheme of the model in this place is as good in all three and better in one, by the estimates.
    """

    device: str
    model: str
    factors: Factors
    scheme: str
    speedup: float
    ci_low: float | None
    ci_high: float | None
    difference: float
    low: float | None
    high: float | None
    size_mb: float | None
    size_share: float | None
    front: bool = False


@dataclass(frozen=True)
class Place:
    """Where a file ran: a device, under all factors."""

    device: str
    factors: Factors


@dataclass(frozen=True)
class SameBytes:
    """Which places gave the same bytes for one file, fed the same: of each of ``groups`` all did,
    the largest first. Places of ``varying`` did not even from process to process. ``batch`` and
    ``input_size`` are part of what was fed.
    """

    model: str
    scheme: str
    sha256: str
    batch: int
    input_size: int
    groups: tuple[tuple[Place, ...], ...]
    varying: tuple[Place, ...] = ()


@dataclass(frozen=True)
class FailedTrials:
    """Trials of one variant that did not end ok, for one reason."""

    device: str
    model: str
    scheme: str
    kind: TrialKind
    outcome: Outcome
    reason: str
    count: int


@dataclass(frozen=True)
class SweepPoint:
    """One scheme at one value of a factor: latency of an inference over blocks, in ms.

    The interval is None with fewer than six blocks. ``speedup`` is over the baseline under the same
    factors. ``problem`` says why there is no latency, and is empty where there is one.
    """

    scheme: str
    value: int
    batch: int
    blocks: int
    latency_ms: float | None
    low_ms: float | None
    high_ms: float | None
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    problem: str = ""


@dataclass(frozen=True)
class Sweep:
    """Latency of one model on one device against ``factor``, all others as in ``factors``."""

    factor: str
    device: str
    model: str
    factors: Factors
    points: tuple[SweepPoint, ...]


@dataclass(frozen=True)
class Distribution:
    """One scheme of a group, process by process: what box plots and warm-up curves are drawn of.

    ``centres_ms`` has one figure a timing trial that ended ok, both replicates of the baseline, in
    the order of the blocks. ``centre_ms`` is the Hodges-Lehmann centre over blocks of the first
    replicate, ``low_ms`` and ``high_ms`` its 95 % interval; None with too few blocks. ``inputs`` is
    as in ``Speedup``.
    """

    device: str
    model: str
    factors: Factors
    scheme: str
    centres_ms: tuple[float, ...]
    centre_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    inputs: str = ""


@dataclass(frozen=True)
class Tail:
    """A percentile of a scheme's steady inferences over all processes, in ms; 100 is the worst.

    The interval is over ``processes``; there is none of the worst, with fewer than six processes,
    or with fewer ``inferences`` than the percentile ``needs``. ``at_most_ms`` is what MLPerf's
    early stopping rule gives for it. ``baseline_ms`` and the speed-up, with its interval over
    blocks, are of the blocks that both sides have; None of the baseline itself, and of what may not
    be compared.
    """

    device: str
    model: str
    factors: Factors
    scheme: str
    baseline_scheme: str
    percentile: int
    processes: int
    inferences: int
    needs: int
    ms: float
    low_ms: float | None
    high_ms: float | None
    at_most_ms: float | None
    baseline_ms: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None


@dataclass(frozen=True)
class RunnerComparison:
    """One runner's file of a network beside another's: ``row`` is of the other one, compared with
    the baseline under ``baseline_factors``."""

    row: Speedup
    baseline_factors: Factors


@dataclass(frozen=True)
class SpeedupTable:
    """A table holds everything that a report shows. ``lost`` maps a device to why it was lost.

    ``outcomes`` counts the finished trials by how they ended, ``unfinished`` those that were
    released to a device and never ended. ``stopped`` maps a group's key to why it stopped.
    ``duet``: baseline and treatment ran at the same time. ``figures`` compares whatever else than
    the time the trials found; a group without any time is there alone. ``across`` compares one
    runner's files with another's, where the suite asks for that. ``trade_offs`` has what is both
    faster or slower and more or less accurate; ``same_bytes`` has each file that ran in several
    places. ``tails`` are percentiles of single inferences, where somebody read them.
    """

    run_id: str
    baseline: str
    devices: tuple[str, ...]
    rows: tuple[Speedup, ...]
    noise_floors: tuple[NoiseFloor, ...]
    problems: tuple[FailedTrials, ...]
    lost: Mapping[str, str]
    stopped: Mapping[str, str]
    outcomes: Mapping[Outcome, int]
    unfinished: int
    precision: float
    min_blocks: int
    max_blocks: int
    sweeps: tuple[Sweep, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    duet: bool = False
    figures: tuple[FigureComparison, ...] = ()
    across: tuple[RunnerComparison, ...] = ()
    accuracy: tuple[AccuracyComparison, ...] = ()
    trade_offs: tuple[TradeOff, ...] = ()
    same_bytes: tuple[SameBytes, ...] = ()
    tails: tuple[Tail, ...] = ()
