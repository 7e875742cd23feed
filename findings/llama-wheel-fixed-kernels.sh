#!/usr/bin/env bash
# The wheel of xllamacpp 2026.10.11549 has llama.cpp's kernels for AVX2, and asks no CPU.
#
# Versions   xllamacpp 2026.10.11549 (manylinux2014, x86-64); CPython 3.10 or later
# Behaviour  llama.cpp can be built with kernels for several CPUs, of which it chooses at the start,
#            or with those for one. This wheel is of the second kind: what llama_print_system_info
#            says is the same on every CPU, without AVX-512 and VNNI where the CPU has them, and on a
#            CPU without AVX2 it would die. A CPUID that was capped changes nothing.
# Seen       CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 |
#            LLAMAFILE = 1 | OPENMP = 1 | REPACK = 1 | (in one line)
#
# Needs 200 MB of room in TMPDIR: findings/llama-wheel-fixed-kernels.sh [PYTHON]. Fails where the
# behaviour is another one.
set -euo pipefail

python=${1:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check xllamacpp==2026.10.11549
cd "$folder"

cat > tell.py <<'PYTHON'
"""Prints what the library says of its own kernels, through the C interface that it exports."""
import ctypes
import sys

import xllamacpp

library = ctypes.CDLL(sys.modules["xllamacpp.xllamacpp"].__file__)
library.llama_print_system_info.restype = ctypes.c_char_p
print(library.llama_print_system_info().decode().strip())
PYTHON

venv/bin/python tell.py > seen.txt
cat seen.txt
cat > expected.txt <<'EXPECTED'
CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | LLAMAFILE = 1 | OPENMP = 1 | REPACK = 1 |
EXPECTED
if ! diff expected.txt seen.txt; then
    echo "not what was seen before (<); above is what is seen now (>)" >&2
    exit 1
fi
echo "as described"
