"""Any program that prints figures, in plain values."""

from __future__ import annotations

from orchestrator.frameworks.about import Framework, RunnerAbout, SchemeAbout
from orchestrator.trial import TrialKind

COMMAND = RunnerAbout(
    name="command",
    kinds=frozenset((TrialKind.TIMING,)),
    lacks={
        TrialKind.MEMORY: "what a program's memory is spent on nobody knows but the program",
        TrialKind.PROFILE: "nobody knows its operators but the program",
        TrialKind.ACCURACY: "a program feeds itself, and shows figures, not outputs",
    },
    program=True,
)

FRAMEWORK = Framework(
    name="command",
    label="a program of your own",
    parts="orchestrator.frameworks.command.parts",
    runners=(COMMAND,),
    # what its variants are called, the suite says; this one is as it was trained
    schemes=(SchemeAbout("float32", built=False),),
    endings=(),
    builder="nothing",
    packages=(),
    extra="",
    suite="",
)
