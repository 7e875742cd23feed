"""Nothing is lost: the real command on real servers while everything around it breaks.

``python -m benchmarks.chaos [--seed N] [--faults 200] [--models models] [--keep DIR]`` prints the
faults injected by kind, the trials planned and finished, and how many were lost or duplicated,
which are to be 0; exit code 1 where they are not. ``--kills 100`` kills the controller so often in
one run of two devices. See ``tests/chaos.py`` for what breaks, and
``tests/integration/test_chaos.py`` for the short form. Needs root: the servers are in network
namespaces, two disks are small tmpfs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.trial import Variant
from orchestrator.zoo import ensure_artifacts
from tests import chaos

BLOCKS_A_KILL = 3


def main() -> int:
    """Break things and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--faults", type=int, default=200, metavar="N")
    parser.add_argument(
        "--kills",
        type=int,
        metavar="N",
        help="instead: one run on two devices, whose controller is killed so often",
    )
    parser.add_argument("--models", type=Path, default=Path("models"), metavar="DIR")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there, and leave it there")
    options = parser.parse_args()
    reason = chaos.why_not()
    if reason is not None:
        sys.exit(reason)
    ensure_artifacts([Variant("mobilenet_v1", s) for s in chaos.SCHEMES], options.models)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        models, seed = options.models.resolve(), options.seed
        if options.kills is None:
            with chaos.Chaos(folder, models, seed) as fleet:
                tally = fleet.run(chaos.faults_of(seed, options.faults))
        else:
            # enough blocks that the run outlives the kills
            blocks = max(chaos.BLOCKS, BLOCKS_A_KILL * options.kills)
            with chaos.Chaos(folder, models, seed, hosts=2, blocks=blocks) as fleet:
                tally = fleet.run(chaos.kills_of(seed, options.kills))
            if tally.runs != 1:
                tally.wrong.append(f"these are {tally.runs} runs, and one was wanted")
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s\n{tally}")
    return 1 if tally.lost or tally.duplicated or tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
