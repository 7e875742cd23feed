"""What every measuring child has in common: its wire, its phases, its memory.

A child measures one model file in the device's own Python, by the definitions of
``benchmark_model``:

* warm-up, then steady phase: at least so many inferences *and* at least so many seconds, but no
  new inference once the phase has lasted the maximum;
* the first inference is the first of the warm-up;
* the inputs are copied in before each inference, outside the time.

On stdout: ``@orchestrate-stage NAME`` when a stage begins, and at the end one line
``@orchestrate-result {json}``, or ``@orchestrate-error {json}`` with exit code 3. Whatever the
libraries print goes to stderr. Standard library only.

No faulthandler in a child: a handler for SIGSEGV that is installed later would replace one that a
preloaded library needs for itself.
"""

from __future__ import annotations

import argparse
import array
import gc
import json
import os
import platform
import resource
import sys
import time
from typing import Any, Callable, Dict, List, Optional, TextIO, Tuple

RESULT_SCHEMA = 1
EXIT_ERROR = 3

#: A phase ends here whatever was asked: every time is reported, in a line of bounded length.
MAX_INVOCATIONS = 40_000

#: Seed of the random inputs, which are the same in every process.
INPUT_SEED = 20180

#: Range of the real values that are fed, once the times are taken, to see what is computed.
CHECK_RANGE = (-1.0, 1.0)

#: Smallest and largest value of a whole number that is fed, where no range is given: those that
#: ``benchmark_model`` draws from. It draws nothing for int16: zeros.
INTEGER_BOUNDS = {
    "uint8": (0, 254),
    "int8": (-127, 127),
    "int16": (0, 0),
    "int32": (0, 99),
    "uint32": (0, 99),
    "int64": (0, 99),
    "uint64": (0, 99),
    "bool": (0, 1),
}

#: Says that a stage begins.
Begin = Callable[[str], None]
#: Says what was answered to one sample.
SaySample = Callable[[Dict[str, Any]], None]


class ChildError(Exception):
    """Why there is no measurement; ``kind`` is a word of the error line."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def run_child(measure: Callable[[Begin, SaySample], Dict[str, Any]]) -> int:
    """Measure, print the result line or the error line, return the exit code."""
    wire = _take_stdout()
    try:
        result = measure(
            lambda stage: _say(wire, "stage " + stage),
            # nobody waits for one of them, so that they leave a buffer at a time
            lambda answer: _write(wire, "sample " + _json(answer)),
        )
    except ChildError as error:
        _say(wire, "error " + json.dumps({"kind": error.kind, "message": str(error)}))
        return EXIT_ERROR
    except MemoryError as error:
        message = "the runtime could not allocate memory: %s" % error
        _say(wire, "error " + json.dumps({"kind": "out_of_memory", "message": message}))
        return EXIT_ERROR
    _say(wire, "result " + _json(result))
    return 0


def _json(value: Dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def base_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return the options that every child has."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--model", required=True, metavar="PATH")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--warmup-runs", type=int, required=True)
    parser.add_argument("--warmup-seconds", type=float, required=True)
    parser.add_argument("--steady-runs", type=int, required=True)
    parser.add_argument("--steady-seconds", type=float, required=True)
    parser.add_argument("--max-seconds", type=float, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--site", metavar="DIR", help="where the runtime is, and nothing else")
    parser.add_argument("--memory", action="store_true", help="measure memory from a reset peak")
    parser.add_argument(
        "--check-range",
        type=numbers,
        default=CHECK_RANGE,
        metavar="LOW,HIGH",
        help="real values fed to the inference whose outputs are reported",
    )
    return parser


def numbers(text: str) -> List[float]:
    """Numbers with commas between them, as the value of one option: behind ``--option=``, since
    ``argparse`` takes some negative numbers for options."""
    return [float(word) for word in text.split(",") if word]


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the option that says what is fed."""
    parser.add_argument(
        "--inputs",
        type=_inputs,
        default=[],
        metavar="JSON",
        help='what is fed: [{"name": "x", "shape": [1, 3], "dtype": "int64", "low": 0, "high": 9}]',
    )


def _inputs(text: str) -> List[Dict[str, Any]]:
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise argparse.ArgumentTypeError("must be a list of objects")
    return found


def enter_site(site: Optional[str]) -> None:
    """Import from this folder before anything that is installed; None leaves things as they are."""
    if site is not None:
        sys.path.insert(1, site)  # 0 is the agent's own archive


def check_origin(site: Optional[str], *modules: Any) -> None:
    """Raise ChildError where a module was not taken from ``site``, if there is one."""
    if site is None:
        return
    for module in modules:
        if not os.path.abspath(module.__file__).startswith(os.path.join(os.path.abspath(site), "")):
            raise ChildError(
                "failed",
                "%s was loaded from %s, not from the site bundle %s"
                % (module.__name__, module.__file__, site),
            )


def _take_stdout() -> TextIO:
    """Keep stdout for the wire; from here on file descriptor 1 is stderr, for C code as well."""
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return wire


def _say(wire: TextIO, line: str) -> None:
    _write(wire, line)
    wire.flush()


def _write(wire: TextIO, line: str) -> None:
    wire.write("@orchestrate-" + line + "\n")


