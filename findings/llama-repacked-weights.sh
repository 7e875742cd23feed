#!/usr/bin/env bash
# llama.cpp keeps the weights of a q4_0 file twice: mapped, and repacked into memory of its own.
#
# Versions   xllamacpp 2026.10.11549 (x86-64, AVX2), gguf 0.19.0, libgguf 0.2.2, numpy 2.4.6;
#            CPython 3.11
# Behaviour  While a model is loaded, matrices of q4_0 are copied into an order that the CPU's kernels
#            like better (REPACK), into memory that is the process's own. The file stays mapped, and
#            its pages resident. Matrices of q8_0 are computed with where they are mapped. So the
#            file of half the size takes more memory, of a kind that the kernel cannot let go of: of
#            SmolLM2-135M q4_0 has 121 MB of its own and 98 MB mapped, q8_0 46 MB and 165 MB.
# Seen       q8_0: 55 MB in the file, less than 10 MB of its own for the weights
#            q4_0: 29 MB in the file, more than 20 MB of its own for the weights
#
# A llama of one layer with random weights is made, loaded, and its growth of RssAnon is told.
# Needs Linux and 500 MB of room in TMPDIR: findings/llama-repacked-weights.sh [PYTHON]. Fails where
# the behaviour is another one.
set -euo pipefail

python=${1:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    xllamacpp==2026.10.11549 gguf==0.19.0 libgguf==0.2.2 numpy==2.4.6
cd "$folder"

cat > make.py <<'PYTHON'
"""Writes q8_0.gguf and q4_0.gguf: one layer of random weights, 50 million of them."""
import gguf
import libgguf
import numpy as np

WIDTH, HIDDEN, VOCABULARY = 2048, 5632, 256
SHAPES = {
    "token_embd": (VOCABULARY, WIDTH),
    **{f"blk.0.attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")},
    "blk.0.ffn_gate": (HIDDEN, WIDTH),
    "blk.0.ffn_up": (HIDDEN, WIDTH),
    "blk.0.ffn_down": (WIDTH, HIDDEN),
}
for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(f"{kind.name.lower()}.gguf", "llama")
    for add, value in (
        (writer.add_context_length, 512), (writer.add_embedding_length, WIDTH),
        (writer.add_block_count, 1), (writer.add_feed_forward_length, HIDDEN),
        (writer.add_head_count, 16), (writer.add_head_count_kv, 16),
        (writer.add_layer_norm_rms_eps, 1e-5), (writer.add_vocab_size, VOCABULARY),
        (writer.add_tokenizer_model, "no_vocab"),
    ):
        add(value)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    for name, shape in SHAPES.items():
        values = random.normal(0, 0.02, shape).astype(np.float32)
        rows = np.ascontiguousarray(libgguf.quantize_rows(values, int(kind)))
        rows = rows.view(np.uint8).reshape(len(values), -1)
        writer.add_tensor(f"{name}.weight", rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
PYTHON

cat > load.py <<'PYTHON'
"""Prints by how much the process's own memory grew while a file was loaded."""
import ctypes
import os
import sys

import xllamacpp

class Options(ctypes.Structure):
    _fields_ = [("numbers", ctypes.c_uint32 * 256)]

def own():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

library = ctypes.CDLL(sys.modules["xllamacpp.xllamacpp"].__file__)
quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
library.llama_log_set(quiet, None)
library.llama_backend_init()
library.llama_model_default_params.restype = Options
library.llama_model_load_from_file.restype = ctypes.c_void_p
library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Options]
name = sys.argv[1]
before = own()
assert library.llama_model_load_from_file(f"{name}.gguf".encode(), library.llama_model_default_params())
grown, size = own() - before, os.path.getsize(f"{name}.gguf")
words = "less than 10" if grown < 10e6 else "more than 20" if grown > 20e6 else f"{grown / 1e6:.0f}"
print(f"{name}: {size / 1e6:.0f} MB in the file, {words} MB of its own for the weights")
PYTHON

venv/bin/python make.py
for name in q8_0 q4_0; do
    venv/bin/python load.py "$name"
done | tee seen.txt
cat > expected.txt <<'EXPECTED'
q8_0: 55 MB in the file, less than 10 MB of its own for the weights
q4_0: 29 MB in the file, more than 20 MB of its own for the weights
EXPECTED
if ! diff expected.txt seen.txt; then
    echo "not what was seen before (<); above is what is seen now (>)" >&2
    exit 1
fi
echo "as described"
