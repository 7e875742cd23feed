"""The wire: what is said is what is heard, and nothing hostile gets through or crashes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrate_agent import protocol
from orchestrate_agent.protocol import (
    Conditions,
    Event,
    Gate,
    LineBuffer,
    ProtocolError,
    Reply,
    TrialRequest,
)

SHA = "ab" * 32
OTHER = "cd" * 32
BLOB = "{blob:" + SHA + "}"
EXE = "{exe:" + OTHER + "}"

quick = settings(max_examples=50, deadline=None)  # the machine is shared: no limit on time

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=20,
)


def minimal(**more: Any) -> dict[str, Any]:
    return {"trial_id": "t", "argv": ["true"], "timeout_s": 5, **more}


def test_a_trial_request_survives_the_wire() -> None:
    request = TrialRequest(
        "m.float32.0",
        ("~/bin/tool", f"--graph={BLOB}", "é"),
        2.5,
        {"OMP_NUM_THREADS": "1"},
        (SHA,),
        (0, 2),
        False,
    )
    line = protocol.encode(request.to_json())
    assert TrialRequest.from_json(protocol.decode(line)) == request


def test_conditions_survive_the_wire_and_are_no_part_of_a_trial_s_identity() -> None:
    wanted = Conditions(pin=2, tune=True, energy=True, gate=Gate(0.1, 70.0, 30.0))
    request = TrialRequest("t", ("true",), 1.0, conditions=wanted)
    heard = TrialRequest.from_json(protocol.decode(protocol.encode(request.to_json())))
    assert heard.conditions == wanted
    plain = TrialRequest("t", ("true",), 1.0)
    assert TrialRequest.from_json(minimal(argv=["true"], timeout_s=1.0)).conditions == Conditions()
    assert heard == plain  # one that waits on a device is not refused when it is asked for anew


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([], "conditions must be an object"),
        ({"pin": 0}, "pin must be an integer from 1"),
        ({"pin": True}, "pin"),
        ({"tune": 1}, "tune must be true or false"),
        ({"gate": 3}, "gate must be an object"),
        ({"gate": {}}, "timeout_s must be a number"),
        ({"gate": {"timeout_s": -1}}, "timeout_s must be from 0"),
        ({"gate": {"timeout_s": 1, "load": 1.5}}, "load must be from 0 to 1"),
        ({"gate": {"timeout_s": 1, "load": True}}, "load must be a number"),
        ({"gate": {"timeout_s": 1, "temperature_c": float("nan")}}, "temperature_c"),
    ],
)
def test_impossible_conditions_are_refused(conditions: Any, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        TrialRequest.from_json(minimal(conditions=conditions))


@quick
@given(st.dictionaries(st.sampled_from(["pin", "tune", "energy", "gate"]), json_values))
def test_any_conditions_are_valid_or_a_protocol_error(fields: dict[str, Any]) -> None:
    try:
        conditions = Conditions.from_json(fields)
    except ProtocolError:
        return
    assert Conditions.from_json(conditions.to_json()) == conditions


@quick
@given(json_values)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    line = protocol.encode({"value": value})
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert protocol.decode(line[:-1]) == {"value": value}


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_protocol_error(data: bytes) -> None:
    try:
        assert isinstance(protocol.decode(data), dict)
    except ProtocolError as exc:
        assert exc.kind == "bad_json"


@quick
@given(
    st.dictionaries(
        st.sampled_from(["id", "op", "run_id", "device", "trials", "from_seq", "blobs", "python"]),
        json_values | st.sampled_from(protocol.OPS),
    )
)
def test_any_object_is_a_request_or_a_protocol_error(message: dict[str, Any]) -> None:
    try:
        request = protocol.parse_request(message)
    except ProtocolError as exc:
        assert exc.kind == "bad_request" and str(exc)
    else:
        assert request.id == message["id"]


@quick
@given(st.dictionaries(st.sampled_from([*minimal(), "env", "blobs", "cpus"]), json_values))
def test_any_trial_is_valid_or_a_protocol_error(fields: dict[str, Any]) -> None:
    try:
        request = TrialRequest.from_json({**minimal(), **fields})
    except ProtocolError:
        return
    assert TrialRequest.from_json(request.to_json()) == request


@quick
@given(json_values)
def test_any_answer_is_understood_or_a_protocol_error(value: Any) -> None:
    for message in ({"event": value}, {"id": value, "ok": True, "result": value}):
        try:
            assert isinstance(protocol.parse_answer(message), (Event, Reply))
        except ProtocolError as exc:
            assert exc.kind == "bad_request"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"[" * 1_000_000, "bad_json"),
        (b'{"a":' * 200_000, "bad_json"),
        (b'{"id": NaN}', "bad_json"),
        (b'{"id": 1' + b"0" * 10_000 + b"}", "bad_json"),
        (b"\xff\xfe{}", "bad_json"),
        (b"[]", "bad_json"),
        (b"", "bad_json"),
        (b"x" * (protocol.MAX_LINE_BYTES + 1), "too_long"),
    ],
    ids=["lists", "objects", "nan", "integer", "encoding", "list", "empty", "long"],
)
def test_hostile_lines(line: bytes, kind: str) -> None:
    with pytest.raises(ProtocolError) as info:
        protocol.decode(line)
    assert info.value.kind == kind


@pytest.mark.parametrize(
    "wrong",
    [
        {"trial_id": "../../etc"},
        {"trial_id": ""},
        {"trial_id": "a" * 201},
        {"trial_id": "a\n"},
        {"trial_id": 7},
        {"argv": []},
        {"argv": "true"},
        {"argv": ["true", 1]},
        {"argv": ["a\0b"]},
        {"argv": [""]},
        {"argv": ["\ud800"]},
        {"argv": ["x" * (128 * 1024)]},
        {"argv": ["x"] * 1001},
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"timeout_s": True},
        {"timeout_s": "5"},
        {"timeout_s": 10**400},
        {"env": []},
        {"env": {"A=B": "1"}},
        {"env": {"A": 1}},
        {"blobs": ["AB" * 32]},
        {"blobs": [None]},
        {"cpus": []},
        {"cpus": [0, 0]},
        {"cpus": [-1]},
        {"cpus": [True]},
        {"cpus": [10**9]},
        {"exclusive": 1},
        {"exclusive": None},
        {"argv": [BLOB]},
        {"argv": [EXE], "blobs": [SHA]},
    ],
    ids=lambda wrong: json.dumps(wrong)[:40],
)
def test_a_wrong_trial_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as info:
        TrialRequest.from_json(minimal(**wrong))
    assert info.value.kind == "bad_request"


def test_unknown_fields_are_ignored() -> None:
    assert TrialRequest.from_json(minimal(of_a_later_version=[1])) == TrialRequest.from_json(
        minimal()
    )
    assert protocol.parse_request({"id": 0, "op": "status", "verbose": 1}).id == 0


def test_a_trial_id_stands_once_in_a_submit() -> None:
    with pytest.raises(ProtocolError, match="twice"):
        protocol.request(1, "submit", run_id="r", device="d", trials=[minimal(), minimal()])


def test_only_the_exact_placeholders_are_replaced() -> None:
    argv = (
        "{agent}",
        f"--graph={BLOB}:{EXE}",
        BLOB[:-1],
        "{blob:ABCD}",
        "{}",
        '{"agent": {"x": 1}}',
        "${agent}",
        "{python}",
        "{python3}",
    )
    done = protocol.substitute(
        argv,
        blob=lambda s: "/b/" + s,
        exe=lambda s: "/x/" + s,
        site=lambda s: "/s/" + s,
        agent=lambda: "/a",
        python="/p",
    )
    assert done == (
        "/a",
        f"--graph=/b/{SHA}:/x/{OTHER}",
        BLOB[:-1],
        "{blob:ABCD}",
        "{}",
        '{"agent": {"x": 1}}',
        "$/a",
        "/p",
        "{python3}",
    )


def test_replies_and_errors_survive_the_wire() -> None:
    good = protocol.parse_answer(protocol.decode(protocol.encode(protocol.reply(3, {"a": 1}))))
    assert good == Reply(3, {"a": 1}, None)
    error = ProtocolError("gone", kind="missing_blobs", missing=[SHA])
    bad = protocol.parse_answer(protocol.decode(protocol.encode(protocol.error_reply(4, error))))
    assert isinstance(bad, Reply) and bad.error is not None
    assert (bad.id, str(bad.error), bad.error.kind) == (4, "gone", "missing_blobs")
    assert bad.error.details == {"missing": [SHA]}


def test_a_finished_trial_full_of_odd_bytes_fits_a_line() -> None:
    text = "\ufffd" * protocol.CAPTURE_BYTES  # what a byte that is not UTF-8 becomes
    assert len(protocol.encode({"stdout": text, "stderr": text})) < protocol.MAX_LINE_BYTES


@quick
@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 40))
def test_lines_come_out_however_the_stream_is_cut(pieces: list[bytes], step: int) -> None:
    lines = [piece.replace(b"\n", b"") for piece in pieces]
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    buffer = LineBuffer()
    got = [
        line for at in range(0, len(stream), step) for line in buffer.feed(stream[at : at + step])
    ]
    assert got == lines


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    buffer = LineBuffer(limit=1000)
    with pytest.raises(ProtocolError) as info:
        for _ in range(1000):
            buffer.feed(b"x" * 100)
    assert info.value.kind == "too_long"
    with pytest.raises(ProtocolError):
        LineBuffer(limit=10).feed(b"x" * 11 + b"\n")
