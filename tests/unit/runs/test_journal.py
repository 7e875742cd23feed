"""The journal: nothing written is lost, nothing torn is read."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import JournalError
from orchestrator.runs.journal import FILE_NAME, Journal, JournalReader, read_journal


def test_events_come_back_in_order_with_a_sequence_per_device(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append("a", "planned", trial_id="t1")
        journal.append("b", "planned", trial_id="t2")
        journal.append_all("a", "planned", [{"trial_id": "t3"}, {"trial_id": "t4"}])
    events = read_journal(tmp_path / FILE_NAME).events
    assert [(e["device"], e["seq"], e["trial_id"]) for e in events] == [
        ("a", 1, "t1"),
        ("b", 1, "t2"),
        ("a", 2, "t3"),
        ("a", 3, "t4"),
    ]
    assert all(e["format"] == 1 and e["time"].endswith("Z") for e in events)


def test_a_reopened_journal_counts_on(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        with Journal(tmp_path) as journal:
            assert journal.append("a", "planned")["seq"] == expected


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_set_aside_and_the_rest_stands(tmp_path: Path, cut: int) -> None:
    with Journal(tmp_path) as journal:
        journal.append("a", "planned", trial_id="t1")
        journal.append("a", "planned", trial_id="t2")
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    torn = whole.splitlines()[1][: len(whole.splitlines()[1]) + 1 - cut]
    assert read_journal(path).torn == torn
    with Journal(tmp_path) as journal:
        assert journal.torn == torn
        assert journal.append("a", "planned", trial_id="t3")["seq"] == 2
    contents = read_journal(path)
    assert [e["trial_id"] for e in contents.events] == ["t1", "t3"]
    assert contents.torn is None
    assert path.with_suffix(".torn").read_bytes() == torn + b"\n"


def test_a_second_writer_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(JournalError, match="another orchestrate process"):
        Journal(tmp_path)
    Journal(tmp_path).close()


def test_damage_in_the_middle_is_named_not_skipped(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for number in range(3):
            journal.append("a", "planned", trial_id=str(number))
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], b'{"seq": 2, "dev', lines[2]]) + b"\n")
    with pytest.raises(JournalError, match=rf"{FILE_NAME}:2: not a JSON object"):
        read_journal(path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(json.dumps({"format": 2, "seq": 1, "device": "a", "event": "x"}) + "\n")
    with pytest.raises(JournalError, match="later version"):
        read_journal(path)


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:

        def write(device: str) -> None:
            for number in range(50):
                journal.append(device, "planned", number=number)

        threads = [threading.Thread(target=write, args=(f"d{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = read_journal(tmp_path / FILE_NAME).events
    for name in ("d0", "d1", "d2", "d3"):
        mine = [e for e in events if e["device"] == name]
        assert [e["seq"] for e in mine] == list(range(1, 51))
        assert [e["number"] for e in mine] == list(range(50))


@given(st.text())
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder) as journal:
        journal.append("a", "planned", reason=text)
    assert read_journal(folder / FILE_NAME).events[0]["reason"] == text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(value=VALUES)
def test_the_quick_reader_reads_what_the_standard_library_reads(
    value: object, tmp_path: Path
) -> None:
    line = json.dumps({"seq": 1, "device": "a", "event": "x", "value": value})
    path = tmp_path / FILE_NAME
    path.write_text(line + "\n", encoding="utf-8")
    (event,) = read_journal(path).events
    assert event == json.loads(line)
    assert repr(event["value"]) == repr(json.loads(line)["value"])


def test_half_a_surrogate_in_what_a_runner_said_is_read(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append("a", "finished", reason="it printed \udc80")
    (event,) = read_journal(tmp_path / FILE_NAME).events
    assert event["reason"] == "it printed \udc80"


def test_events_can_be_left_out(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for name in ("planned", "queued", "started", "finished"):
            journal.append("a", name, text='"event":"started",')
    path = tmp_path / FILE_NAME
    with path.open("ab") as file:
        file.write(b'{"seq":5,"device":"a","event":"sta')
    reader = JournalReader(path, without=("queued", "started"))
    assert [e["event"] for e in reader] == ["planned", "finished"]
    assert reader.torn is not None
    cut = path.read_bytes().replace(b'text":"\\"event\\":\\"started\\","}\n', b"\n", 3)
    path.write_bytes(cut)
    with pytest.raises(JournalError, match=f"{FILE_NAME}:1"):
        list(JournalReader(path, without=("queued", "started")))


# -- what is out of order is said, with its place


def a_journal(tmp_path: Path) -> tuple[Path, list[bytes]]:
    """Three trials of one device, as a run writes them, between those of another."""
    told = 0
    with Journal(tmp_path) as journal:
        for device in ("here", "there"):
            journal.append(device, "device_ready", facts={})
        for number in range(3):
            journal.append("here", "planned", trial_id=f"t{number}")
            journal.append("there", "note", text='"event":"queued",')
            for name in ("queued", "started", "finished"):
                told += 1
                journal.append("here", name, agent_seq=told, trial_id=f"t{number}", health={})
        journal.append("here", "device_done")
    path = tmp_path / FILE_NAME
    return path, path.read_bytes().splitlines(keepends=True)


def of_trial(line: bytes, number: int) -> bool:
    return f'"trial_id":"t{number}"'.encode() in line


@pytest.fixture(params=[(), ("queued", "started")], ids=["all", "without"])
def without(request: pytest.FixtureRequest) -> tuple[str, ...]:
    names: tuple[str, ...] = request.param
    return names


def read(path: Path, without: tuple[str, ...]) -> tuple[list[tuple[str, str]], JournalReader]:
    reader = JournalReader(path, without=without)
    return [(e["event"], e.get("trial_id", "")) for e in reader], reader


def test_a_journal_that_is_whole_has_no_flaw(tmp_path: Path, without: tuple[str, ...]) -> None:
    path, _ = a_journal(tmp_path)
    _, reader = read(path, without)
    assert reader.flaws == ()


def test_trials_that_were_cut_out_are_a_gap_that_loses(
    tmp_path: Path, without: tuple[str, ...]
) -> None:
    path, lines = a_journal(tmp_path)
    path.write_bytes(b"".join(line for line in lines if not of_trial(line, 1)))
    _, reader = read(path, without)
    (flaw,) = reader.flaws
    assert flaw.loses
    assert flaw.device == "here"
    assert flaw.message == (
        "journal.jsonl:9: 4 lines of here (seq 6 to 9) got lost between line 7 and here; what was "
        "measured there may be missing"
    )


@pytest.mark.parametrize(
    ("event", "number", "loses"),
    [("planned", 1, False), ("finished", 1, True), ("device_done", None, None)],
)
def test_what_a_gap_loses_is_told_by_the_agents_numbers(
    tmp_path: Path, without: tuple[str, ...], event: str, number: int | None, loses: bool | None
) -> None:
    path, lines = a_journal(tmp_path)
    name = f'"event":"{event}"'.encode()
    path.write_bytes(
        b"".join(x for x in lines if name not in x or (number is not None and not of_trial(x, 1)))
    )
    _, reader = read(path, without)
    # that the last line is gone nothing tells
    assert [flaw.loses for flaw in reader.flaws] == ([] if loses is None else [loses])


def test_lines_that_were_fetched_again_close_a_gap(tmp_path: Path) -> None:
    path, lines = a_journal(tmp_path)
    lost = [line for line in lines if of_trial(line, 1)]
    path.write_bytes(b"".join(line for line in lines if line not in lost))
    with Journal(tmp_path) as journal:
        assert [flaw.loses for flaw in journal.flaws] == [True]
        for line in lost:
            fields = json.loads(line)
            more = {k: v for k, v in fields.items() if k in ("agent_seq", "trial_id")}
            journal.append("here", fields["event"], **more)
    assert [flaw.loses for flaw in read_journal(path).flaws] == [False]


def test_a_line_that_is_there_twice_counts_once(tmp_path: Path, without: tuple[str, ...]) -> None:
    path, lines = a_journal(tmp_path)
    whole, _ = read(path, without)
    (at,) = (n for n, line in enumerate(lines) if of_trial(line, 1) and b'"finished"' in line)
    path.write_bytes(b"".join([*lines[: at + 1], lines[at], *lines[at + 1 :]]))
    found, reader = read(path, without)
    assert found == whole
    (flaw,) = reader.flaws
    assert not flaw.loses
    assert f"journal.jsonl:{at + 2}: the same line as line {at + 1}" in flaw.message


def test_two_lines_with_one_number_are_not_to_be_believed(
    tmp_path: Path, without: tuple[str, ...]
) -> None:
    path, lines = a_journal(tmp_path)
    (at,) = (n for n, line in enumerate(lines) if of_trial(line, 1) and b'"finished"' in line)
    lines.insert(at + 1, lines[at].replace(b"finished", b"finishee"))
    path.write_bytes(b"".join(lines))
    _, reader = read(path, without)
    (flaw,) = reader.flaws
    assert flaw.loses
    assert f"with the number of line {at + 1}" in flaw.message


def test_a_line_that_stands_elsewhere_is_said(tmp_path: Path, without: tuple[str, ...]) -> None:
    path, lines = a_journal(tmp_path)
    whole, _ = read(path, without)
    lines.append(lines.pop(3))
    path.write_bytes(b"".join(lines))
    found, reader = read(path, without)
    assert sorted(found) == sorted(whole)
    assert reader.flaws
    assert not any(flaw.loses for flaw in reader.flaws)


@pytest.mark.parametrize("first", range(4, 8))
def test_lines_that_are_glued_together_are_both_read(
    tmp_path: Path, without: tuple[str, ...], first: int
) -> None:
    path, lines = a_journal(tmp_path)
    whole, _ = read(path, without)
    path.write_bytes(b"".join([*lines[:first], lines[first].rstrip(b"\n"), *lines[first + 1 :]]))
    found, reader = read(path, without)
    assert found == whole
    (flaw,) = reader.flaws
    assert not flaw.loses
    assert flaw.message.startswith(f"journal.jsonl:{first + 1}: several lines are glued together")


def test_half_a_line_before_a_whole_one_loses_what_it_held(
    tmp_path: Path, without: tuple[str, ...]
) -> None:
    path, lines = a_journal(tmp_path)
    (at,) = (n for n, line in enumerate(lines) if of_trial(line, 1) and b'"finished"' in line)
    path.write_bytes(b"".join([*lines[:at], lines[at][:60], *lines[at + 1 :]]))
    found, reader = read(path, without)
    assert ("finished", "t1") not in found
    assert ("planned", "t2") in found
    assert [flaw.loses for flaw in reader.flaws] == [False, True]
    assert "glued to a whole one" in reader.flaws[0].message
