"""The build child's own memory, as the manifest records it."""

from __future__ import annotations

import resource


def peak_mb() -> int:
    """This process's peak resident set until now, in MB: what ``peak_mb`` of the catalogues is
    taken from."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000
