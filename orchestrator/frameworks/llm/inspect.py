"""What a GGUF file says of its model: architecture, parameters, types, context, tokenizer."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.artifacts.files import sha256_of
from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.files import opened
from orchestrator.frameworks.llm.gguf import Gguf, GgufError, Listed, Tensor, read_gguf
from orchestrator.frameworks.llm.types import MIXES, TYPES

#: What our builder writes into a file that it makes of an already quantized one.
REQUANTIZED_FROM = "orchestrate.requantized_from"
#: What a file may say of where it is from, in the order in which it is told.
_ORIGINS = (
    ("general.name", "name"),
    ("general.quantized_by", "quantized by"),
    ("general.base_model.0.name", "base model"),
    ("general.source.url", "source"),
    ("general.source.huggingface.repository", "source"),
    ("quantize.imatrix.file", "importance matrix"),
    ("quantize.imatrix.dataset", "importance matrix of"),
    (REQUANTIZED_FROM, "requantized from"),
)
_TOKENS = "tokenizer.ggml.tokens"


@dataclass(frozen=True)
class StoredType:
    """How many tensors and values are stored in one type, and their share of all values' bytes."""

    dtype: str
    tensors: int
    elements: int
    size_bytes: int
    share: float


@dataclass(frozen=True)
class GgufInspection:
    """What a GGUF file holds.

    ``scheme`` is the type that holds most of the weights' bytes, weights being tensors of two
    dimensions or more. ``mix`` is what llama.cpp's quantizer calls such a file by its own note,
    None where there is no note. ``bits_per_weight`` counts scales, over the weights alone.
    ``origins`` is what the file says of where it is from, pairs of what and where.
    ``requantized_from`` is the type that the weights had before, where the file says so.
    """

    architecture: str
    scheme: str
    mix: str | None
    parameters: int
    bits_per_weight: float
    stored: tuple[StoredType, ...]
    weight_shares: tuple[tuple[str, float], ...]
    context_length: int | None
    embedding_length: int | None
    layers: int | None
    tokenizer: str | None
    vocabulary: int | None
    origins: tuple[tuple[str, str], ...]
    requantized_from: str | None
    version: int
    size_bytes: int
    sha256: str

    @property
    def quantized(self) -> bool:
        """Whether most of the weights are."""
        return any(each.quantized for each in TYPES.values() if each.name == self.scheme)

    def share_of(self, dtype: str) -> float:
        """Return the share of the weights' bytes that is stored in a type."""
        return dict(self.weight_shares).get(dtype, 0.0)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect_gguf(path: Path) -> GgufInspection:
    """Read a file and say what it holds. Raises ModelBuildError, whatever the bytes are."""
    with opened(path) as data:
        try:
            found = read_gguf(data)
            _check_model(found)
        except GgufError as exc:
            raise ModelBuildError(f"{path}: {exc}") from exc
        size_bytes = len(data)
    architecture = found.text("general.architecture") or ""
    weights = [each for each in found.tensors if len(each.shape) > 1]
    shares = _shares(weights)
    elements = sum(each.elements for each in weights)
    tokens, noted = found.metadata.get(_TOKENS), found.integer("general.file_type")
    return GgufInspection(
        architecture=architecture,
        scheme=shares[0][0],
        mix=MIXES.get(-1 if noted is None else noted),
        parameters=sum(each.elements for each in found.tensors),
        bits_per_weight=round(8 * sum(each.size_bytes for each in weights) / elements, 4),
        stored=_stored(found),
        weight_shares=shares,
        context_length=found.integer(f"{architecture}.context_length"),
        embedding_length=found.integer(f"{architecture}.embedding_length"),
        layers=found.integer(f"{architecture}.block_count"),
        tokenizer=found.text("tokenizer.ggml.model"),
        vocabulary=tokens.length if isinstance(tokens, Listed) else None,
        origins=tuple(
            (what, said[:200]) for key, what in _ORIGINS if (said := found.text(key)) is not None
        ),
        requantized_from=found.text(REQUANTIZED_FROM),
        version=found.version,
        size_bytes=size_bytes,
        sha256=sha256_of(path),
    )


def _check_model(found: Gguf) -> None:
    if not found.text("general.architecture"):
        raise GgufError(
            "does not say of which architecture its model is; it is not a language model"
        )
    if not any(len(each.shape) > 1 for each in found.tensors):
        raise GgufError(
            "holds no weights: a vocabulary alone, or the first part of a model that is split into "
            "several files; join them (llama.cpp's `llama-gguf-split --merge`)"
        )
    count = found.integer("split.count")
    if count is not None and count > 1:
        raise GgufError(
            f"is one of {count} parts of a model; join them (llama.cpp's `llama-gguf-split --merge "
            f"FIRST OUT`)"
        )


def _shares(weights: list[Tensor]) -> tuple[tuple[str, float], ...]:
    """Types by their share of the weights' bytes, the largest first."""
    sizes: Counter[str] = Counter()
    for each in weights:
        sizes[each.type.name] += each.size_bytes
    whole = sum(sizes.values())
    return tuple((name, size / whole) for name, size in sizes.most_common())


def _stored(found: Gguf) -> tuple[StoredType, ...]:
    sizes: Counter[str] = Counter()
    for each in found.tensors:
        sizes[each.type.name] += each.size_bytes
    whole = sum(sizes.values())
    return tuple(
        StoredType(
            name,
            sum(each.type.name == name for each in found.tensors),
            sum(each.elements for each in found.tensors if each.type.name == name),
            size,
            size / whole,
        )
        for name, size in sizes.most_common()
    )
