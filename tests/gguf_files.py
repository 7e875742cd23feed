"""GGUF files, made byte by byte: a llama of two layers with random weights, and whatever is wrong.

No library is needed for them; llama.cpp loads the whole ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

FLOAT32, FLOAT16, Q8_0 = 0, 1, 8
NUMBERS = {"float32": FLOAT32, "float16": FLOAT16, "q8_0": Q8_0}
WIDTH, HIDDEN, VOCABULARY, LAYERS, CONTEXT = 128, 256, 512, 2, 512

METADATA: Mapping[str, Any] = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "general.file_type": 1,
    "llama.context_length": CONTEXT,
    "llama.embedding_length": WIDTH,
    "llama.block_count": LAYERS,
    "llama.feed_forward_length": HIDDEN,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 4,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.dimension_count": WIDTH // 4,
    "llama.vocab_size": VOCABULARY,
    "tokenizer.ggml.model": "no_vocab",
}

Stored = tuple[str, tuple[int, ...], int, bytes]


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(of: Any) -> bytes:
    """A value with its type in front."""
    if isinstance(of, str):
        return struct.pack("<I", 8) + text(of)
    if isinstance(of, float):
        return struct.pack("<If", 6, of)
    if isinstance(of, list):
        return struct.pack("<IIQ", 9, 8, len(of)) + b"".join(map(text, of))
    return struct.pack("<II", 4, of)


def gguf(metadata: Mapping[str, Any], tensors: Sequence[Stored], *, version: int = 3) -> bytes:
    """A file of these; ``metadata`` may hold ready bytes, its type in front."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for name, each in metadata.items():
        head += text(name) + (each if isinstance(each, bytes) else value(each))
    offset, body = 0, b""
    for name, shape, kind, data in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        padded = data + b"\0" * (-len(data) % 32)
        body, offset = body + padded, offset + len(padded)
    return head + b"\0" * (-len(head) % 32) + body


def stored(values: npt.NDArray[np.float32], kind: int) -> bytes:
    """Values as a type stores them; ``q8_0``: blocks of 32, a scale each."""
    if kind == FLOAT32:
        return values.astype("<f4").tobytes()
    if kind == FLOAT16:
        return values.astype("<f2").tobytes()
    blocks = values.reshape(-1, 32)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
    whole = np.round(blocks / np.where(scales == 0, 1, scales)).astype(np.int8)
    rows = zip(scales.astype("<f2"), whole, strict=True)
    return b"".join(scale.tobytes() + row.tobytes() for scale, row in rows)


def llama_tensors(kind: int, seed: int = 0) -> Iterator[Stored]:
    random = np.random.default_rng(seed)

    def weights(name: str, rows: int, width: int) -> Stored:
        values = random.normal(0, width**-0.5, (rows, width)).astype(np.float32)
        return f"{name}.weight", (width, rows), kind, stored(values, kind)

    def norm(name: str) -> Stored:
        return f"{name}.weight", (WIDTH,), FLOAT32, stored(np.ones(WIDTH, np.float32), FLOAT32)

    yield weights("token_embd", VOCABULARY, WIDTH)
    yield norm("output_norm")
    yield weights("output", VOCABULARY, WIDTH)
    for layer in range(LAYERS):
        yield norm(f"blk.{layer}.attn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield weights(f"blk.{layer}.{part}", WIDTH, WIDTH)
        yield norm(f"blk.{layer}.ffn_norm")
        yield weights(f"blk.{layer}.ffn_gate", HIDDEN, WIDTH)
        yield weights(f"blk.{layer}.ffn_up", HIDDEN, WIDTH)
        yield weights(f"blk.{layer}.ffn_down", WIDTH, HIDDEN)


def tiny_llama(
    path: Path, scheme: str, more: Mapping[str, Any] = MappingProxyType({}), *, seed: int = 0
) -> Path:
    """A model of 460 000 parameters whose weights are in a scheme of ``NUMBERS``; ``more`` is
    metadata."""
    types = {"float32": 0, "float16": 1, "q8_0": 7}
    noted = {**METADATA, "general.file_type": types[scheme], **more}
    path.write_bytes(gguf(noted, list(llama_tensors(NUMBERS[scheme], seed))))
    return path
