"""The reader of GGUF files, and what it remarks on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.feeding import Asked, FeedingError
from orchestrator.frameworks.files import Description, FileReader, InspectedFile, Table
from orchestrator.frameworks.llm.about import FRAMEWORK
from orchestrator.frameworks.llm.gguf import MAGIC
from orchestrator.frameworks.llm.inspect import GgufInspection, inspect_gguf
from orchestrator.frameworks.llm.types import MIXES, TYPES, type_of_mix
from orchestrator.measurement import Finding
from orchestrator.printable import printable
from orchestrator.trial import InputSpec

#: A name stands for what at least half of the weights' bytes are.
_ENOUGH = 0.5
#: Longer names first: ``q4_k_m`` is not ``q4_k``.
_NAMES = sorted({*MIXES.values(), *(each.name for each in TYPES.values())}, key=len, reverse=True)
_NAMED = re.compile(rf"(?<![a-z0-9])({'|'.join(_NAMES)})(?![a-z0-9])")


@dataclass(frozen=True)
class GgufFile(InspectedFile[GgufInspection]):
    """A GGUF file; see :class:`orchestrator.frameworks.files.InspectedFile`."""

    framework = FRAMEWORK
    kind = "a GGUF file"

    def describe(self) -> Description:
        return _described(self.contents)

    def feed(self, asked: Asked) -> tuple[InputSpec, ...]:
        if asked.inputs:
            raise FeedingError("is a language model, which is fed tokens; delete `input`")
        return ()

    def may_be_called(self, words: str) -> bool:
        """Whether llama.cpp's quantizer calls such a file so: a mix keeps some tensors in other
        types, of which :meth:`remarks` tells."""
        return _named(words) == self.contents.mix

    def remarks(self, words: str) -> tuple[Finding, ...]:
        return tuple(_remarks(self.contents, words))


def _named(words: str) -> str | None:
    found = _NAMED.search(re.sub(r"[.-]", "_", words.lower()))
    return found and found[1]


def _remarks(found: GgufInspection, words: str) -> Iterator[Finding]:
    named = _named(words)
    if named is not None and found.share_of(type_of_mix(named)) < _ENOUGH:
        largest, share = found.weight_shares[0]
        yield Finding(
            "scheme_not_as_named",
            f"of what is called {named} {found.share_of(type_of_mix(named)):.0%} of the weights' "
            f"bytes are {type_of_mix(named)}; {share:.0%} are {largest}, and a weight takes "
            f"{found.bits_per_weight:.2f} bits",
            "read its figures as those of what it holds (`orchestrate models inspect`); rows that "
            "a type's blocks do not divide are stored in another one",
        )
    if found.requantized_from is not None:
        yield Finding(
            "requantized",
            f"the file was made of weights that were {printable(found.requantized_from)} already: "
            f"what those had lost it lacks, too",
            "make it of the weights as they were trained, where they can be had",
        )


def _described(found: GgufInspection) -> Description:
    mix = "" if found.mix in (None, found.scheme) else f"; called {found.mix} by its quantizer"
    lines = [
        f"kind         GGUF version {found.version}, architecture {printable(found.architecture)}",
        f"scheme       {found.scheme}{mix}",
        f"size         {found.size_bytes / 1e6:.3f} MB, SHA-256 {found.sha256}",
        f"parameters   {found.parameters:,}, {found.bits_per_weight:.2f} bits a weight",
        f"layers       {_told(found.layers)}, of width {_told(found.embedding_length)}",
        f"context      {_told(found.context_length)} tokens, as trained",
        f"tokenizer    {printable(found.tokenizer or 'not told')}, "
        f"{_told(found.vocabulary)} tokens",
        *(f"{what:<12} {printable(said)}" for what, said in found.origins),
    ]
    stored = [
        (each.dtype, str(each.tensors), f"{each.elements:,}", f"{each.share:.1%}")
        for each in found.stored
    ]
    tables: list[Table] = [(("type", "tensors", "values", "of the bytes"), stored)]
    return Description(lines, tables)


def _told(count: int | None) -> str:
    return "not told" if count is None else f"{count:,}"


def _inspect(path: Path, signature: str | None) -> GgufFile:
    if signature is not None:
        raise ModelBuildError(f"{path}: is a GGUF file, and has no signatures")
    return GgufFile(inspect_gguf(path))


def _built_scheme(path: Path, scheme: str, no_op: bool) -> str:
    return inspect_gguf(path).scheme


FILES = FileReader(
    recognises=lambda head: head[:4] == MAGIC, inspect=_inspect, built_scheme=_built_scheme
)
