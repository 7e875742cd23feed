"""Files from strangers, thousands of them: none may surprise a command, nor write or say more than
it should.

``python -m benchmarks.fuzz [--minutes 10] [--seed 1]`` changes a run's journal, manifest and logs,
a bundle's results, logs of benchmark_model, model files, inventories and suites, puts links, pipes
and sparse files among them, and has the real commands read them. Each case has to end in an answer
or in a refusal of ours, soon, without a terminal escape in what is said, without another program
started, and without a change outside of the folder that the files came in. Prints what did not, and
the command that repeats the case; exit code 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrate_agent.carried import results as bundle_results
from orchestrator import cli
from orchestrator.bundles.making import plan_of
from orchestrator.config import load_inventory, load_suite
from orchestrator.plan import make_plan
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import Journal
from orchestrator.runs.manifest import Manifest, write_manifest
from orchestrator.runs.records import ArtifactRecord

ROOT = Path(__file__).resolve().parents[1]
#: A case that takes more of a CPU than this, in seconds, has exhausted its reader; one that takes
#: longer by the clock, whoever else uses the machine, waits for something that never comes.
MOST_CPU_SECONDS, MOST_SECONDS = 20, 180
RUN = "20261121T000000Z-abcdef"
FACTS = {"system": {"architecture": "x86_64"}, "cpu": {"model_name": "A", "logical_cpus": 2}}

NASTY: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**30, 1e308, -1e308, 5e-324, 0.0, -0.0, 0.5,
    "", " ", "a", "x" * 5000, "\x1b]0;owned\x07", "\x1b[2J", "\x9b31m", "\x1b]8;;http://x\x1b\\y",
    "\x1b]unterminated", "a\nb", "a\r\nb", "\0", "\u202e\u200b", "\ud800", "<script>alert(1)",
    "'\"><img src=x>", "$(touch owned)", "../../owned", "/etc/passwd", "~root", "-x", "--help",
    "=1+1", "%s", "{0}", "{blob:x}", "1e999", "NaN", "0x10", "6:6", "9:1", "1:" + "9" * 40, "5m",
    [], {}, [[]], {"a": 1}, [None], ["a"], {"": ""}, [1] * 1000, {"name": "x"},
)  # fmt: skip
TOKENS = (
    b"\x1b[31m", b"\x1b]0;owned\x07", b"\0", b"\xff\xfe", b"\r", b"\n", b"{", b"[", b'"', b"&a ",
    b"*a", b"<<: ", b"!!python/name:os.system ", b"- ", b": ", b"#", b"'", b"1e999", b"-1", b"nan",
    b"99999999999999999999", b"../", b"\xe2\x80\xae", b"\xed\xa0\x80",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Files of one kind, changed, and the command lines that are to read them."""

    kind: str
    commands: tuple[tuple[str, ...], ...]


class TooLongError(BaseException):
    """No reader may catch it."""


# -- changes --------------------------------------------------------------------------------------


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """``data`` with a few bytes, tokens or stretches of it changed."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 1, 4, 50, 1000)))
        kind = rng.randrange(8)
        if kind == 7:
            _plant(out, rng)
        elif kind == 0 and out:
            out[at % len(out)] = rng.randrange(256)
        elif kind == 1 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 2:
            out[at:at] = rng.choice(TOKENS)
        elif kind == 3:
            del out[at:end]
        elif kind == 4:
            out[at:at] = out[at:end]
        elif kind == 5 and len(out) >= 4:
            place = at % (len(out) - 3)
            value = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)))
            out[place : place + 4] = value.to_bytes(4, "little")
        elif kind == 6 and rng.random() < 0.2:
            del out[at:]
    return bytes(out)


def _plant(out: bytearray, rng: random.Random) -> None:
    """Write an escape over a name in it, which keeps its length."""
    names = list(re.finditer(rb"[\x20-\x7e]{6,}", bytes(out)))
    if names:
        at = rng.choice(names).start()
        token = rng.choice((b"\x1b[31mx", b"\x1b]0;x\x07", b"\r\n\x9b2J\x08", b"\xe2\x80\xaeabc"))
        out[at : at + len(token)] = token


def changed_value(document: Any, rng: random.Random) -> Any:
    """``document`` with a few values in it replaced, left out, doubled or moved."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        holder, key = _place(document, rng)
        if holder is None:
            return rng.choice(NASTY)
        kind = rng.randrange(6)
        if kind <= 2:
            holder[key] = _copy(rng.choice(NASTY))
        elif kind == 3:
            del holder[key]
        elif kind == 4:
            other, there = _place(document, rng)
            holder[key] = _copy(None if other is None else other[there])
        elif isinstance(holder, list):
            holder.insert(key, _copy(holder[key]))
        else:
            holder[str(rng.choice(NASTY))[:50]] = _copy(holder[key])
    return document


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _place(document: Any, rng: random.Random) -> tuple[Any, Any]:
    holder, key, inner = None, None, document
    while isinstance(inner, dict | list) and inner and (holder is None or rng.random() < 0.8):
        holder = inner
        key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        inner = inner[key]
    return holder, key


