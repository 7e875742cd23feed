"""A ``.pt`` file is read and never run: real ones as torch writes them, and hostile ones."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.torch.file import inspect_torch
from orchestrator.frameworks.torch.files import TorchFile
from orchestrator.frameworks.torch.pickles import MAX_OPCODES, PickleError, scan

_MAKE = """
import sys, torch
from torch.ao.quantization import get_default_qconfig_mapping, quantize_dynamic, quantize_fx
folder = sys.argv[1]
nn = torch.nn
model = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
).eval()
image = torch.zeros(1, 3, 16, 16)
torch.jit.script(model).save(folder + "/script.pt")
torch.jit.trace(model, image).save(folder + "/trace.pt")
torch.save(model.state_dict(), folder + "/state.pt")
torch.save(model.state_dict(), folder + "/old_state.pt", _use_new_zipfile_serialization=False)
torch.save({"model": model.state_dict(), "epoch": 3}, folder + "/checkpoint.pt")
torch.save(model, folder + "/module.pt")
torch.save(model, folder + "/old_module.pt", _use_new_zipfile_serialization=False)
dynamic = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
torch.jit.script(dynamic).save(folder + "/dynamic.pt")
prepared = quantize_fx.prepare_fx(model, get_default_qconfig_mapping("x86"), (image,))
prepared(torch.rand(1, 3, 16, 16))
torch.jit.script(quantize_fx.convert_fx(prepared)).save(folder + "/static.pt")
torch.jit.script(model.half()).save(folder + "/half.pt")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What torch writes, written by it in a process of its own."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("torch")
    for _ in range(3):
        argv = [sys.executable, "-W", "ignore", "-c", _MAKE, str(folder)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        # Scripting knows builtin functions by id(): rarely, an attribute lies where one was that is
        # gone, and is taken for it. Another process has other addresses.
        if "builtin cannot be used as a value" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "scheme"),
    [
        ("script", "torchscript", "float32"),
        ("trace", "torchscript", "float32"),
        ("half", "torchscript", "float16"),
        ("dynamic", "torchscript", "dynamic_int8"),
        ("static", "torchscript", "static_int8"),
        ("state", "state_dict", "float32"),
        ("old_state", "state_dict", "float32"),
        ("checkpoint", "state_dict", "float32"),
    ],
)
def test_what_torch_writes_is_told_apart(
    written: Path, tmp_path: Path, name: str, kind: str, scheme: str
) -> None:
    nameless = tmp_path / "model"
    nameless.write_bytes((written / f"{name}.pt").read_bytes())
    file = inspect_any(nameless)
    assert isinstance(file, TorchFile)
    found = file.contents
    assert (found.kind, found.scheme) == (kind, scheme)
    assert found.quantized == scheme.endswith("_int8")
    if scheme.startswith("float"):
        assert found.parameters == 3 * 3 * 3 * 8 + 8 + 8 * 10 + 10


@pytest.mark.parametrize("name", ["module", "old_module"])
def test_a_pickled_module_is_refused_with_what_it_would_run(written: Path, name: str) -> None:
    with pytest.raises(ModelBuildError, match=r"would run code .*Sequential.*nothing was run"):
        inspect_any(written / f"{name}.pt")


