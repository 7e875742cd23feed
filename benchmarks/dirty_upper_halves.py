"""What one instruction that ai-edge-litert's XNNPACK leaves out does to a quantized model.

``python -m benchmarks.dirty_upper_halves FLOAT32.tflite DYNAMIC_RANGE.tflite [PAIRS]`` copies the
installed ai-edge-litert, and puts ``vzeroupper`` before the return of its hand-written AVX-512 VNNI
kernel of dynamic-range matrix products, into bytes that nothing uses. Both files run on the library
as it is and as changed, next to each other, in random order, PAIRS times (default 12). Prints how
much longer each takes as shipped, and the speed-up of the second file over the first, either way.

A kernel that leaves the upper halves of the vector registers in use makes SSE code that follows
wait for them; compilers end theirs with the instruction for that reason, an author of assembly must
remember it. TensorFlow Lite's built-in kernels are SSE code. Needs a CPU with AVX-512 VNNI, and
binutils, which find the kernel.
"""

from __future__ import annotations

import importlib.util
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.litert_child import command, steady_median
from benchmarks.ratios import ratio
from orchestrator.fleet.agent_archive import build_agent_archive

KERNEL = "xnn_qd8_f32_qc8w_gemm_minmax_ukernel_5x64c4__asm_amd64_avx512vnni"
RETURN, ZERO_UPPER = b"\xc3", b"\xc5\xf8\x77"
#: What assemblers put between functions.
PADDING = b"\xcc"


def main(float32: Path, quantized: Path, pairs: int) -> None:
    """Measure and print."""
    if "avx512_vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        raise SystemExit("this CPU has no AVX-512 VNNI, so that the kernel would not run here")
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "agent.pyz"
        archive.write_bytes(build_agent_archive().data)
        changed = Path(name) / "changed"
        print(_change(changed))
        ways = {"shipped": {}, "changed": {"PYTHONPATH": str(changed)}}
        cells = [(way, model) for way in ways for model in (float32, quantized)]
        logs: list[dict[tuple[str, Path], float]] = []
        for _ in range(pairs):
            took = {}
            for way, model in random.sample(cells, len(cells)):
                done = subprocess.run(
                    command(archive, model),
                    env={**os.environ, **ways[way]},
                    check=True,
                    capture_output=True,
                    text=True,
                )
                took[way, model] = math.log(steady_median(done.stdout))
            logs.append(took)
    print(f"{pairs} pairs, medians of one process each")
    for model in (float32, quantized):
        differences = [took["shipped", model] - took["changed", model] for took in logs]
        print(ratio(f"{model.name[:16]}: shipped / changed", differences))
    for way in ways:
        speed_up = [took[way, float32] - took[way, quantized] for took in logs]
        print(ratio(f"speed-up as {way}", speed_up))


def _change(folder: Path) -> str:
    """A copy of the package in ``folder``, its kernel changed; says where."""
    found = importlib.util.find_spec("ai_edge_litert")
    if found is None or found.origin is None:
        raise SystemExit("ai-edge-litert is not installed; `pip install ai-edge-litert`")
    package = Path(found.origin).parent
    copied = folder / package.name
    shutil.copytree(package, copied)
    for library in sorted(copied.glob("*.so")):
        if KERNEL in _run("nm", str(library)):
            address, offset = _return_of_kernel(library)
            data = bytearray(library.read_bytes())
            if data[offset : offset + 4] != RETURN + 3 * PADDING:
                raise SystemExit(f"{library.name}: no room behind the return at {address:#x}")
            data[offset : offset + 4] = ZERO_UPPER + RETURN
            library.write_bytes(data)
            return f"{library.name}: vzeroupper put at {address:#x} of {KERNEL}"
    raise SystemExit(f"no library of {package} has {KERNEL}; versions 1.2.0 to 2.3.0 have it")


def _return_of_kernel(library: Path) -> tuple[int, int]:
    """Address and place in the file."""
    text = _run("objdump", "-d", "--no-show-raw-insn", f"--disassemble={KERNEL}", str(library))
    if "vzeroupper" in text:
        raise SystemExit(f"{library.name}: {KERNEL} has the instruction; there is nothing to show")
    (address,) = (int(at, 16) for at in re.findall(r"^\s+([0-9a-f]+):\s+ret", text, re.M))
    for line in _run("readelf", "-lW", str(library)).splitlines():
        if line.split()[:1] == ["LOAD"]:
            start, virtual, _, size = (int(word, 16) for word in line.split()[1:5])
            if virtual <= address < virtual + size:
                return address, address - virtual + start
    raise SystemExit(f"{library.name}: {address:#x} is in no segment")


def _run(*argv: str) -> str:
    try:
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise SystemExit(f"{argv[0]} is missing; it is part of binutils") from None


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), int((sys.argv[3:4] or ["12"])[0]))