def changed_lines(data: bytes, rng: random.Random) -> bytes:
    """A journal with values of a few lines changed, or whole lines."""
    lines = data.splitlines(keepends=True) or [b"\n"]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(10)
        if kind <= 5:
            with contextlib.suppress(ValueError):
                event = changed_value(json.loads(lines[at]), rng)
                lines[at] = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        elif kind == 6:
            lines[at] = changed_bytes(lines[at], rng)
        elif kind == 7:
            lines[at : at + 1] = [] if len(lines) > 1 else [b"\n"]
        elif kind == 8:
            lines.insert(rng.randrange(len(lines)), lines[at])
        else:
            lines[at] = lines[at].rstrip(b"\n")
    return b"".join(lines)


def made_special(path: Path, outside: Path, rng: random.Random) -> None:
    """Put something in the place of ``path`` that is not a plain file."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    kind = rng.randrange(6)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(outside / "precious")
    elif kind == 2:
        path.symlink_to(outside / "absent")
    elif kind == 3:
        path.symlink_to(outside)
    elif kind == 4:
        os.link(outside / "precious", path)
    else:
        with path.open("wb") as file:
            file.truncate(2**41)


# -- the kinds of files ---------------------------------------------------------------------------


def a_run(folder: Path, outside: Path, rng: random.Random) -> Case:
    """A whole run: the small one that ships."""
    path = folder / "results" / RUN
    shutil.copytree(_reference(), path)
    journal, manifest = path / "journal.jsonl", path / "run.json"
    journal.write_bytes(_few_lines(journal.read_bytes()))
    if rng.random() < 0.8:
        which = rng.randrange(4)
        if which <= 1:
            journal.write_bytes(changed_lines(journal.read_bytes(), rng))
        if which == 2:
            document = changed_value(json.loads(manifest.read_bytes()), rng)
            manifest.write_text(json.dumps(document))
        if which == 3:
            file = rng.choice([journal, manifest, *sorted((path / "logs").iterdir())])
            file.write_bytes(changed_bytes(file.read_bytes(), rng))
    if rng.random() < 0.3:
        with journal.open("ab") as torn:
            torn.write(b'{"format":1,"seq":')
    if rng.random() < 0.3:
        names = ["run.json", "journal.jsonl", "journal.torn", "logs", ".manifest.lock"]
        names += [
            "speedup.csv",
            "report.html",
            f"logs/{min(each.name for each in (path / 'logs').iterdir())}",
        ]
        made_special(path / rng.choice(names), outside, rng)
    # a page with its charts takes as long as twenty texts
    shapes = ("text", "csv", "json", "markdown", "latex") * 3 + ("html",)
    some = [str(each) for each in sorted((path / "logs").glob("*.txt"))[:3]]
    results = ("--results", str(folder / "results"))
    command = rng.choice(
        (
            ("report", str(path), "--format", rng.choice(shapes)),
            ("report", RUN[:12], "--format", rng.choice(shapes), *results),
            ("explain", str(path), "--format", rng.choice(("text", "json", "markdown"))),
            ("compare", str(path), str(_reference())),
            ("runs", *results),
            ("run", "--resume", str(path), "--models", str(folder / "models")),
            ("import", *(some or [str(journal)]), *results),
        )
    )
    return Case("run", (command,))


def bundle(folder: Path, outside: Path, rng: random.Random) -> Case:
    """What a bundle brought back, for a run that awaits it, or that was changed as well."""
    directory, events = _awaiting(folder)
    path = folder / "results-away.zip"
    lines = [json.dumps(event).encode() for event in events]
    which = rng.randrange(5)
    if which <= 1:
        lines = changed_lines(b"\n".join(lines) + b"\n", rng).splitlines()
    start = {"time": "now", "facts": FACTS, "runtimes": {}, "agent_hash": "0" * 64}
    session = bundle_results.Session(RUN, "away", [start])
    bundle_results.write(str(path), session, lambda: lines)
    if which == 2:
        _repack(path, rng)
    if which == 3:
        path.write_bytes(changed_bytes(path.read_bytes(), rng))
    folders = ("--results", str(folder / "results"), "--models", str(folder / "models"))
    command = ("import", str(path), *folders)
    if which == 4 or rng.random() < 0.2:
        # what is there already, changed, before the same comes again
        _quiet(command)
        journal = directory.path / "journal.jsonl"
        if rng.random() < 0.5:
            journal.write_bytes(changed_lines(journal.read_bytes(), rng))
        else:
            document = changed_value(json.loads((directory.path / "run.json").read_bytes()), rng)
            (directory.path / "run.json").write_text(json.dumps(document))
        if rng.random() < 0.3:
            with journal.open("ab") as file:
                file.write(b"torn")
            made_special(directory.path / "journal.torn", outside, rng)
        if rng.random() < 0.3:
            made_special(directory.path / rng.choice(("logs", "journal.jsonl")), outside, rng)
    return Case("bundle", (command,))


def logs(folder: Path, outside: Path, rng: random.Random) -> Case:
    """What benchmark_model printed."""
    sources = sorted((ROOT / "tests/data/benchmark_model").glob("*/*"))
    paths = []
    for number in range(rng.randint(1, 3)):
        source = rng.choice([path for path in sources if path.is_file()])
        paths.append(folder / f"{number}-{source.name}")
        paths[-1].write_bytes(changed_bytes(source.read_bytes(), rng))
    if rng.random() < 0.05:
        made_special(paths[0], outside, rng)
    told = rng.choice(((), ("--model", "m", "--scheme", "float32")))
    results = ("--results", str(folder / "results"))
    return Case("logs", (("import", *map(str, paths), *results, *told),))


def model(folder: Path, outside: Path, rng: random.Random) -> Case:
    """A ``.tflite`` or a ``.pt``."""
    files = [*sorted((ROOT / "tests/data/zoo").glob("*.tflite")), *TORCH_FILES]
    source = rng.choice(files)
    path = folder / source.name
    path.write_bytes(changed_bytes(source.read_bytes(), rng))
    if source.suffix == ".pt" and rng.random() < 0.5:
        with contextlib.suppress(zipfile.BadZipFile):
            path.write_bytes(source.read_bytes())
            _repack(path, rng)
    if rng.random() < 0.03:
        made_special(path, outside, rng)
    return Case("model", (("models", "inspect", str(path), *rng.choice(((), ("--json",)))),))


def settings(folder: Path, outside: Path, rng: random.Random) -> Case:
    """An inventory and a suite."""
    suites = sorted((ROOT / "suites").glob("*.yaml"))
    inventories = sorted(ROOT.glob("*.yaml"))
    suite, inventory = folder / "suite.yaml", folder / "inventory.yaml"
    suite.write_bytes(rng.choice(suites).read_bytes())
    inventory.write_bytes(rng.choice(inventories).read_bytes())
    target = rng.choice((suite, inventory))
    target.write_bytes(_changed_text(target.read_bytes(), rng))
    if rng.random() < 0.03:
        made_special(target, outside, rng)
    command = ("plan", "--inventory", str(inventory), "--suite", str(suite), "--seed", "1")
    return Case("yaml", ((*command, "--models", str(folder / "models")),))


KINDS: tuple[Callable[[Path, Path, random.Random], Case], ...] = (
    a_run, a_run, bundle, logs, model, model, settings,
)  # fmt: skip


@lru_cache
def _reference() -> Path:
    return next((ROOT / "results").rglob("journal.jsonl")).parent


def _few_lines(data: bytes) -> bytes:
    """One model's trials: a table of them takes a tenth of a second."""
    lines = data.splitlines(keepends=True)
    return b"".join(line for line in lines if b'"model":"resnet50"' not in line)


