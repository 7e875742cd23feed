"""Nothing is lost: the real command on real servers while everything around it breaks.

``python -m benchmarks.chaos [--seed N] [--faults 200] [--models models] [--keep DIR]`` prints the
faults injected by kind, the trials planned and finished, and how many were lost or duplicated,
which are to be 0; exit code 1 where they are not. See ``tests/chaos.py`` for what breaks, and
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


def main() -> int:
    """Break things and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--faults", type=int, default=200, metavar="N")
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
        with chaos.Chaos(folder, options.models.resolve(), options.seed) as fleet:
            tally = fleet.run(chaos.faults_of(options.seed, options.faults))
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s\n{tally}")
    return 1 if tally.lost or tally.duplicated or tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
