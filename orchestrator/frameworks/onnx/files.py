"""The reader of ``.onnx`` files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.feeding import Asked
from orchestrator.frameworks.files import Description, FileReader, InspectedFile
from orchestrator.frameworks.onnx import feeding
from orchestrator.frameworks.onnx.about import FRAMEWORK
from orchestrator.frameworks.onnx.describe import describe
from orchestrator.frameworks.onnx.inspect import Inspection, inspect_file
from orchestrator.frameworks.onnx.schemes import OPERATORS
from orchestrator.trial import InputSpec

#: IR version, then the producer, the graph or the operators' version: no other field comes first in
#: real files, and nothing else marks one.
_HEAD = re.compile(rb"\x08[\x01-\x1f](\x12[\x00-\x7f][\x20-\x7e]|\x12\x00|\x3a|\x42)", re.S)
#: Schemes that types alone do not tell from another one, but how it is written does.
_WRITTEN = {("static_int8", OPERATORS): "static_int8_qoperator"}


@dataclass(frozen=True)
class OnnxFile(InspectedFile[Inspection]):
    """An ``.onnx`` file; see :class:`orchestrator.frameworks.files.InspectedFile`."""

    framework = FRAMEWORK
    kind = "an ONNX file"

    def describe(self) -> Description:
        return describe(self.contents)

    def feed(self, asked: Asked) -> tuple[InputSpec, ...]:
        return feeding.feed(self.contents, asked)

    @property
    def export(self) -> str | None:
        return self.contents.export

    def unmeasurable(self) -> str | None:
        others = ", ".join(self.contents.external_files)
        if not others:
            return None
        return (
            f"keeps weights in another file ({others}), which a run does not push; export it as "
            f"one file (`external_data=False`)"
        )


def _inspect(path: Path, signature: str | None) -> OnnxFile:
    if signature is not None:
        raise ModelBuildError(f"{path}: is an .onnx file, and has no signatures")
    return OnnxFile(inspect_file(path))


def built_scheme(found: Inspection) -> str:
    """Name the scheme that a file was built as."""
    return _WRITTEN.get((found.scheme, found.form or ""), found.scheme)


def _built_scheme(path: Path, scheme: str, no_op: bool) -> str:
    found = inspect_file(path)
    if no_op:
        return scheme if found.scheme == FRAMEWORK.scheme_names[0] else found.scheme
    return built_scheme(found)


FILES = FileReader(
    recognises=lambda head: _HEAD.match(head) is not None,
    inspect=_inspect,
    built_scheme=_built_scheme,
)
