"""Whether the two sides of a comparison compute something, and the same. Pure.

A runtime can run a network that yields nothing, without a word: that is fast, and no speed-up. So
every process shows what it answers to real inputs that are the same in all of them
(:class:`orchestrator.measurement.Outputs`), and the answers of two sides, and of one file in other
places, are held against each other here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.analysis.sides.side import Side
from orchestrator.measurement import Finding, Outputs, OutputSummary
from orchestrator.measures.accuracy.matching import matched
from orchestrator.runs.records import RunRecord

#: Relative error from which two outputs have nothing in common: zeros would be as near.
UNLIKE = 1.0
#: Relative error beyond which a scheme's answers are doubtful: the noise is 10 dB below them.
DOUBTFUL = 10 ** (-10 / 20)
#: Relative error of one file in two places that no rounding explains, nor that of integer kernels.
ROUNDING = 0.5
#: Beyond it the two sides were not fed the same.
INPUT_ERROR = 0.1
#: Begins the provenance of weights that were never trained.
RANDOM = "random"

_RUN_AGAIN = (
    "do not use this scheme with this runtime; `orchestrate models inspect` says which runtimes "
    "compute what the file holds, and another version of the runtime may"
)


def outputs_of(side: Side) -> Outputs | None:
    """What the side's first process that shows it answered; None where none does."""
    shown = (r.measurement.outputs for r in side.records if r.measurement is not None)
    return next((each for each in shown if each is not None and each.problem is None), None)


def checked_by(run: RunRecord, side: Side) -> tuple[Outputs | None, str]:
    """Return what a side's file answered another runner that looked at it on the device, and what
    that computed with, by name and version; for a side whose own runner shows no outputs."""
    for record in side.records[:1]:
        check = run.check_of(record.trial.device, record.artifact_sha256 or "")
        measured = None if check is None else check.measurement
        if measured is not None and measured.outputs is not None:
            ran = " ".join(filter(None, (measured.runtime_name, measured.runtime_version)))
            return (None if measured.outputs.problem else measured.outputs), ran
    return None, ""


def findings(run: RunRecord, baseline: Side, treatment: Side) -> Iterator[Finding]:
    """What is wrong with what the two sides answered, or their files where others looked."""
    own = [outputs_of(side) for side in (baseline, treatment)]
    checked = [checked_by(run, side) for side in (baseline, treatment)]
    base, treated = (
        each if each is not None else other for each, (other, _) in zip(own, checked, strict=True)
    )
    lookers = {by for each, (_, by) in zip(own, checked, strict=True) if each is None and by}
    by = f" (seen under {' and '.join(sorted(lookers))}, not in what was timed)" if lookers else ""
    for found in _of_outputs(run, (baseline, base), (treatment, treated)):
        yield replace(found, message=found.message + by)


def _of_outputs(
    run: RunRecord, one: tuple[Side, Outputs | None], other: tuple[Side, Outputs | None]
) -> Iterator[Finding]:
    (baseline, base), (treatment, treated) = one, other
    for side in (baseline, treatment):
        yield from _unread(side)
    if base is not None and treated is not None and is_dead(base) and is_dead(treated):
        yield Finding(
            "outputs_constant",
            f"{baseline.scheme} {_how_dead(base)}, and {treatment.scheme} {_how_dead(treated)}: "
            "with these inputs nothing can be said of what is computed",
            "name a range of inputs that the model answers to (`input:` in the suite), or measure "
            "its accuracy",
        )
        return
    for side, own, opposite in ((baseline, base, treated), (treatment, treated, base)):
        if own is not None:
            yield from _nothing(side, own, opposite)
    if base is None or treated is None or is_dead(base) or is_dead(treated):
        return
    yield from _apart(baseline, treatment, base, treated)
    yield from _elsewhere(run, baseline, base)


def is_dead(outputs: Outputs) -> bool:
    """Whether every output is one constant, or some value is not a finite number."""
    shown = [each for each in outputs.summaries if each.seen]
    return bool(shown) and (bool(_not_finite(outputs)) or all(map(_is_constant, shown)))


def _not_finite(outputs: Outputs) -> tuple[OutputSummary, ...]:
    """The outputs with values that are not finite, but for places that nothing was written to.

    TFLite_Detection_PostProcess leaves in those beyond its count what the memory held before, which
    of an integer network's is any float.
    """
    every = [each for each in outputs.summaries if each.seen]
    unwritten = _unwritten(every)
    return tuple(
        each
        for each, beyond in zip(every, unwritten, strict=True)
        if each.finite + beyond < each.seen
    )