def test_a_real_archive_cut_or_changed_is_refused_or_read(written: Path, tmp_path: Path) -> None:
    whole = (written / "static.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelBuildError, match=r"cut\.pt"):
            inspect_any(path)
    for place in range(0, len(whole), max(1, len(whole) // 400)):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        _survives(path, bytes(changed))


# -- hostile --------------------------------------------------------------------------------------


class _Bomb:
    """Unpickling it makes a file: the proof that somebody did."""

    def __init__(self, proof: Path) -> None:
        self._proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self._proof}",))


def _archive(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _survives(path: Path, data: bytes) -> None:
    """Read it or refuse it."""
    path.write_bytes(data)
    try:
        inspect_torch(path)
    except ModelBuildError as exc:
        assert str(path) in str(exc)


def _refused(tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    with pytest.raises(ModelBuildError, match=match):
        inspect_torch(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_that_runs_code_runs_none(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "proof"
    bomb = pickle.dumps({"weights": _Bomb(proof)}, protocol)
    for data in (bomb, _archive({"m/data.pkl": bomb})):
        _refused(tmp_path, data, r"would run code that it names: (posix|nt)\.system")
    script = {"m/data.pkl": bomb, "m/constants.pkl": b"\x80\x02).", "m/code/a.py": b""}
    _refused(tmp_path, _archive(script), r"posix\.system")
    assert not proof.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"(S'touch proof'\nios\nsystem\n.",  # INST
        b"\x80\x02(cos\nsystem\nX\x01\x00\x00\x00ao.",  # OBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93.",  # names from the memo
        b"\x80\x02cbuiltins\neval\n.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n0ctorch.hub\nload\n.",
    ],
)
def test_every_way_to_import_is_seen(tmp_path: Path, opcodes: bytes) -> None:
    _refused(tmp_path, _archive({"m/data.pkl": opcodes}), "would run code that it names")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../data.pkl", "outside the archive"),
        ("/etc/data.pkl", "outside the archive"),
        ("m/../../data.pkl", "outside the archive"),
        ("m\\..\\data.pkl", "outside the archive|in no folder"),
        ("data.pkl", "in no folder"),
        ("n/data.pkl", "top folders"),
    ],
)
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str, match: str) -> None:
    _refused(tmp_path, _archive({name: b"N.", "m/version": b"3"}), match)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    zeros = _archive({"m/data.pkl": b"\0" * 80_000_000}, zipfile.ZIP_DEFLATED)
    assert len(zeros) < 1_000_000
    _refused(tmp_path, zeros, "unpacks to more than 8 MB")
    code = {"m/data.pkl": b"\x80\x02).", "m/constants.pkl": b"\x80\x02)."}
    code |= {f"m/code/{n}.py": b" " * 7_000_000 for n in range(3)}
    _refused(tmp_path, _archive(code, zipfile.ZIP_DEFLATED), "unpacks to more than")


def test_headers_that_claim_gigabytes_allocate_none(tmp_path: Path) -> None:
    good = bytearray(_archive({"m/data.pkl": b"\x80\x02)."}))
    directory = good.index(b"PK\x01\x02")
    good[directory + 20 : directory + 28] = struct.pack("<II", 0xFFFFFFFE, 0xFFFFFFFE)
    _survives(tmp_path / "model.pt", bytes(good))
    end = good.index(b"PK\x05\x06")
    good[end + 12 : end + 16] = struct.pack("<I", 0xFFFFFFFE)
    _refused(tmp_path, bytes(good), "its directory has 4294967294 bytes")
    for claim in (
        b"\x80\x04\x8e" + b"\xff" * 8,
        b"\x80\x02X\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\x7f",
    ):
        _refused(tmp_path, _archive({"m/data.pkl": claim}), "model.pt")


def test_a_pickle_without_end_is_bounded() -> None:
    with pytest.raises(PickleError, match="opcodes"):
        scan(b"\x80\x02" + b"N0" * MAX_OPCODES + b".")
    nested = b"\x80\x02)" + b"\x85" * (MAX_OPCODES // 2) + b"."  # a tuple in a tuple in a tuple …
    assert scan(nested).imports == ()


def test_references_to_storages_that_are_not_there_are_refused(tmp_path: Path) -> None:
    reference = (
        b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpuK\x04tQ."
    )
    _refused(tmp_path, _archive({"m/data.pkl": reference}), "storage '0' is not in the archive")
    path = tmp_path / "model.pt"
    path.write_bytes(_archive({"m/data.pkl": reference, "m/data/0": b"\0" * 16}))
    assert inspect_torch(path).parameters == 4


_OPCODES = [bytes([n]) for n in range(256)] + [
    b"ctorch\nFloatStorage\n",
    b"q\0",
    b"K\1",
    b"X\1\0\0\0a",
]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.lists(st.sampled_from(_OPCODES)).map(b"".join)))
def test_any_bytes_are_scanned_or_refused(data: bytes) -> None:
    with contextlib.suppress(PickleError):
        scan(data)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    names=st.lists(st.text(max_size=20), max_size=4),
    data=st.binary(max_size=200),
    cut=st.integers(0, 400),
)
def test_any_archive_is_read_or_refused(
    tmp_path: Path, names: list[str], data: bytes, cut: int
) -> None:
    members = {name: data for name in names if name and "\0" not in name}
    try:
        archive = _archive({**members, "m/data.pkl": data})
    except (ValueError, UnicodeError):  # a name that zipfile itself cannot write
        return
    _survives(tmp_path / "any.pt", archive)
    _survives(tmp_path / "any.pt", archive[:cut] + data + archive[cut:])
