"""The reader of PyTorch's files, and what is near to being one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.about import CALIBRATIONS
from orchestrator.frameworks.feeding import Asked
from orchestrator.frameworks.files import EXPORT, Description, FileReader, InspectedFile, Table
from orchestrator.frameworks.torch import feeding
from orchestrator.frameworks.torch.about import FRAMEWORK
from orchestrator.frameworks.torch.file import TorchInspection, inspect_torch
from orchestrator.printable import printable
from orchestrator.trial import InputSpec

#: The file of a quantized PyTorch model does not tell whether it was trained so, nor how it was
#: calibrated.
_ALIKE = {
    "qat_int8": "static_int8",
    **{f"static_int8_{how}": "static_int8" for how in CALIBRATIONS},
}


@dataclass(frozen=True)
class TorchFile(InspectedFile[TorchInspection]):
    """A PyTorch file; see :class:`orchestrator.frameworks.files.InspectedFile`."""

    framework = FRAMEWORK
    kind = "a PyTorch file"

    def describe(self) -> Description:
        return _described(self.contents)

    def feed(self, asked: Asked) -> tuple[InputSpec, ...]:
        return feeding.feed(self.contents, asked)

    def unmeasurable(self) -> str | None:
        if self.contents.kind == "torchscript":
            return None
        return (
            "is a state_dict: weights without a network; export the model with torch.jit.script or "
            "torch.jit.trace"
        )


def _inspect(path: Path, signature: str | None) -> TorchFile:
    if signature is not None:
        raise ModelBuildError(f"{path}: is not a .tflite file, and has no signatures")
    return TorchFile(inspect_torch(path))


def _built_scheme(path: Path, scheme: str, no_op: bool) -> str:
    """What its bytes show, and the note that its builder left where they do not tell."""
    found = inspect_torch(path)
    if no_op:
        return scheme if found.scheme == "float32" else found.scheme
    if found.scheme != _ALIKE.get(scheme, scheme):
        return found.scheme
    return found.noted_scheme or scheme


def _described(found: TorchInspection) -> Description:
    kind = {
        "torchscript": "TorchScript archive",
        "state_dict": "state_dict: weights without a network, loaded with weights_only=True",
    }[found.kind]
    lines = [
        f"kind         {kind}",
        f"scheme       {_scheme(found)}",
        f"size         {found.size_bytes / 1e6:.3f} MB, SHA-256 {found.sha256}",
        f"parameters   {found.parameters:,}, buffers included",
    ]
    if found.input_shape is not None:
        lines.append(f"input        {['batch', *found.input_shape]}, by a note in the file")
    stored = [(s.dtype, str(s.storages), f"{s.elements:,}") for s in found.stored]
    tables: list[Table] = [(("type", "tensors", "values"), stored)]
    if found.operators:
        calls = [(name, str(count)) for name, count in found.operators]
        tables.append((("called in its code", "times"), calls))
    return Description(lines, tables)


def _scheme(found: TorchInspection) -> str:
    """Name the scheme as the content shows it, and what its builder noted, where that is more."""
    shown = found.scheme if found.quantized else f"{found.scheme}, not quantized"
    if found.noted_scheme in (None, found.scheme):
        return shown
    return f"{shown}; built as {printable(found.noted_scheme)}, by a note in the file"


def _exported_program(members: Sequence[PurePosixPath]) -> str | None:
    tails = {"/".join(path.parts[1:]) for path in members}
    exported = "models/model.json" in tails or "serialized_exported_program.json" in tails
    if "data.pkl" in tails or not (exported or "archive_format" in tails):
        return None
    return (
        "is an archive of torch.export (.pt2), which `runner: torch` does not load; write "
        "TorchScript instead: `torch.jit.trace(torch.export.load(FILE).module(), example).save(…)`"
    )


FILES = FileReader(
    # a zip archive, a binary pickle
    recognises=lambda head: head[:2] == b"PK" or head[:1] == b"\x80",
    inspect=_inspect,
    built_scheme=_built_scheme,
    foreign_marks=((4, b"ET12", "is an ExecuTorch program; no runner here runs it" + EXPORT),),
    foreign_archive=_exported_program,
)