def _unwritten(every: Sequence[OutputSummary]) -> tuple[int, ...]:
    """How many values of each output lie beyond the count of a detector's places. Its four outputs
    are boxes, two with a value for each, and their count; of any other network none do."""
    none = (0,) * len(every)
    sizes = [math.prod(each.shape) for each in every]
    if len(every) != 4 or sorted(sizes) != [1, max(sizes) // 4, max(sizes) // 4, max(sizes)]:
        return none
    count, places = every[sizes.index(1)].mean, max(sizes) // 4
    boxes = every[sizes.index(max(sizes))]
    whole = count is not None and count.is_integer() and 0 <= count <= places
    if not whole or boxes.shape[-1:] != (4,) or boxes.seen < max(sizes):
        return none
    return tuple(size // places * (places - int(count or 0)) for size in sizes)


def error_between(one: OutputSummary, other: OutputSummary) -> float | None:
    """How far ``other`` is from ``one``, as a share of its length; None where that is unknown.

    A detector may give as many places as it finds: one more, and none stands where it stood.
    """
    if math.prod(one.shape) != math.prod(other.shape):
        return None
    if len(one.sketch) != len(other.sketch) or not one.sketch:
        return None
    length = math.dist(one.sketch, (0.0,) * len(one.sketch))
    return math.dist(one.sketch, other.sketch) / length if length else None


def _is_constant(output: OutputSummary) -> bool:
    return output.seen > 1 and output.distinct <= 1


def _unread(side: Side) -> Iterator[Finding]:
    shown = [r.measurement.outputs for r in side.records if r.measurement is not None]
    problem = next((each.problem for each in shown if each is not None and each.problem), None)
    if problem is not None and outputs_of(side) is None:
        yield Finding(
            "outputs_unread",
            f"nobody has seen what {side.scheme} computes: {problem}",
            "look at the model's outputs yourself before its speed is believed",
        )


def _nothing(side: Side, own: Outputs, other: Outputs | None) -> Iterator[Finding]:
    if not is_dead(own):
        return
    swallowed = other is not None and _swallowed(own, other)
    if swallowed:
        yield Finding(
            "scale_swallows",
            f"{side.scheme} {_how_dead(own)}: {swallowed}",
            "with trained weights, measure accuracy; leave the output unquantized, or calibrate "
            "with inputs that reach its range",
        )
        return
    yield Finding(
        "computes_nothing",
        f"{side.scheme} {_how_dead(own)}: a network that computes nothing has no speed",
        _RUN_AGAIN,
        forbids=True,
    )


def _how_dead(outputs: Outputs) -> str:
    for each in _not_finite(outputs):
        return f"answers {each.seen - each.finite} of {each.seen} values that are not finite"
    if all(each.zeros == each.seen for each in outputs.summaries):
        return "answers nothing but zeros"
    return "answers one value everywhere"


def _swallowed(own: Outputs, other: Outputs) -> str:
    """Why constants are what the outputs' own steps make of the other side's answers; empty where
    they do not."""
    pairs = matched(own.summaries, other.summaries)
    if not pairs or len(pairs) < len(own.summaries):
        return ""
    for mine, reference in pairs:
        if mine.step is None or reference.low is None or reference.high is None:
            return ""
        if max(abs(reference.low), abs(reference.high)) >= mine.step:
            return ""
    mine, reference = pairs[0]
    return (
        f"its outputs have steps of {mine.step:.3g}, and all that the other side answers lies "
        f"between {reference.low:.3g} and {reference.high:.3g}"
    )


def _apart(baseline: Side, treatment: Side, base: Outputs, treated: Outputs) -> Iterator[Finding]:
    if max(base.input_error, treated.input_error) > INPUT_ERROR:
        return  # what was fed was not the same
    error = nearest(matched(base.summaries, treated.summaries))
    if error is None or error < DOUBTFUL:
        return
    said = (
        f"what {treatment.scheme} answers is {_decibels(error)} from what {baseline.scheme} does "
        f"(relative error {error:.2g})"
    )
    if error >= UNLIKE and not _is_random(treatment):
        yield Finding(
            "computes_otherwise",
            f"{said}: nothing of its answer is left",
            _RUN_AGAIN,
            forbids=True,
        )
        return
    untrained = " (its weights are random, which scatters more)" if _is_random(treatment) else ""
    yield Finding(
        "outputs_disagree",
        said + untrained,
        "measure its accuracy on data before the speed-up is used",
    )


def nearest(pairs: Sequence[tuple[OutputSummary, OutputSummary]]) -> float | None:
    """The least relative error among matched outputs, beyond what a coarse output explains; None
    where none can be told."""
    errors = []
    for reference, mine in pairs:
        error = error_between(reference, mine)
        if error is not None:
            errors.append(max(0.0, error - _of_steps(reference, mine)))
    return min(errors, default=None)


def _of_steps(reference: OutputSummary, mine: OutputSummary) -> float:
    """The relative error that rounding to the steps of a quantized output makes."""
    size = math.hypot(reference.mean or 0.0, reference.deviation or 0.0)
    return (mine.step or 0.0) / size if size else 0.0


def _elsewhere(run: RunRecord, side: Side, own: Outputs) -> Iterator[Finding]:
    """Say where the very file answers otherwise in this run: nobody knows which is right."""
    fed = {(r.artifact_sha256, r.trial.factors) for r in side.records if r.artifact_sha256}
    for sha256, factors in fed:
        places = run.outputs_of_file(sha256 or "", factors.batch, factors.input_size)
        for place, theirs in places:
            error = None if is_dead(theirs) else nearest(matched(own.summaries, theirs.summaries))
            if error is not None and error > ROUNDING:
                yield Finding(
                    "computes_otherwise",
                    f"the same file of {side.scheme} answers otherwise under {place} (relative "
                    f"error {error:.2g}), and one of the two is wrong",
                    "measure its accuracy under both, and leave out the one that is wrong",
                    forbids=True,
                )
                return


def _is_random(side: Side) -> bool:
    return side.artifact is not None and side.artifact.weights.startswith(RANDOM)


def _decibels(error: float) -> str:
    return f"{-20 * math.log10(error):.0f} dB"