#: What ``make_torch_files`` made.
TORCH_FILES: list[Path] = []


def make_torch_files(folder: Path) -> None:
    """Have files of PyTorch among the models, where it is installed."""
    try:
        import torch  # noqa: PLC0415  # an extra, and slow to load
    except ModuleNotFoundError:
        return
    small = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    torch.save(small.state_dict(), folder / "weights.pt")
    torch.jit.trace(small, torch.zeros(1, 3, 8, 8)).save(str(folder / "traced.pt"))
    TORCH_FILES[:] = sorted(folder.iterdir())


def _awaiting(folder: Path) -> tuple[RunDirectory, list[dict[str, Any]]]:
    """A run that awaits a device's results, and events that are some."""
    inventory = folder / "inventory.yaml"
    inventory.write_text("devices:\n- {name: away, transport: bundle}\n")
    suite = folder / "suite.yaml"
    suite.write_text("models: [mobilenet_v1]\nschemes: [float32, float16]\nrunner: litert\n")
    known = load_inventory(inventory)
    asked = load_suite(str(suite))
    plan = make_plan(known.devices, asked, seed=1)
    manifest = Manifest(
        run_id=RUN,
        created="2026-11-21T00:00:00Z",
        seed=1,
        inventory=known.to_json(),
        suite=asked.to_json(),
        devices=("away",),
        versions={},
        artifacts=tuple(ArtifactRecord(v, "0" * 64, 1, "imagenet") for v in plan.variants),
    )
    directory = RunDirectory.create(folder / "results", RUN)
    write_manifest(directory.path, manifest)
    Journal(directory.path).close()
    _, _, part = plan_of(manifest, "away")
    events: list[dict[str, Any]] = []
    for trial in part.trials[:4]:
        for kind in ("queued", "started", "finished"):
            more: dict[str, Any] = _FINISHED if kind == "finished" else {}
            if kind == "started":
                more = {"attempt": 1}
            head = {"seq": len(events) + 1, "time": f"2026-11-21T00:00:{len(events):02d}+00:00"}
            events.append({**head, "event": kind, "trial_id": trial.trial_id, **more})
    return directory, events


