"""Prints a recorded log and exits as the tool did: a stand-in for the official binary.

Usage: ``replay.py CASE [flags …]``. The binary itself cannot be had on a development machine, so
process-level tests replay what it said once. The flags are checked the way the tool checks them:
an unknown one is a warning on stdout and nothing else. An exit status above 128 was a signal, and
is one again.
"""

import os
import sys
from pathlib import Path

KNOWN = (
    "graph",
    "num_threads",
    "warmup_runs",
    "warmup_min_secs",
    "num_runs",
    "min_secs",
    "max_secs",
    "use_xnnpack",
    "report_peak_memory_footprint",
    "enable_op_profiling",
)


def main() -> int:
    case = Path(__file__).parent / sys.argv[1]
    unknown = [flag for flag in sys.argv[2:] if flag[2:].partition("=")[0] not in KNOWN]
    if unknown:
        print("WARN: Unconsumed cmdline flags:", *unknown)
    sys.stdout.write(case.with_suffix(".out").read_text())
    sys.stderr.write(case.with_suffix(".err").read_text())
    sys.stdout.flush()
    sys.stderr.flush()
    status = int(case.with_suffix(".rc").read_text())
    if status > 128:
        os.kill(os.getpid(), status - 128)
    return status


if __name__ == "__main__":
    sys.exit(main())
