"""Runs a bundle: one device's plan, by hand, where nothing reaches the device.

The queue, spool and worker are the daemon's; in the place of a controller stands ``course``. It
knows no precision, since what a trial's output means is the controller's to say: blocks run in the
plan's order up to the budget, else up to the maximum. Trials are handed to the queue one (or one
duet) at a time, so that an interrupted bundle has nothing to take back.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections import Counter
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from orchestrate_agent import home, protocol
from orchestrate_agent.carried import bundle, results
from orchestrate_agent.carried.bundle import Document
from orchestrate_agent.carried.progress import Progress
from orchestrate_agent.children.probe import lack, probe
from orchestrate_agent.course import Course, TrialEnd
from orchestrate_agent.daemon import spool
from orchestrate_agent.daemon.daemon import STOP_S, take_lock
from orchestrate_agent.daemon.spool import SpoolError
from orchestrate_agent.daemon.trial_queue import TrialQueue
from orchestrate_agent.daemon.worker import Worker
from orchestrate_agent.errors import AgentError
from orchestrate_agent.expectations import compare
from orchestrate_agent.files import sites
from orchestrate_agent.files.blobs import DamagedBlobError
from orchestrate_agent.files.sites import SiteStore
from orchestrate_agent.identity import differences, identity
from orchestrate_agent.machine import facts
from orchestrate_agent.machine.tuning import Tuner
from orchestrate_agent.node import ThisNode
from orchestrate_agent.process import procs
from orchestrate_agent.protocol import Event, ProtocolError
from orchestrate_agent.sysfs import Tree

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130
#: How old the results beside the bundle may be while trials run: what a machine that vanishes
#: leaves to somebody who kept them elsewhere. Written between two trials only.
RESULTS_AGE_S = 60.0
_FINISH_TRIAL, _NOW = 1, 2
#: How often what this machine lost is put back for one trial.
MOST_PUT_BACKS = 3
#: So many trials in a row that could not be started are the machine's trouble, not a scheme's.
MOST_NOT_STARTED = 3
#: What must be known of a machine where a site bundle is to be used.
_OF_WHEELS = ("architecture", "python", "libc", "bits", "implementation", "free_threaded")


def main(arguments: Sequence[str], document: Document) -> int:
    """Run the bundle; returns the exit code. Raises AgentError."""
    options = _options(arguments, document)
    if sys.platform != "linux":
        raise AgentError(f"this is {sys.platform}; a bundle measures on Linux")
    output = os.path.abspath(options.output)
    models = options.models
    if models is not None and "://" not in models:
        models = os.path.abspath(os.path.expanduser(models))
    agent_hash, archive = home.identity()
    home.enter(options.home)
    procs.require_own_proc()
    lock = take_lock(agent_hash)
    show = Progress()
    try:
        found = _found_here(document)
        _check_executable(document)
        if not results.is_begun(document.run_id, document.device) and os.path.exists(output):
            results.restore(output, document.run_id, document.device, document.requests)
            show.say(f"going on from {output}")
        site_store = SiteStore(os.getcwd())

        def provide() -> str:
            bundle.provide(document.files, archive, models, show.say)
            _unpack_sites(document, site_store, found["facts"], show)
            return bundle.unpack_agent(archive, agent_hash)

        start = {**found, "agent_hash": agent_hash}
        return Bundle(document, provide, start, output, show, site_store=site_store).run()
    except KeyboardInterrupt:
        show.say("interrupted before a trial began; run the same command to go on")
        return EXIT_INTERRUPTED
    except (SpoolError, ProtocolError) as exc:
        raise AgentError(str(exc)) from exc
    finally:
        show.close()
        os.close(lock)


def _options(arguments: Sequence[str], document: Document) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 BUNDLE",
        description=f"Measures {document.device}'s part of run {document.run_id} on this machine. "
        f"Ctrl-C stops it after the trial in hand, twice at once; run again, it goes on.",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        default=f"results-{document.device}.zip",
        help="where the results go, for `orchestrate import` (default: %(default)s)",
    )
    parser.add_argument(
        "--models",
        metavar="FOLDER_OR_URL",
        help="what has the model files, where the bundle was made without them",
    )
    parser.add_argument(
        "--home",
        metavar="DIR",
        default=f"bundle-{document.run_id}-{document.device}",
        help="what it needs to go on is kept there (default: %(default)s)",
    )
    return parser.parse_args(arguments)


class Bundle:
    """One start of a bundle in its home, which is the working directory."""

    def __init__(
        self,
        document: Document,
        provide: Callable[[], str],
        start: Mapping[str, Any],
        output: str,
        show: Progress,
        *,
        site_store: SiteStore,
    ) -> None:
        """``provide`` has all here that trials need, and returns the path of the agent that they
        call; ``start`` is what is told of this one; ``site_store`` has the site bundles that
        trials import from.

        Raises AgentError where it began on another machine, SpoolError.
        """
        self._document = document
        self._provide = provide
        agent = provide()
        self._output = output
        self._show = show
        self._course = Course(document.outline)
        #: What is left of the block that was begun.
        self._in_hand: List[str] = []
        #: Trials that lack a file which this machine lost, and what.
        self._lacking: Dict[str, str] = {}
        #: How often the files of a trial were put back since one finished.
        self._put_backs: Counter[str] = Counter()
        #: How many trials in a row could not be started.
        self._not_started = 0
        self._failed = 0
        self._level = 0
        self._fatal = ""
        self._written_at = 0.0
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self._queue = TrialQueue(on_idle=self._wake)
        self._queue.load()
        # after the trial of a start that was killed is dead, before another begins
        Tuner(Tree("/")).restore()
        session = self._queue.session(document.run_id, document.device)
        self._spool = session.spool
        self._starts = _note_start(self._spool.folder, start)
        self._events = self._spool.open_events()
        worker = Worker(self._queue, site_store, agent, self._on_fatal, ThisNode(site_store.blobs))
        self._worker = threading.Thread(target=worker.run, daemon=True)

    def run(self) -> int:
        """Run trials until the plan is done or somebody stops it; the results are written either
        way."""
        self._take_up(quietly=True)
        self._not_started = 0  # in this start
        trouble: Optional[AgentError] = None
        self._write_results()
        done = self._course.finished
        self._show.say(
            f"{self._document.device}, run {self._document.run_id}: {done} of about "
            f"{done + self._remaining()} trials are done"
        )
        with self._signals():
            self._worker.start()
            try:
                self._conduct()
            except AgentError as exc:
                trouble = exc
            finally:
                self._queue.stop()
                self._worker.join(STOP_S)
            self._take_up()
            self._write_results()
        if trouble is not None:
            raise trouble
        if self._fatal:
            raise AgentError(f"{self._fatal}; make room and run this again, it goes on")
        return self._conclude()

    def _conduct(self) -> None:
        warned = False
        while not self._fatal and self._level < _NOW:
            self._take_up()
            if self._lacking and self._level < _FINISH_TRIAL:
                self._put_back()
            if self._not_started >= MOST_NOT_STARTED:
                raise AgentError(
                    f"{self._not_started} trials in a row could not be started, for the reason "
                    f"above; see to that and run this again, it goes on"
                )
            ready = self._course.unfinished == len(self._lacking)
            if ready and (self._level == _FINISH_TRIAL or not self._submit_next()):
                return
            self._sleep()
            if self._level == _FINISH_TRIAL and not warned:
                warned = True
                self._show.say("stopping after the trial in hand; Ctrl-C once more stops it now")

    def _submit_next(self) -> bool:
        """Submit what the course says is next; False where the plan is done."""
        if time.monotonic() - self._written_at > RESULTS_AGE_S:
            try:
                self._write_results()
            except AgentError as exc:  # the spool has everything, and the end tries again
                self._written_at = time.monotonic()
                self._show.say(str(exc))
        self._in_hand = self._in_hand or list(self._course.next_trials())
        if not self._in_hand:
            return False
        first = self._document.requests[self._in_hand.pop(0)]
        duet = first.conditions.duet
        at_once = [first]
        if duet is not None and duet.partner in self._in_hand:
            self._in_hand.remove(duet.partner)
            at_once.append(self._document.requests[duet.partner])
        self._show.running(_name(first.trial_id), *self._counts())
        self._queue.submit(self._document.run_id, self._document.device, at_once)
        return True

    def _put_back(self) -> None:
        """Provide again what this machine lost, and run the trials that came to nothing for it.

        Raises AgentError where it is lost again and again.
        """
        lacking, self._lacking = self._lacking, {}
        what = next(iter(lacking.values()))
        self._put_backs.update(lacking.keys())
        if any(count > MOST_PUT_BACKS for count in self._put_backs.values()):
            raise AgentError(
                f"what the trials need vanishes again and again ({what}); see what removes files "
                f"from {os.getcwd()}, or name another --home"
            )
        self._show.say(f"putting back what got lost: {what}")
        self._provide()
        requests = [self._document.requests[trial_id] for trial_id in lacking]
        self._queue.submit(self._document.run_id, self._document.device, requests)

    # --- events -----------------------------------------------------------------------------

    def _take_up(self, *, quietly: bool = False) -> None:
        """Note what the spool says since the last time."""
        for line in self._events.lines(self._spool.events_size):
            event = protocol.parse_event(protocol.decode(line))
            if event.event == "queued":
                self._course.release(event.trial_id)
                self._lacking.pop(event.trial_id, None)
            elif event.event == "cancelled":
                self._lacking[event.trial_id] = str(event.fields.get("lacking"))
            elif event.event == "finished":
                ended = _ended(event)
                self._put_backs.clear()
                self._not_started = self._not_started + 1 if ended.blameless else 0
                self._failed += not ended.ok and not self._course.is_extra(event.trial_id)
                self._course.end(event.trial_id, ended)
                if not quietly:
                    self._show.ended(_name(event.trial_id), _trouble(event), *self._counts())

    def _counts(self) -> Tuple[int, int, Optional[float]]:
        done, left = self._course.finished, self._remaining()
        mean_s = self._course.mean_wall_s()
        return done, done + left, None if mean_s is None else mean_s * left

    def _remaining(self) -> int:
        outline = self._document.outline
        # with a budget nobody knows how far beyond the minimum it reaches
        blocks = outline.max_blocks if outline.budget_s is None else outline.min_blocks
        return self._course.remaining(blocks)

    # --- results ----------------------------------------------------------------------------

    def _write_results(self) -> None:
        whose = results.Session(self._document.run_id, self._document.device, self._starts)
        results.write(self._output, whose, self._lines)
        self._written_at = time.monotonic()

    def _lines(self) -> Iterator[bytes]:
        reader = self._spool.open_events()
        try:
            yield from reader.lines(self._spool.events_size)
        finally:
            reader.close()

    def _conclude(self) -> int:
        bring = f"bring {self._output} back and `orchestrate import` it"
        failed = f", {self._failed} of them failed" if self._failed else ""
        if self._course.complete:
            for reason, count in Counter(self._course.stopped.values()).items():
                where = f" in {count} comparisons" if count > 1 else ""
                self._show.say(f"stopped{where}: {reason} (a bundle does not stop at a precision)")
            self._show.say(f"done: {self._course.finished} trials{failed}; {bring}")
            return EXIT_SOME_FAILED if self._failed else 0
        self._show.say(
            f"stopped: {self._course.finished} trials so far{failed}; run the same command to go "
            f"on, or {bring} as it is"
        )
        return EXIT_INTERRUPTED

    # --- waiting ----------------------------------------------------------------------------

    def _sleep(self) -> None:
        """Wait until a trial ends or a signal comes; nothing here wakes up meanwhile."""
        poller = select.poll()
        poller.register(self._wake_r, select.POLLIN)
        poller.poll()
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_r, 4096):
                pass

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it wakes up anyway
            os.write(self._wake_w, b"\0")

    def _on_fatal(self, message: str) -> None:
        self._fatal = message
        self._wake()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C ends it after the trial in hand, a second one and every other signal now."""

        def on_signal(number: int, _: object) -> None:
            self._level = min(_NOW, self._level + 1) if number == signal.SIGINT else _NOW

        before = {
            number: signal.signal(number, on_signal)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            # what is ignored already (by nohup, by a shell's `&`) is meant to stay so
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        wakeup = signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)


