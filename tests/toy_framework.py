"""A framework of a hundred lines: all that another one takes. It counts loops of a text file.

It is registered by one line: ``registry.FRAMEWORKS += (FRAMEWORK,)``.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.artifacts.store import ArtifactStore
from orchestrator.frameworks.about import Framework, RunnerAbout, SchemeAbout
from orchestrator.frameworks.building import BuildOptions, BuildRequest, BuildSite, recipe_key
from orchestrator.frameworks.parts import Parts
from orchestrator.frameworks.reading import judgement
from orchestrator.frameworks.runner import Command, Evidence, Files, Reading
from orchestrator.measurement import Invocations, Measurement, Outcome
from orchestrator.trial import RunSettings, Trial, TrialKind, Variant

ABACUS = RunnerAbout(
    "abacus",
    kinds=frozenset((TrialKind.TIMING,)),
    factors={"engine": ("default", "beads")},
    batches=False,
)
FRAMEWORK = Framework(
    name="toy",
    label="Toy",
    parts="tests.toy_framework",
    runners=(ABACUS,),
    schemes=(
        SchemeAbout("float32"),
        SchemeAbout("halved", phrase="halving the loops of {model} (halved)"),
    ),
    endings=(".toy",),
    builder="Python",
    packages=("json",),
    extra="toy",
    suite="toy",
)

#: Runs in the device's own Python: warm-up, steady phase, one line of JSON.
_CHILD = """
import json, sys, time
loops, warmup, steady = json.load(open(sys.argv[1]))["loops"], int(sys.argv[2]), int(sys.argv[3])
def infer():
    begin = time.perf_counter()
    for _ in range(loops): pass
    return 1e6 * (time.perf_counter() - begin)
print(json.dumps([[infer() for _ in range(n)] for n in (warmup, steady)]))
"""


@dataclass(frozen=True)
class Network:
    """``loops`` is all that there is to it."""

    loops: int
    peak_mb: int = 10
    preprocessing: None = None  # it takes no image
    top1: None = None


NETWORKS = {"counter": Network(40_000), "mobilenet_v1": Network(20_000)}


class AbacusRunner:
    """Runs the child and reads its line."""

    about = ABACUS
    name = about.name

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        judgement.refuse_unknown_factors(trial, self.about)
        runs = (str(settings.warmup.runs), str(settings.steady.runs))
        model = f"{{blob:{files.model_sha256}}}"
        return Command((files.python, "-c", _CHILD, model, *runs), blobs=(files.model_sha256,))

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        bad = judgement.bad_ending(evidence, settings)
        if bad is not None or evidence.exit_code != 0:
            return bad or judgement.failed(evidence.stderr[-300:] or "not a word")
        warmup, steady = map(_phase, json.loads(evidence.stdout))
        return Reading(Outcome.OK, Measurement(None, warmup.first_us, warmup, steady))


def _phase(us: list[float]) -> Invocations:
    return Invocations(
        len(us), us[0], min(us), max(us), statistics.mean(us), median_us=statistics.median(us)
    )


def recipe(variant: Variant, options: BuildOptions) -> dict[str, Any]:
    loops = NETWORKS[variant.model].loops // (2 if variant.scheme == "halved" else 1)
    return {"framework": "toy", "loops": loops, "seed": options.seed}


def build(request: BuildRequest, site: BuildSite) -> None:
    store = ArtifactStore(Path(request.models_dir))
    for scheme in request.schemes:
        made = recipe(Variant(request.model, scheme), request.options)
        details = {"framework": "toy", "weights": "none", "weights_sha256": "0", "recipe": made}
        store.add(
            json.dumps(made).encode(), model=request.model, scheme=scheme,
            recipe_key=recipe_key(made), details=details, suffix=".toy",
        )  # fmt: skip
        site.stored(scheme)


PARTS = Parts(FRAMEWORK, {ABACUS.name: AbacusRunner()}, NETWORKS, recipe, build)