_RESULT = {
    "schema": 1, "runtime": "ai-edge-litert", "runtime_version": "2.3.0", "python": "3.11.7",
    "threads": 1, "batch": 1, "delegate": "xnnpack", "delegated_nodes": 30, "total_nodes": 34,
    "model_size_bytes": 1, "inputs": [], "init_us": 10.0, "warmup_us": [5.0] * 5,
    "steady_us": [4.0, 5.0] * 20,
}  # fmt: skip
_STDOUT = f"@orchestrate-stage report\n@orchestrate-result {json.dumps(_RESULT)}\n"
_HEALTH = {
    "boot_id": "a", "mhz": {"min": 1.0, "mean": 2.0, "max": 3.0}, "governor": "performance",
    "monotonic_s": 1.0, "wall_clock_s": 1.0, "temperature_c": 40.0, "load1": 0.1, "turbo": False,
    "context_switches": 4, "cpu_s": {"user": 1.0, "idle": 2.0}, "throttle": {"core_events": 0},
}  # fmt: skip
_FINISHED = {
    "attempt": 1, "exit_code": 0, "signal": None, "timed_out": False, "oom_killed": False,
    "wall_s": 1.5, "stdout": _STDOUT, "stderr": "", "stdout_bytes": len(_STDOUT),
    "stderr_bytes": 0, "health_before": _HEALTH, "health": _HEALTH, "rusage": {"user_s": 1.0},
    "machine_lock": "held", "conditions": {"pinned": [0], "reasons": []}, "power": None,
    "lost": False, "reason": None,
}  # fmt: skip


