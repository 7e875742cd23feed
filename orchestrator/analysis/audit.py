"""What is wrong with a comparison: the findings of its trials, and those only pairs can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from statistics import median
from typing import Any

from orchestrator.analysis.sides import control, outputs, same_bytes
from orchestrator.analysis.sides.conditions import differences, to_finding
from orchestrator.analysis.sides.pairing import (
    Pairs,
    centre_us,
    half_width,
)
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.sides.summaries import IMPORTED
from orchestrator.analysis.statistics import MIN_PAIRS
from orchestrator.analysis.table import NoiseFloor
from orchestrator.factors import OPEN
from orchestrator.frameworks import registry
from orchestrator.measurement import Finding
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import Trial

#: The least share of the longer steady phase of a duet in which both halves must measure: what is
#: measured beyond has no neighbour any more.
LEAST_OVERLAP = 0.8
#: The least share of the treatment's nodes that a delegate must take, as a part of the share that
#: it took of the baseline's. Below it the two are as much a comparison of a delegate's kernels with
#: built-in ones as of two schemes; a few nodes that only one file has (to quantize its input, say)
#: do not make it one.
LEAST_DELEGATED = 0.9
#: Places in a damaged journal that a finding names.
_SHOWN = 3
#: By so much the shares of two sides differ, of the CPU time that one kind of core had.
_OTHER_CORES = 0.2


def audit(
    run: RunRecord,
    baseline: Side,
    treatment: Side,
    pairs: Pairs,
    *,
    device: str,
    across: bool = False,
) -> tuple[Finding, ...]:
    """Collect every finding on one comparison; those that forbid it come first.

    The first finding that forbids is the reason that the table shows for ``invalid``, so the order
    below goes from what ends every question (nothing measured, an emulator, a journal with holes)
    through what two sides differ in to what merely blurs them.

    ``across``: of two runners, whose runtimes and files differ, as the suite wants it.
    """
    found = [
        *_no_pairs(run, baseline, treatment, pairs, device),
        *_emulated(run, device),
        *_several_machines(run, device),
        *_journal(run, device),
        *_unlike(baseline, treatment, across=across),
        *outputs.findings(run, baseline, treatment),
        *same_bytes.findings((baseline, treatment)),
        *_no_op(treatment),
        *_on_files(baseline, treatment),
        *(() if across else _larger(baseline, treatment)),
        *_exported(baseline, treatment),
        *_contents(baseline, treatment),
        *_on_trials(baseline, treatment),
        *(() if across else _less_delegated(baseline, treatment)),
        *_quota(run, baseline, treatment, device),
        *other_cores(run.facts.get(device, {}), baseline, treatment),
        *_failures(baseline, treatment, pairs),
        *_no_time(baseline, treatment),
        *_blocks(run, pairs),
        *_noisy(run, pairs),
        *_apart(baseline, treatment),
    ]
    return tuple(sorted(found, key=lambda finding: not finding.forbids))


def no_noise_floor(aa_pairs: int) -> Finding:
    return Finding(
        "no_noise_floor",
        f"both baselines ended ok in only {aa_pairs} blocks, and {MIN_PAIRS} are needed to say "
        "what the baseline against itself yields",
        "see why baseline trials fail, and run again",
    )


def aa_effect(floor: NoiseFloor) -> Finding:
    """The finding on every comparison of a group whose baseline differs from itself."""
    return Finding(
        "aa_effect",
        f"the baseline against itself lies between {floor.low:.4f} and {floor.high:.4f}, which is "
        "not 1: something other than the scheme makes processes of one block unlike",
        "treat effects of that size as nothing; look for what changes within a block (a clock "
        "that settles, a neighbour that comes and goes), then run again",
    )


def _no_pairs(
    run: RunRecord, baseline: Side, treatment: Side, pairs: Pairs, device: str
) -> Iterable[Finding]:
    """Say why there is nothing to compare, named by how the treatment ended where it did."""
    if len(pairs):
        return
    # A treatment that never ended ok is named by how it ended (``killed``, ``timeout``): that is
    # what has to be mended. Of a baseline every row of the group would say the same: one code.
    for side, code in ((treatment, None), (baseline, "no_baseline")):
        if not side.timed and side.failures:
            yield _never_ok(side, code)
    absent = [s for s in (baseline, treatment) if not s.timed and not s.failures]
    if absent and run.suite == IMPORTED:
        yield _no_counterpart(run, baseline, treatment, absent[0], device)
    elif absent:
        yield _not_measured(run, device)
    elif baseline.timed and treatment.timed:
        yield Finding(
            "unpaired",
            f"{baseline.scheme} and {treatment.scheme} were never both ok in one block",
            "see why trials fail, and run again with more blocks",
            forbids=True,
        )


def _never_ok(side: Side, code: str | None) -> Finding:
    outcome, _ = min(side.failures.items(), key=lambda item: (-item[1], item[0]))
    reason = most_common(r.reason or "" for r in side.records if r.outcome.value == outcome)
    return Finding(
        code or outcome,
        f"no timing trial of {side.scheme} ended ok ({_counts(side.failures)}): {reason}",
        "the raw output is in the run's logs/",
        forbids=True,
    )


def _no_counterpart(
    run: RunRecord, baseline: Side, treatment: Side, absent: Side, device: str
) -> Finding:
    """Why imported figures of one side have none to be compared with: what they ran under."""
    present = treatment if absent is baseline else baseline
    here = next((r.trial for r in present.records), None)
    others = [
        r.trial
        for r in run.trials
        if here is not None
        and (r.trial.device, r.trial.variant.model) == (device, here.variant.model)
        and r.trial.variant.scheme == absent.scheme
    ]
    if here is None or not others:
        return Finding(
            "no_counterpart",
            f"the imported files have no figure of {absent.scheme} to compare with",
            "import the logs of both in one go",
            forbids=True,
        )
    nearest = min(others, key=lambda trial: len(_unlike_factors(here, trial)))
    unlike = _unlike_factors(here, nearest)
    told = "; ".join(
        f"{name}: {present.scheme} under {one}, {absent.scheme} under {other}"
        for name, (one, other) in unlike.items()
    )
    return Finding(
        "no_counterpart",
        f"never compared, because they ran under unlike conditions ({told})",
        "measure both under the same delegate, threads and tool; what the logs do not tell can be "
        "said with --delegate and --threads",
        forbids=True,
    )


def _unlike_factors(one: Trial, other: Trial) -> dict[str, tuple[str, str]]:
    """Which factors differ, with the values of both."""
    pairs = {
        each.name: (str(getattr(one.factors, each.name)), str(getattr(other.factors, each.name)))
        for each in fields(one.factors)
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _not_measured(run: RunRecord, device: str) -> Finding:
    if device in run.lost:
        return Finding(
            "device_lost",
            f"the device was lost before this was measured: {run.lost[device]}",
            "make the device reachable, then go on with `orchestrate run --resume`",
            forbids=True,
        )
    if device in run.bundled:
        return Finding(
            "not_measured",
            "the device's bundle has not brought this back yet",
            f"run the bundle there, again where it was interrupted, then `orchestrate import "
            f"results-{device}.zip`",
            forbids=True,
        )
    return Finding(
        "not_measured",
        "planned, but the run ended before this was measured",
        "go on with `orchestrate run --resume`, or give it a larger budget",
        forbids=True,
    )


def _emulated(run: RunRecord, device: str) -> Iterable[Finding]:
    if control.emulated(run.facts.get(device, {})):
        yield Finding(
            "emulated",
            "the device's programs are translated for a CPU of another kind (qemu-user): these "
            "times are the emulator's, and mean nothing for any device",
            "that the trials end ok is all that can be learnt here; measure on the hardware itself",
            forbids=True,
        )


def _several_machines(run: RunRecord, device: str) -> Iterable[Finding]:
    split = run.split.get(device)
    if split is not None:
        yield Finding(
            "several_machines",
            f"{split.device} was several machines in this run ({'; '.join(split.unlike)}); each "
            "has its own rows here, of the blocks that it measured itself",
            "give each machine a device name of its own, and measure each in a run of its own",
        )


def _journal(run: RunRecord, device: str) -> Iterable[Finding]:
    """Tell of lines that got lost, or are not those that were written."""
    name = run.split[device].device if device in run.split else device
    of_device = [flaw for flaw in run.flaws if flaw.device == name]
    losing = [flaw.message for flaw in of_device if flaw.loses]
    harmless = [flaw.message for flaw in of_device if not flaw.loses]
    if losing:
        yield Finding(
            "journal_incomplete",
            f"{_some(losing)}; without it no figure of the device stands",
            "restore the journal from a copy, or measure again; the raw logs in logs/ are as they "
            "were",
            forbids=True,
        )
    if harmless:
        yield Finding(
            "journal_damaged",
            f"{_some(harmless)}; nothing that was measured is missing, and the figures stand",
            "see what else wrote into the run's folder; keep a copy of it",
        )


def _some(messages: Sequence[str]) -> str:
    """Join the first few of them."""
    more = len(messages) - _SHOWN
    return "; ".join(messages[:_SHOWN]) + (f" (and {more} more places)" if more > 0 else "")


#: What two runners do not have alike.
_OF_A_RUNNER = frozenset(("runtime", "runtime_version", "binary", "weights"))


def _unlike(baseline: Side, treatment: Side, *, across: bool) -> Iterable[Finding]:
    for difference in differences(baseline.conditions, treatment.conditions):
        if not (across and difference.condition in _OF_A_RUNNER):
            yield to_finding(difference, baseline.scheme, treatment.scheme)


def other_cores(facts: Mapping[str, Any], baseline: Side, treatment: Side) -> Iterable[Finding]:
    """Tell of sides that the scheduler put on other kinds of cores, where a machine has several."""
    clusters = (facts.get("cpu") or {}).get("clusters") or ()
    kinds = {
        str(cpu): str(each.get("microarchitecture") or each.get("kind"))
        for each in clusters
        for cpu in each.get("cpus") or ()
    }
    one, other = (_shares(side, kinds) for side in (baseline, treatment))
    for kind in dict.fromkeys(kinds.values()) if one and other else ():
        if abs(one.get(kind, 0.0) - other.get(kind, 0.0)) > _OTHER_CORES:
            yield Finding(
                "other_cores",
                f"the scheduler chose other cores: {baseline.scheme} ran for "
                f"{one.get(kind, 0.0):.0%} of its CPU time on {kind}, {treatment.scheme} for "
                f"{other.get(kind, 0.0):.0%}",
                "the speed-up is of the cores as much as of the scheme; measure each kind with "
                "`cpus:` in the inventory, or pin trials (`pin: true`)",
            )
            return


def _shares(side: Side, kinds: Mapping[str, str]) -> dict[str, float]:
    """The median share of the CPU time of a process that each kind of core had."""
    trials = [record.ran_on for record in side.timed if record.ran_on]
    shares: dict[str, list[float]] = {kind: [] for kind in kinds.values()}
    for ran_on in trials:
        whole = sum(ran_on.values())
        for kind, found in shares.items():
            own = sum(busy for cpu, busy in ran_on.items() if kinds.get(cpu) == kind)
            found.append(own / whole if whole else 0.0)
    return {kind: median(found) for kind, found in shares.items() if found}


def _no_op(treatment: Side) -> Iterable[Finding]:
    if treatment.artifact is not None and treatment.artifact.no_op is not None:
        yield Finding(
            "no_op",
            f"{treatment.scheme} changes nothing in this model, which is therefore not a "
            f"quantized one: {treatment.artifact.no_op}",
            "leave the scheme out for this model, or use one that quantizes its layers",
            forbids=True,
        )


def _on_files(baseline: Side, treatment: Side) -> Iterable[Finding]:
    """Tell what the readers of both files remark on them."""
    for side in (baseline, treatment):
        for each in () if side.artifact is None else side.artifact.remarks:
            yield replace(each, message=f"{side.scheme}: {each.message}")


def _larger(baseline: Side, treatment: Side) -> Iterable[Finding]:
    """Tell of a file that quantizing made larger: its quantizer adds more than it saves."""
    if (
        baseline.artifact is None
        or treatment.artifact is None
        or any(
            registry.is_as_trained(treatment.scheme, record.trial.factors.runner)
            for record in treatment.records[:1]
        )
    ):
        return
    before, after = baseline.artifact.size_bytes, treatment.artifact.size_bytes
    if 0 < before < after and treatment.artifact.no_op is None:
        yield Finding(
            "larger_than_baseline",
            f"the file of {treatment.scheme} is larger than that of {baseline.scheme} "
            f"({after:,} bytes, not {before:,}): it saves no memory here, and may do more work",
            "`orchestrate models inspect` on both files says which weights are stored how, and how "
            "much each multiplies; a recipe that rotates weights adds a product for each layer",
        )


def _exported(baseline: Side, treatment: Side) -> Iterable[Finding]:
    """Tell of files of the user's that hold their batch unlike: that alone can decide what a
    delegate takes. (Of a built file the factor says it, equal on both sides.)"""
    how = {s.scheme: s.artifact.exported for s in (baseline, treatment) if s.artifact is not None}
    if len(how) == 2 and None not in how.values() and len(set(how.values())) == 2:
        told = ", ".join(
            f"{scheme} with the batch {'left open' if exported == OPEN else 'fixed'}"
            for scheme, exported in how.items()
        )
        yield Finding(
            "export_mismatch",
            f"the files were exported in unlike ways ({told}): with an open batch a file may "
            "compute its shapes while it runs, which keeps the delegates of older runtimes from "
            "it, so that the speed-up may be the export's as much as the scheme's",
            "export both alike: convert both from a function or a model whose input is [1, …], or "
            "both with the batch left open; `orchestrate models inspect` says which a file is",
        )


def _contents(baseline: Side, treatment: Side) -> Iterable[Finding]:
    for side in (baseline, treatment):
        if len(side.contents) > 1:
            yield Finding(
                "artifact_changed",
                f"{side.scheme} was {len(side.contents)} different files in this run: "
                + ", ".join(sorted(sha[:12] for sha in side.contents)),
                "run again from one set of built models",
                forbids=True,
            )
    no_op = treatment.artifact is not None and treatment.artifact.no_op is not None
    if baseline.contents & treatment.contents and not no_op:  # which is why, and said already
        yield Finding(
            "same_content",
            f"{baseline.scheme} and {treatment.scheme} are the same file under two names",
            "build the artifacts again: `orchestrate models build`",
            forbids=True,
        )


def _on_trials(baseline: Side, treatment: Side) -> Iterable[Finding]:
    """Gather what the runners saw: one finding a code, with how many trials it concerns."""
    by_code: dict[str, list[tuple[Finding, str]]] = {}
    for side in (baseline, treatment):
        for record in side.records:
            for finding in record.findings:
                by_code.setdefault(finding.code, []).append((finding, side.scheme))
    for code in sorted(by_code):
        seen = by_code[code]
        # A finding may forbid by what it is (a wrong file), or by how many of a side's trials it
        # struck: one throttled trial of twenty is an outlier, ten of them are another machine.
        where = _counts(Counter(scheme for _, scheme in seen))
        yield Finding(
            code,
            f"{most_common(finding.message for finding, _ in seen)} (in trials: {where})",
            most_common(finding.remedy for finding, _ in seen),
            forbids=any(finding.forbids for finding, _ in seen)
            or any(
                control.forbids(code, sum(s == side.scheme for _, s in seen), len(side.timed))
                for side in (baseline, treatment)
            ),
        )


def _less_delegated(baseline: Side, treatment: Side) -> Iterable[Finding]:
    # with unlike counts within one side there is no one share to compare
    if len(baseline.delegations) != 1 or len(treatment.delegations) != 1:
        return
    ((before, nodes),), ((taken, of),) = baseline.delegations, treatment.delegations
    # taken / of < … before / nodes, without dividing by no nodes at all
    if taken * nodes < LEAST_DELEGATED * before * of:
        yield Finding(
            "less_delegated",
            f"the delegate took {before}/{nodes} nodes of the baseline and {taken}/{of} of the "
            "treatment; what it left ran on the runtime's built-in kernels",
            "compare with delegate: [none] too, or use a runtime whose delegate has kernels for "
            "the scheme; the runtime counts in that speed-up as much as the scheme",
        )


def _quota(run: RunRecord, baseline: Side, treatment: Side, device: str) -> Iterable[Finding]:
    """Tell of a quota below the threads: they may compute for a part of each period only."""
    quota = control.cpu_quota(run.facts.get(device, {}))
    threads = [r.trial.factors.threads for side in (baseline, treatment) for r in side.timed]
    # the two halves of a duet draw on the quota at the same time
    needed = max(threads, default=0) * (2 if treatment.partners else 1)
    if quota is not None and quota < needed:
        yield Finding(
            "cpu_quota",
            f"the control group lets its processes have {quota:g} CPUs' time, and {needed} "
            f"thread{'s' * (needed > 1)} computed at once: an inference that is longer than its "
            "share of a period takes longer than on this CPU alone, a shorter one may not",
            "raise the container's CPU limit (`docker run --cpus`, a pod's `limits.cpu`, systemd's "
            "`CPUQuota=`)" + (", or use fewer `threads`" if quota >= 1 else ""),
        )


def _failures(baseline: Side, treatment: Side, pairs: Pairs) -> Iterable[Finding]:
    # without any pair, _no_pairs tells of the failures
    if not len(pairs):
        return
    bad = [
        f"{side.scheme} {_counts(side.failures)} of {len(side.records)}"
        for side in (baseline, treatment)
        if side.failures
    ]
    if bad:
        yield Finding(
            "failures",
            f"some trials did not end ok ({'; '.join(bad)})",
            "see the problems below and the run's logs/",
        )


def _no_time(baseline: Side, treatment: Side) -> Iterable[Finding]:
    silent = Counter(
        side.scheme
        for side in (baseline, treatment)
        for record in side.timed
        if centre_us(record) is None
    )
    if silent:
        yield Finding(
            "no_time",
            f"trials ended ok but report no usable time ({_counts(silent)})",
            "the raw output is in the run's logs/; use a runner that reports a mean or median",
        )


def _blocks(run: RunRecord, pairs: Pairs) -> Iterable[Finding]:
    needed = max(run.min_blocks, MIN_PAIRS)
    if 0 < len(pairs) < needed:
        yield Finding(
            "too_few_blocks",
            f"{len(pairs)} blocks of at least {needed} have both sides"
            + ("; no 95 % interval can be given" if len(pairs) < MIN_PAIRS else ""),
            f"run at least {needed} blocks (`--blocks {needed}`)",
        )


def _noisy(run: RunRecord, pairs: Pairs) -> Iterable[Finding]:
    achieved = half_width(pairs)
    if achieved is not None and achieved > run.precision:
        yield Finding(
            "noisy",
            f"the interval is ±{achieved:.1%} wide; ±{run.precision:.1%} was asked for",
            "run more blocks, or quieten the machine (no other load, fixed clock)",
        )


def _apart(baseline: Side, treatment: Side) -> Iterable[Finding]:
    """A duet's purpose is lost where its halves measured at different times: what ran alone ran
    under another load than what did not."""
    if not treatment.partners:
        return
    # only pairs that both ended ok: a half whose partner failed is in no comparison
    halves = {r.trial.trial_id: r for r in baseline.timed}
    shares = [
        overlap(record, halves[duet.partner])
        for record in treatment.timed
        if (duet := record.trial.duet) is not None and duet.partner in halves
    ]
    apart = sum(share is not None and share < LEAST_OVERLAP for share in shares)
    if apart:
        yield Finding(
            "duet_overlap",
            f"in {apart} of {len(shares)} duets the two halves measured side by side for less than "
            f"{LEAST_OVERLAP:.0%} of the longer one's time",
            "let the steady phase last for seconds, not for many runs (`steady: {runs: 1, "
            "seconds: 5}`), so that a faster scheme measures as long as the baseline",
        )


def overlap(one: TrialRecord, other: TrialRecord) -> float | None:
    """The share of the longer steady phase in which both were measuring; None where untold."""
    if not all(_ran_together(record) for record in (one, other)):
        return 0.0
    windows = [r.measurement.steady_window_s if r.measurement else None for r in (one, other)]
    if windows[0] is None or windows[1] is None:
        return None
    (begun, ended), (other_begun, other_ended) = windows[0], windows[1]
    longer = max(ended - begun, other_ended - other_begun)
    return max(0.0, min(ended, other_ended) - max(begun, other_begun)) / longer if longer else None


def _ran_together(record: TrialRecord) -> bool:
    """Whether the agent tells that the halves ran at once; journals of before there were duets tell
    nothing, and are believed."""
    if record.conditions is None:
        return True
    return bool((record.conditions.get("duet") or {}).get("together"))


def most_common(texts: Iterable[str]) -> str:
    """The most frequent text (the first by alphabet among equals), saying if there are others."""
    counts = Counter(texts)
    text, _ = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return text if len(counts) == 1 else f"{text} (and {len(counts) - 1} other messages)"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))