def _found_here(document: Document) -> Dict[str, Any]:
    """What this machine is, and the Python that measures. Raises AgentError where it is another
    than is meant, or lacks the runtime that the trials need."""
    told, found = facts.collect(), {}
    if document.runtimes or document.sites:
        python = sys.executable if document.python == protocol.PYTHON else document.python
        probed = probe(python, [name for names in document.runtimes for name in names])
        told["python"] = {name: probed[name] for name in told["python"]}
        found = probed["runtimes"]
    _check_expected(told, document.expect, for_sites=bool(document.sites))
    for wanted in document.runtimes:
        why = lack(found, wanted, python)
        if why is not None:
            raise AgentError(f"{why}, then run this again")
    own = {name: version for name, version in found.items() if document.runtimes}
    return {"time": home.now(), "facts": told, "runtimes": own}


def _check_expected(
    told: Mapping[str, Any], expect: Mapping[str, object], *, for_sites: bool
) -> None:
    """Raise AgentError where this is another machine, or site bundles may not fit it."""
    unverified, problem = compare(told, expect)
    untold = [name for name in unverified if name in _OF_WHEELS and for_sites]
    if problem is None and untold:
        name = untold[0]
        problem = f"the inventory expects {name} {expect[name]}, the device does not tell it"
    if problem is None:
        return
    remedy = "is this the machine for this bundle?"
    if for_sites:
        remedy += (
            " Nothing was run: the runtimes in it are for what the inventory expects. Correct its "
            "`expect:` and make the bundle anew; or take `python` out of it, have the suite name "
            "runtimes without versions, and install them here"
        )
    raise AgentError(f"{problem}; {remedy}")