def _repack(path: Path, rng: random.Random) -> None:
    """The same archive with a member changed, left out, renamed or there twice."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = rng.randrange(len(members))
    name, data = members[at]
    kind = rng.randrange(6)
    if kind <= 2:
        try:
            data = json.dumps(changed_value(json.loads(data), rng)).encode()
        except ValueError:
            data = changed_bytes(data, rng)
        members[at] = (name, data)
    elif kind == 3:
        del members[at]
    elif kind == 4:
        members[at] = (rng.choice(("../evil", "/evil", "a/../../b", "x" * 300, name + "\n")), data)
    else:
        members.append((name, changed_bytes(data, rng)))
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with contextlib.suppress(UserWarning), zipfile.ZipFile(path, "w", method) as archive:
        for each, content in members:
            archive.writestr(each, content)


def _changed_text(data: bytes, rng: random.Random) -> bytes:
    """YAML with a value, a key or bytes of it changed."""
    if rng.random() < 0.4:
        return changed_bytes(data, rng)
    words = list(re.finditer(rb"[A-Za-z0-9_.:~/%-]+", data))
    out = data
    for _ in range(rng.choice((1, 1, 2))):
        word = rng.choice(words)
        new = json.dumps(rng.choice(NASTY)).encode()
        out = out[: word.start()] + new + out[word.end() :]
    return out


# -- what must not happen -------------------------------------------------------------------------


class _Started:
    """Which programs were started; there is no way to take an audit hook away again."""

    def __init__(self) -> None:
        self.programs: list[str] = []
        self._hooked = False

    def watch(self) -> None:
        if not self._hooked:
            sys.addaudithook(self._hear)
            self._hooked = True

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"):
            program = str(arguments[0])
            if program != sys.executable:  # children of our own
                self.programs.append(program)


_STARTED = _Started()


def _quiet(command: Sequence[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli.main(command)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLongError


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    timers = (
        (signal.ITIMER_REAL, signal.SIGALRM, MOST_SECONDS),
        (signal.ITIMER_PROF, signal.SIGPROF, MOST_CPU_SECONDS),
    )
    before = [signal.signal(number, _too_long) for _, number, _ in timers]
    for timer, _, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _state(folder: Path) -> list[tuple[str, Any]]:
    return sorted(
        (str(path), path.read_bytes() if path.is_file() else None) for path in folder.rglob("*")
    )


def _escapes(said: str) -> str:
    """What of a text is not text, as escapes."""
    odd = {c for c in said if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs")}
    return "".join(sorted(odd)).encode("unicode_escape").decode()


def try_case(seed: int, number: int, folder: Path) -> tuple[str, list[str]]:
    """Make case ``number`` in ``folder`` and run it: (its kind, what was wrong)."""
    rng = random.Random(f"{seed}/{number}")
    outside, here = folder / "outside", folder / "here"
    outside.mkdir(parents=True)
    here.mkdir()
    (outside / "precious").write_bytes(b"precious\n")
    before = _state(outside)
    kind = rng.choice(KINDS)
    wrong: list[str] = []
    said = io.StringIO()
    _STARTED.watch()
    _STARTED.programs.clear()
    os.environ["ORCHESTRATE_TRACEBACK"] = "1"  # what nobody foresaw comes out as it is
    try:
        with _bounded(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            case = kind(here, outside, rng)
            for command in case.commands:
                code = cli.main(command)
                if code not in (0, 1, 2, 3):
                    wrong.append(f"{command} ended with {code}")
    except TooLongError:
        wrong.append(f"took more than {MOST_CPU_SECONDS} s of a CPU, or {MOST_SECONDS} s in all")
    except Exception:  # noqa: BLE001  # which is what is looked for
        wrong.append(traceback.format_exc(limit=-4))
    except SystemExit as exc:
        wrong.append(f"the command line was not understood: {exc.code}")
    if odd := _escapes(said.getvalue()):
        wrong.append(f"said {odd}")
    if _state(outside) != before or {p.name for p in folder.iterdir()} != {"here", "outside"}:
        wrong.append("wrote outside of the folder")
    if _STARTED.programs:
        wrong.append(f"started {_STARTED.programs}")
    return kind.__name__, wrong


def fuzz(seed: int, numbers: Iterator[int], until: float, *, keep: Path | None = None) -> int:
    """Try cases until a point of the monotonic clock; returns how many went wrong."""
    tried: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for number in numbers:
        if time.monotonic() >= until:
            break
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        try:
            kind, wrong = try_case(seed, number, folder)
            tried[kind] += 1
            if wrong:
                bad[wrong[0].splitlines()[-1][:100]] += 1
                print(f"\n{kind}: python -m benchmarks.fuzz --seed {seed} --only {number}")
                print("\n".join(wrong), flush=True)
            if keep is not None:
                shutil.copytree(folder, keep / str(number), symlinks=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"seed {seed}: {tried.total()} cases, {bad.total()} wrong ({dict(tried)})")
    for what, count in bad.most_common():
        print(f"{count:>6} {what}")
    return bad.total()


def main(argv: Sequence[str] | None = None) -> int:
    """Try cases for as long as asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="NUMBER", type=int, help="this case alone")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="leave the files of a case there")
    arguments = parser.parse_args(argv)
    first = arguments.only or 0
    last = 10**9 if arguments.only is None else first + 1
    until = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory(prefix="fuzz-torch-") as folder:
        make_torch_files(Path(folder))
        bad = fuzz(arguments.seed, iter(range(first, last)), until, keep=arguments.keep)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
