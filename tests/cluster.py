"""A real Dask cluster of worker processes on this machine, for the tests of `--engine dask`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any


class DaskCluster:
    """``sites``: one worker process each, and the site it says it is near (None: none)."""

    def __init__(self, sites: Sequence[str | None] = (None, None)) -> None:
        # imported here: it takes a second, and is an extra
        from distributed import Nanny, Scheduler, SpecCluster  # noqa: PLC0415

        workers = {
            number: {
                "cls": Nanny,
                "options": {
                    "nthreads": 1,
                    "host": "127.0.0.1",
                    "dashboard": False,
                    "resources": {} if site is None else {f"site:{site}": 1},
                },
            }
            for number, site in enumerate(sites)
        }
        scheduler = {
            "cls": Scheduler,
            "options": {"host": "127.0.0.1", "port": 0, "dashboard": False},
        }
        self._cluster = SpecCluster(workers=workers, scheduler=scheduler)

    @property
    def address(self) -> str:
        return str(self._cluster.scheduler_address)

    def workers(self) -> Mapping[str, Any]:
        """What the scheduler knows of each, by address."""
        told: Mapping[str, Any] = self._cluster.scheduler_info["workers"]
        return told

    def pids(self) -> list[int]:
        """The processes of the workers, which their nannies start again."""
        return list(self.workers_by_pid())

    def workers_by_pid(self) -> Mapping[int, str]:
        """The workers' addresses."""
        nannies = self._cluster.workers.values()
        return {nanny.pid: nanny.worker_address for nanny in nannies if nanny.pid}

    def __enter__(self) -> DaskCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cluster.close()