def _check_executable(document: Document) -> None:
    """Raise AgentError where this disk forbids to run what the bundle would put on it."""
    requests = document.requests.values()
    programs = any("{exe:" in word for request in requests for word in request.argv)
    capped = any("{blob:" in value for request in requests for value in request.env.values())
    things = [
        name
        for name, needed in (
            ("the program that measures", programs),
            ("the runtime that it carries", bool(document.sites)),
            ("what caps the instruction set", capped),
        )
        if needed
    ]
    if things and not home.may_execute():
        raise AgentError(
            f"no program may be run from {os.getcwd()} (is its disk mounted noexec?), and "
            f"{things[0]} would be put there; name a folder on another disk: --home DIR"
        )


def _unpack_sites(
    document: Document, store: SiteStore, told: Mapping[str, Any], show: Progress
) -> None:
    """Have the site bundles that trials import from in ``store``. Raises AgentError."""
    for number, sha256 in enumerate(document.sites, 1):
        try:
            store.path(sha256)
        except DamagedBlobError:  # and removed; or not there yet
            show.say(f"runtime {number}/{len(document.sites)}: unpacking")
            sites.unpack(store.home, sha256, told["python"]["executable"])


def _note_start(folder: str, start: Mapping[str, Any]) -> List[Mapping[str, Any]]:
    """All starts so far, this one included. Raises AgentError on another machine than the first's,
    SpoolError."""
    path = os.path.join(folder, results.STARTS)
    file = spool.LineFile(path)
    with open(path, "ab"):
        pass  # it is there now
    try:
        earlier: List[Mapping[str, Any]] = list(file.load())
    except OSError as exc:
        raise SpoolError(f"{path}: {exc.strerror}") from exc
    if earlier:
        unlike = differences(identity(earlier[0]["facts"]), identity(start["facts"]))
        if unlike:
            raise AgentError(
                f"these trials began on another machine ({'; '.join(unlike)}), and times of two "
                f"are not one device's. Go on there, or make a bundle for a device of another "
                f"name here"
            )
    file.append([protocol.encode(start)])
    return [*earlier, start]


def _ended(event: Event) -> TrialEnd:
    fields = event.fields
    ok = fields.get("exit_code") == 0 and not fields.get("timed_out")
    return TrialEnd(
        ok=ok,
        hopeless=False,
        wall_s=float(fields.get("wall_s") or 0.0),
        blameless=fields.get("cause") == protocol.ENVIRONMENT,
    )


def _trouble(event: Event) -> str:
    """What is to be said of a trial that did not go well; empty where it did."""
    fields = event.fields
    if _ended(event).ok:
        return ""
    if fields.get("reason"):
        return f"failed: {fields['reason']}"
    if fields.get("timed_out"):
        return "took too long"
    how = f"exit code {fields.get('exit_code')}"
    if fields.get("signal") is not None:
        how = f"killed by signal {fields['signal']}"
    last = str(fields.get("stderr") or "").strip().splitlines()[-1:]
    return f"failed ({how}): {''.join(last)[:300]}"


def _name(trial_id: str) -> str:
    return trial_id.rpartition(".")[0] or trial_id
