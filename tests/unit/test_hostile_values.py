"""Whatever stands in a file or comes over the wire is read, or refused in words; never a crash.

Files that are made to exhaust their reader are read in a process whose memory is bounded.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import resource
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrate_agent import protocol
from orchestrate_agent.protocol import LineBuffer, ProtocolError
from orchestrator import cli
from orchestrator.config import load_inventory, load_suite
from orchestrator.errors import AgentError, OrchestrateError
from orchestrator.fleet import told
from orchestrator.fleet.recording import evidence_from
from orchestrator.fleet.ssh import certificates
from orchestrator.frameworks.reading import child_output
from orchestrator.frameworks.tflite.benchmark_log import parse_benchmark_log
from orchestrator.printable import printable
from orchestrator.report.clean import csv_cell, latex, markdown
from orchestrator.report.markup import element
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import read_journal

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = next((ROOT / "results").rglob("journal.jsonl")).parent

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

NASTY = [
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "\x9b31m",
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "$(touch owned)",
    "`touch owned`",
    "; touch owned #",
    "a\nb",
    "a\r\nb",
    "../../owned",
    "/etc/passwd",
    "-oProxyCommand=touch owned",
    "--help",
    "~root",
    "\0",
    "\u202e\u200b",
    "=cmd|' /C calc'!A0",
    "x" * 100_000,
    "\ud800",
]
nasty = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), nasty, st.just(10**400), st.just(1e308)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(nasty, inner, max_size=4)),
    max_leaves=12,
)


# --- files that the user names -----------------------------------------------------------------

DEVICE_KEYS = ("name", "host", "user", "key_file", "gateway", "python", "workdir", "expect", "site")


@QUICK
@given(st.sampled_from(DEVICE_KEYS), values)
def test_any_value_in_an_inventory(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    path = tmp_path_factory.mktemp("inventory") / "inventory.yaml"
    device = {"name": "far", "transport": "ssh", key: value}
    path.write_text(json.dumps({"devices": [device]}), errors="replace")
    try:
        inventory = load_inventory(path)
    except OrchestrateError as exc:
        assert path.name in str(exc)
        assert all(line.isprintable() for line in str(exc).splitlines())
        return
    name = inventory.devices[0].name
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name), "a name becomes a folder"
    assert not str(inventory.devices[0].host).startswith("-"), "a host becomes an argument"
    assert not str(inventory.devices[0].user).startswith("-")


@QUICK
@given(st.sampled_from(["models", "schemes", "baseline", "runner", "factors", "protocol"]), values)
def test_any_value_in_a_suite(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    path = tmp_path_factory.mktemp("suite") / "suite.yaml"
    suite = {"models": ["mobilenet_v1"], "schemes": ["float32"], key: value}
    path.write_text(json.dumps(suite), errors="replace")
    with contextlib.suppress(OrchestrateError):
        load_suite(str(path))


LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 60)
)
EXHAUSTING = {
    "laughs": LAUGHS.encode(),
    "brackets": b"a: " + b"[" * 500_000,
    "braces": b"{a: " * 200_000,
    "dashes": b"- " * 400_000,
    "long-line": b"a: " + b"x" * 100_000_000,
    "long-key": b"x" * 1_000_000 + b": 1",
    "many": b"a: [" + b"1," * 450_000 + b"]",
    "anchors": b"".join(b"a%d: &a%d x\n" % (n, n) for n in range(60_000)),
    "digits": b"a: " + b"9" * 900_000,
    "merges": b"a: &a {b: 1}\nc:\n" + b"  <<: *a\n" * 90_000,
    "tag": b"a: !!python/object/apply:os.system ['touch owned']\n",
    "quotes": b'a: "' + b"\\x41" * 250_000,
}


def bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1500 * 2**20, 1500 * 2**20))


def test_files_made_to_exhaust_their_reader(tmp_path: Path) -> None:
    for name, data in EXHAUSTING.items():
        (tmp_path / f"{name}.yaml").write_bytes(data)
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from orchestrator.config import load_inventory\n"
        "from orchestrator.errors import ConfigError\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.yaml')):\n"
        "    start = time.process_time()\n"
        "    try:\n        load_inventory(path)\n"
        "    except ConfigError as exc:\n"
        "        assert len(str(exc)) < 20_000\n"
        "        print(path.name, round(time.process_time() - start, 3))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        cwd=ROOT,
        preexec_fn=bounded,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,  # other tests share the CPUs
    )
    assert done.returncode == 0, done.stderr[-2000:]
    took = [line.rsplit(" ", 1) for line in done.stdout.splitlines()]
    assert len(took) == len(EXHAUSTING), done.stdout
    assert all(float(seconds) < 10 for _, seconds in took), done.stdout
    assert not (ROOT / "owned").exists()


# --- a run that somebody else made -------------------------------------------------------------


def at(document: Any, path: list[int]) -> tuple[Any, Any]:
    """(the object or list, its key) that a list of choices leads to."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = keys[path[0] % len(keys)]
        inner = document[key]
        if len(path) == 1 or not isinstance(inner, dict | list) or not inner:
            return document, key
        document, path = inner, path[1:]