def head_and_size(path: str, count: int) -> Tuple[bytes, int]:
    """Return the file's first bytes and its size in bytes. Raises ChildError."""
    try:
        with open(path, "rb") as file:
            return file.read(count), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ChildError("invalid_model", "cannot read the model: %s" % error) from error


# --- the phases --------------------------------------------------------------------------------


class Phase:
    """A phase has at least ``runs`` inferences and ``seconds``; none begins after
    ``max_seconds``."""

    def __init__(self, runs: int, seconds: float, max_seconds: float) -> None:
        self.runs = min(runs, MAX_INVOCATIONS)
        self.seconds = seconds
        self.max_seconds = max_seconds
        self.count = 0
        self._window_ns = (0, 0)
        self._times_ns = array.array("q", bytes(8 * MAX_INVOCATIONS))

    def run(self, invoke: Callable[[], object], fill: Callable[[], None]) -> None:
        """Time each inference. Nothing is printed or allocated until the phase is over."""
        clock = time.perf_counter_ns
        times, runs, count = self._times_ns, self.runs, 0
        now = begun = clock()
        enough = now + int(self.seconds * 1e9)
        too_long = now + int(self.max_seconds * 1e9)
        while (count < runs or now < enough) and now <= too_long and count < MAX_INVOCATIONS:
            fill()
            start = clock()
            invoke()
            now = clock()
            times[count] = now - start
            count += 1
        self.count = count
        self._window_ns = (begun, now)

    def window_s(self) -> Tuple[float, float]:
        """When the phase began and ended, by the machine's monotonic clock."""
        begun, ended = self._window_ns
        return begun / 1e9, ended / 1e9

    def times_us(self) -> list[float]:
        return [microseconds(time_ns) for time_ns in self._times_ns[: self.count]]


def phases_of(args: argparse.Namespace) -> Tuple[Phase, Phase]:
    """Return the warm-up and the steady phase that the options ask for.

    To be made before memory is looked at for the first time: they must not be taken for the
    model's.
    """
    return (
        Phase(args.warmup_runs, args.warmup_seconds, args.max_seconds),
        Phase(args.steady_runs, args.steady_seconds, args.max_seconds),
    )


def run_phases(
    invoke: Callable[[], object],
    fill: Callable[[], None],
    phases: Tuple[Phase, Phase],
    begin: Begin,
    failure: Callable[[Exception], Exception],
) -> None:
    """Run both phases, with the garbage collector out of the way.

    ``failure`` makes the ChildError that a runtime's own error stands for.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for name, phase in (("warmup", phases[0]), ("steady", phases[1])):
            begin(name)
            phase.run(invoke, fill)
    except (ChildError, MemoryError):
        raise
    # of whatever class: what a script of torch's raises is not a RuntimeError
    except Exception as error:
        raise failure(error) from error
    finally:
        gc.enable()


def result_of(args: argparse.Namespace, phases: Tuple[Phase, Phase], **own: Any) -> Dict[str, Any]:
    """Return the result line's object: what every child says alike, and the child's own fields."""
    warmup, steady = phases
    return {
        "schema": RESULT_SCHEMA,
        "bundled": args.site is not None,
        "python": platform.python_version(),
        "batch": args.batch,
        "warmup_us": warmup.times_us(),
        "steady_us": steady.times_us(),
        "steady_window_s": steady.window_s(),
        **own,
    }


def microseconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1000, 3)


# --- memory ------------------------------------------------------------------------------------


def memory_before(args: argparse.Namespace) -> Dict[str, Any]:
    """Return what memory is at the ``start``; a trial of memory first forgets the peak that
    importing the runtime left behind, where the kernel can (Linux)."""
    if args.memory:
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError as error:
            print("the peak could not be reset: %s" % error, file=sys.stderr)
    return {"start": memory_now()}


def memory_now(earlier: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """Return the resident set and its peak, in bytes, and where the peak is from.

    ``VmHWM`` belongs to this program alone. ``ru_maxrss`` is inherited across exec from whoever
    started it, and serves only where the kernel has no ``VmHWM``. The kernel keeps ``VmHWM`` by
    counters that lag (proc_pid_status(5)) and may tell less than before: never less than
    ``earlier`` here.
    """
    status = _status()
    rss, peak = status.get("VmRSS"), status.get("VmHWM")
    if peak is not None:
        peak = max(peak, earlier["peak_bytes"]) if earlier else peak
        return {"rss_bytes": rss, "peak_bytes": peak, "source": "VmHWM"}
    maxrss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rss_bytes": rss, "peak_bytes": maxrss, "source": "ru_maxrss"}


def memory_kinds() -> Dict[str, Optional[int]]:
    """Return what of the resident set is the process's own, and what is mapped from files, in
    bytes; None where the kernel does not tell."""
    status = _status()
    return {"own_bytes": status.get("RssAnon"), "mapped_bytes": status.get("RssFile")}


def _status() -> Dict[str, int]:
    """The kB lines of /proc/self/status, in bytes; empty where there is none."""
    try:
        with open("/proc/self/status") as file:
            lines = [line.split() for line in file]
    except OSError:
        return {}
    return {
        words[0].rstrip(":"): int(words[1]) * 1024
        for words in lines
        if len(words) == 3 and words[2] == "kB"
    }
