"""Devices reached from the workers of a Dask cluster: `--engine dask`.

A worker holds the SSH connection (an actor, see ``far_end``) and a cache of blobs, which travel to
it once and from it to the devices near it. Everything that decides or writes stays at the
controller: link, schedule and journal speak through the worker as through a connection of our own.
So a worker that dies is a connection that broke, and the device is reached again from another one.
This package is the only place that imports dask.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from distributed import Client
from distributed.security import Security

from orchestrator import __version__
from orchestrator.artifacts.blob import Blob
from orchestrator.errors import DeviceError, TransientDeviceError, UsageError
from orchestrator.fleet.cluster.far_end import CHUNK_BYTES, FarEnd, worker_version
from orchestrator.fleet.provision import BlobStream
from orchestrator.fleet.ssh.route import SshEndpoint
from orchestrator.fleet.transport import ChannelTimeout, CommandEnd, Readable

#: How long a worker may take beyond what was asked of it before it counts as lost, in seconds.
ANSWER_S = 30.0
#: How long the scheduler, and a worker's first answer, may take, in seconds.
START_S = 30.0
#: How long a worker may take to log in, every hop of the way, in seconds; it has its own limits.
LOGIN_S = 300.0
#: One look at how far a push has come, in seconds.
GLANCE_S = 0.5
#: What a worker says it is near: ``dask worker --resources "site:uc=1"``.
SITE = "site:"


class Cluster:
    """A Dask cluster, and which of its workers reaches which device. Any thread may use it."""

    def __init__(self, address: str) -> None:
        """Connect to the scheduler; TLS is as Dask's own configuration says.

        Raises UsageError where it cannot be reached or has no worker that fits.
        """
        security = Security() if address.startswith("tls://") else None
        try:
            # the default one, because an actor looks for its client there
            self._client = Client(address, timeout=START_S, security=security)
        except (OSError, ValueError, TypeError) as exc:
            raise UsageError(
                f"no Dask scheduler answers at {address} ({exc}); start one with `dask scheduler` "
                f"and name its address with --scheduler"
            ) from exc
        self._guard = threading.Lock()
        self._sessions: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._uploads: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)
        try:
            self._check_versions()
        except BaseException:
            self.close()
            raise

    def transport(self, endpoint: SshEndpoint, site: str | None) -> ClusterTransport:
        """Make the way to a device from a worker at ``site``; nothing is connected yet."""
        return ClusterTransport(self, endpoint, site)

    def close(self) -> None:
        """Leave the cluster, which goes on."""
        self._client.close()

    def _check_versions(self) -> None:
        try:
            told: Mapping[str, str] = self._client.run(worker_version)
        except (ImportError, OSError) as exc:
            raise UsageError(
                f"the workers of the Dask cluster cannot run this ({exc}); install "
                f"orchestrate-quantized {__version__} there, and where the scheduler runs"
            ) from exc
        if not told:
            raise UsageError(
                "the Dask cluster has no worker; start some with `dask worker ADDRESS`"
            )
        for worker, other in told.items():
            if other != __version__:
                raise UsageError(
                    f"Dask worker {worker} has orchestrate {other}, this is {__version__}; "
                    f"install the same there"
                )

    def begin(self, endpoint: SshEndpoint, site: str | None) -> tuple[str, Any]:
        """Begin an actor at ``site``, on the worker that failed least and has fewest; return its
        address, too.

        Raises TransientDeviceError: workers come and go.
        """
        workers = self._at(site, endpoint.device)
        with self._guard:
            worker = min(
                workers, key=lambda each: (self._failures[each], self._sessions[each], each)
            )
            self._sessions[worker] += 1
        # never retried by the scheduler: who reaches a device again is decided here
        future = self._client.submit(
            FarEnd, endpoint, actor=True, workers=[worker], pure=False, retries=0
        )
        try:
            return worker, future.result(timeout=START_S)
        except Exception as exc:
            future.cancel()
            self.end(worker)
            self.distrust(worker)
            raise TransientDeviceError(
                f"Dask worker {worker} does not take the device ({exc!r})", device=endpoint.device
            ) from exc

    def end(self, worker: str) -> None:
        """Count one session less there."""
        with self._guard:
            self._sessions[worker] -= 1

    def distrust(self, worker: str) -> None:
        """Prefer others: a worker that hangs would else be the one with the fewest sessions."""
        with self._guard:
            self._failures[worker] += 1

    def upload_lock(self, worker: str, sha256: str) -> threading.Lock:
        """Return the lock held while a blob travels to a worker: the other devices there wait for
        that one."""
        with self._guard:
            return self._uploads[worker, sha256]

    def _at(self, site: str | None, device: str) -> list[str]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise TransientDeviceError("the Dask cluster has no worker left", device=device)
        sites = {
            address: {name for name in told.get("resources", {}) if name.startswith(SITE)}
            for address, told in workers.items()
        }
        if site is None or not any(sites.values()):
            return sorted(workers)
        near = sorted(address for address, names in sites.items() if f"{SITE}{site}" in names)
        if not near:
            raise TransientDeviceError(
                f"no Dask worker is at site {site}; start one there with `dask worker --resources "
                f'"{SITE}{site}=1"`, or take `site:` out of the inventory',
                device=device,
            )
        return near


class ClusterTransport:
    """A ``Transport`` whose other half runs on a worker."""

    def __init__(self, cluster: Cluster, endpoint: SshEndpoint, site: str | None) -> None:
        self.device = endpoint.device
        self._cluster = cluster
        self._endpoint = endpoint
        self._site = site
        self._worker = ""
        self._far: Any = None

    def connect(self) -> None:
        if self._far is not None:
            with contextlib.suppress(TransientDeviceError):
                self.call("connect", within_s=LOGIN_S)
                return
            self.close()
        self._worker, self._far = self._cluster.begin(self._endpoint, self._site)
        try:
            self.call("connect", within_s=LOGIN_S)
        except DeviceError:
            self.close()
            raise

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Readable | bytes | None = None,
        timeout_s: float,
        on_sent: Callable[[int], None] | None = None,
    ) -> CommandEnd:
        if isinstance(stdin, BlobStream):
            self._bring(stdin.blobs)
            names = [blob.sha256 for blob in stdin.blobs]
            return self._run_watched(argv, names, timeout_s, on_sent or (lambda sent: None))
        data = stdin if isinstance(stdin, bytes) or stdin is None else _all_of(stdin)
        done: CommandEnd = self.call("run", argv, data, timeout_s, within_s=timeout_s)
        return done

    def open(self, argv: Sequence[str]) -> ClusterChannel:
        number: int = self.call("open", argv, within_s=START_S)
        return ClusterChannel(self, number)

    def close(self) -> None:
        if self._far is None:
            return
        with contextlib.suppress(DeviceError):
            self.call("close", within_s=0.0)
        self._far = None
        self._cluster.end(self._worker)

    def describe(self) -> str:
        return f"ssh {self._endpoint.host} from Dask worker {self._worker or 'not chosen yet'}"

    def call(self, method: str, *arguments: Any, within_s: float | None) -> Any:
        """Return or raise what the far end's ``method`` does; ``within_s`` is what it may take
        there.

        Raises TransientDeviceError where the worker does not answer.
        """
        far = self._far
        if far is None:
            raise TransientDeviceError("not connected; connect first", device=self.device)
        limit_s = None if within_s is None else within_s + ANSWER_S
        try:
            return getattr(far, method)(*arguments).result(timeout=limit_s)
        except DeviceError:
            raise
        except (FutureTimeoutError, TimeoutError) as exc:
            raise self._lost("it does not answer") from exc
        except Exception as exc:
            # dask has no class of its own for an actor that went with its worker
            raise self._lost(repr(exc)) from exc

    def _lost(self, why: str) -> TransientDeviceError:
        self._cluster.distrust(self._worker)
        return TransientDeviceError(
            f"Dask worker {self._worker} is lost ({why[:300]})", device=self.device
        )

    def _run_watched(
        self,
        argv: Sequence[str],
        names: Sequence[str],
        timeout_s: float,
        on_sent: Callable[[int], None],
    ) -> CommandEnd:
        self.call("begin_push", argv, names, timeout_s, within_s=START_S)
        try:
            while True:
                sent, done = self.call("push_state", GLANCE_S, within_s=GLANCE_S)
                if done is not None:
                    completed: CommandEnd = done
                    return completed
                on_sent(sent)
        except DeviceError:
            raise
        except BaseException:
            self.close()  # the user stops: the transfer ends there too
            raise

    def _bring(self, blobs: Iterable[Blob]) -> None:
        """See that the worker has these blobs; each travels there once, whoever needs it."""
        for blob in blobs:
            with self._cluster.upload_lock(self._worker, blob.sha256):
                if not self.call("has", blob.sha256, within_s=START_S):
                    self._upload(blob)

    def _upload(self, blob: Blob) -> None:
        with blob.path.open("rb") as file:
            for number in itertools.count():
                data = file.read(CHUNK_BYTES)
                if not self.call("receive", blob.sha256, number, data, within_s=START_S):
                    return


class ClusterChannel:
    """A ``Channel`` whose other half is on a worker."""

    def __init__(self, transport: ClusterTransport, number: int) -> None:
        self._transport = transport
        self._number = number

    def send(self, data: bytes) -> None:
        self._transport.call("send", self._number, data, within_s=START_S)

    def readline(self, timeout_s: float | None) -> bytes:
        line: bytes | None = self._transport.call(
            "readline", self._number, timeout_s, within_s=timeout_s
        )
        if line is None:
            raise ChannelTimeout(
                f"nothing was said for {timeout_s:g} s", device=self._transport.device
            )
        return line

    def close(self) -> None:
        with contextlib.suppress(DeviceError):
            self._transport.call("close_channel", self._number, within_s=START_S)

    def exit_code(self) -> int | None:
        with contextlib.suppress(DeviceError):
            code: int | None = self._transport.call("exit_code", self._number, within_s=START_S)
            return code
        return None

    def stderr_tail(self) -> str:
        with contextlib.suppress(DeviceError):
            tail: str = self._transport.call("stderr_tail", self._number, within_s=START_S)
            return tail
        return ""


def _all_of(stdin: Readable) -> bytes:
    return b"".join(iter(lambda: stdin.read(CHUNK_BYTES), b""))