@settings(QUICK, max_examples=12)
@given(st.booleans(), st.lists(st.integers(0, 500), min_size=1, max_size=5), values)
def test_a_run_with_any_value_anywhere_is_reported_or_refused(
    tmp_path_factory: pytest.TempPathFactory, in_manifest: bool, path: list[int], value: Any
) -> None:
    folder = tmp_path_factory.mktemp("run")
    manifest = json.loads((REFERENCE / "run.json").read_text())
    lines = (REFERENCE / "journal.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    document, key = at(manifest if in_manifest else events, path)
    document[key] = value
    (folder / "run.json").write_text(json.dumps(manifest))
    (folder / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["report", str(folder), "--format", "markdown"])
    assert code in (0, 1)
    said = out.getvalue() + err.getvalue()
    assert "Traceback" not in said
    assert not any(sign in said for sign in "\x1b\x9b\x07\0")


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b"x" * 100_000_000,
        b'{"seq":1,"device":"d","event":"e","format":"x"}\n',
        b'{"seq":"1","device":"d","event":"e"}\n',
        b'{"seq":1,"device":["d"],"event":"e"}\n',
        b'{"seq":1e999,"device":"d","event":"e"}\n',
        b'{"seq":1,"device":"d","event":"planned"}\n',
        b'{"seq":1,"device":"d","event":"finished","outcome":[]}\n',
    ],
    ids=range(9),
)
def test_journal_lines_that_cannot_be(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "run.json").write_bytes((REFERENCE / "run.json").read_bytes())
    (tmp_path / "journal.jsonl").write_bytes(line if line.endswith(b"\n") else line + b"\n")
    with pytest.raises(OrchestrateError, match=r"journal\.jsonl"):
        RunDirectory(tmp_path).read()


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_as_a_journal(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    path.write_bytes(data)
    with contextlib.suppress(OrchestrateError):
        read_journal(path)


# --- what devices say --------------------------------------------------------------------------


@QUICK
@given(st.sampled_from(["facts", "health", "finished"]), st.dictionaries(nasty, values))
def test_what_an_agent_tells_is_taken_or_refused(which: str, data: dict[str, Any]) -> None:
    shape = {"facts": told.FACTS, "health": told.HEALTH, "finished": told.FINISHED}[which]
    with contextlib.suppress(AgentError):
        told.check(data, shape, "facts", device="far")


@QUICK
@given(st.sampled_from(sorted(told.FINISHED)), values)
def test_a_finished_trial_with_any_value_anywhere(key: str, value: Any) -> None:
    fields: dict[str, Any] = dict.fromkeys(("exit_code", "signal", "oom_killed"))
    fields |= {"timed_out": False, "wall_s": 1.0, "stdout": "", "stderr": ""}
    fields |= {"stdout_bytes": 0, "stderr_bytes": 0, key: value}
    try:
        told.check(fields, told.FINISHED, "a finished trial", device="far")
        evidence_from(fields, device="far")
    except AgentError as exc:
        assert len(str(exc)) < 2000


@QUICK
@given(st.dictionaries(nasty, values), st.binary(max_size=40))
def test_the_wire_in_both_directions(message: dict[str, Any], noise: bytes) -> None:
    line = json.dumps(message).encode() + noise
    for parse in (protocol.parse_request, protocol.parse_answer):
        with contextlib.suppress(ProtocolError):
            parse(protocol.decode(line))
    with contextlib.suppress(ProtocolError):
        for each in LineBuffer().feed(line + b"\n"):
            protocol.decode(each)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"a": 1e999}', "beyond any number"),
        (b'{"a": -1e400}', "beyond any number"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested deeper"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
        (b'{"a":[' + b"[]," * 5_000_000 + b"[]]}", "lists and objects"),
        (b'{"a":["' + b'\\"[",[],"' * 400_000 + b'"]}', "lists and objects"),
    ],
    ids=range(7),
)
def test_lines_made_to_exhaust_their_reader(line: bytes, said: str) -> None:
    start = time.process_time()
    with pytest.raises(ProtocolError, match=said):
        protocol.decode(line)
    assert time.process_time() - start < 5


def test_brackets_that_a_program_printed_are_no_lists() -> None:
    printed = '[{"a\\' * 300_000
    assert protocol.decode(json.dumps({"stdout": printed}).encode()) == {"stdout": printed}


@QUICK
@given(st.lists(st.one_of(nasty, st.text(max_size=60)), max_size=8))
def test_any_log_of_benchmark_model(lines: list[str]) -> None:
    parse_benchmark_log("\n".join(lines))


@QUICK
@given(values, st.binary(max_size=30))
def test_any_result_line_of_a_child(value: Any, noise: bytes) -> None:
    for text in (json.dumps(value), noise.decode("utf-8", "replace"), "[" * 5000):
        with contextlib.suppress(child_output.NonsenseError):
            data = child_output.only([child_output.RESULT + text], child_output.RESULT)
            child_output.memory_of(data)
            child_output.times_of(data, "steady_us")


@QUICK
@given(st.binary(max_size=400))
def test_any_bytes_as_a_host_certificate(data: bytes) -> None:
    assert certificates.problem(data, "host", ()) is not None


# --- what is shown -----------------------------------------------------------------------------


@QUICK
@given(nasty)
def test_what_is_shown_can_do_nothing(text: str) -> None:
    for shown in (printable(text), markdown(text), csv_cell(text), latex(text)):
        assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "<" not in markdown(text).replace("&lt;", "")
    assert csv_cell(text)[:1] not in ("=", "+", "@", "-")
    html = element("p", text, title=text)
    assert html.count("<") == 2
    assert html.count('"') == 2


def test_nothing_was_touched() -> None:
    assert not [path for path in ROOT.iterdir() if "owned" in path.name]
