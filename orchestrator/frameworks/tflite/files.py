"""The reader of ``.tflite`` files, and what is near to being one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.frameworks.feeding import Asked
from orchestrator.frameworks.files import Description, FileReader, InspectedFile
from orchestrator.frameworks.tflite import feeding
from orchestrator.frameworks.tflite.about import FRAMEWORK
from orchestrator.frameworks.tflite.describe import describe
from orchestrator.frameworks.tflite.inspect import Inspection, inspect_file, scheme_of
from orchestrator.trial import InputSpec

_MOST_NAMES = 3
_LITERTLM = (
    "is a LiteRT-LM bundle, a language model with its tokenizer for LiteRT-LM's own engine; no "
    "runner here runs it. Take the .tflite files out of it (litert-lm-builder)"
)


@dataclass(frozen=True)
class TfliteFile(InspectedFile[Inspection]):
    """A ``.tflite`` file; see :class:`orchestrator.frameworks.files.InspectedFile`."""

    framework = FRAMEWORK
    kind = "a .tflite file"

    def describe(self) -> Description:
        return describe(self.contents)

    def feed(self, asked: Asked) -> tuple[InputSpec, ...]:
        return feeding.feed(self.contents, asked)

    @property
    def default_signature(self) -> str | None:
        return self.contents.default_signature

    @property
    def export(self) -> str | None:
        return self.contents.export

    def unmeasurable(self) -> str | None:
        others = ", ".join(self.contents.external_files)
        if not others:
            return None
        return (
            f"keeps weights in another file ({others}), which a run does not push; export it as "
            f"one file"
        )

    def is_repacked(self, other: InspectedFile[Any]) -> bool:
        """Whether the other holds the same content: a quantizer that has nothing for a recipe
        writes the network as it was."""
        mine, theirs = self.contents, other.contents
        if not isinstance(theirs, Inspection) or mine.sha256 == theirs.sha256:
            return False
        return mine.content is not None and mine.content == theirs.content

    def may_be_called(self, words: str) -> bool:
        """``foo_uint8`` is also what people call a network of int8 that is fed with uint8."""
        if "uint8" not in words.lower():
            return False
        fed = {tensor.dtype for tensor in (*self.contents.inputs, *self.contents.outputs)}
        return "uint8" in fed and self.contents.scheme in ("full_int8", "mixed")


def _bundle_of_models(members: Sequence[PurePosixPath]) -> str | None:
    models = [str(path) for path in members if path.suffix in (".tflite", ".task")]
    if not models:
        return None
    more = len(models) - _MOST_NAMES
    return (
        f"is a bundle of models, as MediaPipe's .task files are, with "
        f"{', '.join(models[:_MOST_NAMES])}"
        + (f" and {more} more" if more > 0 else "")
        + " in it; unpack it and take the .tflite file: `unzip FILE`"
    )


def _built_scheme(path: Path, scheme: str, no_op: bool) -> str:
    return scheme_of(path)


FILES = FileReader(
    recognises=lambda head: head[4:8] == b"TFL3",
    inspect=lambda path, signature: TfliteFile(inspect_file(path, signature)),
    built_scheme=_built_scheme,
    foreign_marks=((0, b"LITERTLM", _LITERTLM),),
    foreign_archive=_bundle_of_models,
)
