"""Detectors and segmenters on this machine: the suites that ship, on small images in the place of
COCO's, and the operator TFLite_Detection_PostProcess in both runtimes that have it.

What a run says is held against a plain loop over the same runtime, and pycocotools.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis import analyse
from orchestrator.analysis.table import AccuracyComparison
from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.reading import child_output
from orchestrator.frameworks.runner import FedShard
from orchestrator.measurement import Outcome
from orchestrator.measures.accuracy.answers import SampleAnswer
from orchestrator.measures.accuracy.detection import Roles, postprocess_roles, read, segments
from orchestrator.measures.accuracy.geometry import Geometry, placement_of
from orchestrator.measures.accuracy.samples import WHOLE_VALUES
from orchestrator.measures.accuracy.wire import lines_of, read_answers
from orchestrator.runs.directory import RunDirectory
from orchestrator.trial import InputSpec, TrialKind
from tests import runner_cases as cases
from tests.lab import ROOT, Lab, every_planned_trial_finished_once
from tests.mask_network import BOXES, MASKS, MEAN, SCORES, mask_network
from tests.mask_network import CLASSES as CLASS_OUTPUT

pytest.importorskip("pycocotools")
image_of = pytest.importorskip("PIL.Image")
draw_of = pytest.importorskip("PIL.ImageDraw")

# some thirty trials a run, of which each imports its runtime
pytestmark = pytest.mark.timeout(600)

SSD = ROOT / "tests/data/ssd"
#: Of that detector (``make.py`` there): pixels of its input, of an anchor, from one to the next.
SIDE, ANCHOR, STEP = 320, 80, 40
#: COCO's ids of what it takes the three colours for.
CLASSES = (1, 44, 90)
#: COCO's ids, with gaps; those of the middle ones occur nowhere.
CATEGORIES = [{"id": n, "name": f"thing {n}"} for n in (1, 2, 44, 90)]
PROTOCOL = (
    'protocol:\n  blocks: "6:6"\n  precision: 0.9\n  warmup: {runs: 1, seconds: 0}\n'
    "  steady: {runs: 1, seconds: 0}\n  gate: {load: 1}\n  timeout: 2m\n"
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose home has a folder ``coco``."""
    (tmp_path / "models").mkdir()
    lab = Lab(tmp_path / "lab", tmp_path / "models")
    (lab.folder / "coco/val2017").mkdir(parents=True)
    (lab.folder / "coco/annotations").mkdir()
    yield lab
    lab.close()


def annotated(
    coco: Path, count: int, paint: Callable[[Any, int], tuple[Any, list[dict[str, Any]]]]
) -> dict[str, Any]:
    """Images as ``paint`` makes them, in the place of COCO's; some have nothing in them."""
    rng = np.random.default_rng(5)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        image, objects = paint(rng, number)
        name = f"{number:012}.png"
        image.save(coco / "val2017" / name)
        image_id = 7 * number + 3
        images.append(
            {"id": image_id, "file_name": name, "width": image.width, "height": image.height}
        )
        for each in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **each})
    truth = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (coco / "annotations/instances_val2017.json").write_text(json.dumps(truth))
    return truth


def shipped(lab: Lab, name: str, **written: str) -> Path:
    """A suite that ships, with what is large made small."""
    text = (ROOT / "suites" / f"{name}.yaml").read_text()
    for old, new in written.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    head, _, _ = text.partition("protocol:\n")
    path = lab.folder / f"{name}.yaml"
    path.write_text(head + PROTOCOL)
    return path


def measured(lab: Lab, suite: Path) -> dict[str, AccuracyComparison]:
    done = lab.run(
        "run", "--inventory", lab.inventory(lab.here()), "--suite", suite, deadline_s=400
    )
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    (run,) = lab.runs()
    return {row.scheme: row for row in analyse(RunDirectory(run).read()).accuracy}


def prepared(lab: Lab) -> tuple[Mapping[str, Any], np.ndarray[Any, Any]]:
    """What a run keeps of its samples, and their pixels in the order of the draw."""
    kept = json.loads((lab.runs()[0] / "run.json").read_text())["samples"]
    feed = kept["feeds"][0]
    paths = [next(lab.models.glob(f"samples/*/{s['sha256']}.npy")) for s in feed["shards"]]
    return kept, np.concatenate([np.load(path) for path in paths])


def figures(truth: Mapping[str, Any], found: list[dict[str, Any]], kind: str) -> dict[str, float]:
    """By pycocotools alone."""
    from pycocotools.coco import COCO  # noqa: PLC0415 # importorskip, above
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    annotated = COCO()
    annotated.dataset = json.loads(json.dumps(truth))
    annotated.createIndex()
    run = COCOeval(annotated, annotated.loadRes(found), kind)
    run.evaluate()
    run.accumulate()
    run.summarize()
    names = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")
    told = dict(zip(names, map(float, run.stats), strict=False))
    return {**told, "AR100": float(run.stats[8])}


def check_against(
    row: AccuracyComparison, baseline: Mapping[str, float], treatment: Mapping[str, float]
) -> None:
    sides = (baseline, treatment)
    assert (row.baseline.value, row.treatment.value) == pytest.approx(
        [each["AP"] for each in sides], abs=1e-12
    )
    for name in baseline.keys() - {"AP"}:
        expected = [None if each[name] == -1 else each[name] for each in sides]
        assert row.others[name] == pytest.approx(expected, abs=1e-12), name


def saved(path: Path, images: np.ndarray[Any, Any]) -> Path:
    """A shard of these images."""
    with path.open("wb") as file:
        np.lib.format.write_array(file, images, (1, 0))
    return path


def answered(
    name: str,
    model: Path,
    fed: FedShard,
    shard: Path,
    *,
    python: str = sys.executable,
    delegate: str = "none",
    **how: Any,
) -> tuple[SampleAnswer, ...]:
    """What a measuring child tells of a shard, read."""
    files = replace(
        cases.files(size=model.stat().st_size, python=python, binary=None), samples=fed, **how
    )
    trial = cases.a_trial(runner=name, runtime="any", delegate=delegate, kind=TrialKind.ACCURACY)
    runner = runner_named(name)
    command = runner.command(trial, cases.SHORT, files)
    argv = (python, "-m", f"orchestrate_agent.children.{name}", *command.argv[3:])
    places = {f"{{blob:{cases.MODEL_SHA}}}": str(model), f"{{blob:{fed.sha256}}}": str(shard)}
    evidence = cases.run_command(replace(command, argv=argv), places)
    reading = runner.read(trial, cases.SHORT, files, evidence)
    assert reading.outcome is Outcome.OK, f"{reading.reason}\n{evidence.stderr}"
    result = child_output.only(evidence.stdout.splitlines(), child_output.RESULT)
    return read_answers(lines_of(evidence.stdout), result["answered"], 0)


# -- Mask R-CNN


def shapes(rng: Any, number: int) -> tuple[Any, list[dict[str, Any]]]:
    """An image with up to a slanted quadrilateral a colour, annotated a little beside it; blue is
    the category 1, green 2, red 44. Some are a crowd, by the lengths of their runs."""
    width, height = (int(side) for side in rng.integers(70, 130, 2))
    pixels = np.zeros((height, width, 3), np.uint8)
    objects = []
    for colour in range(3) if number % 7 else ():
        if rng.random() < 0.3:
            continue
        size = np.array([rng.integers(20, side // 2) for side in (width, height)])
        corner = np.array([rng.integers(0, width - size[0]), rng.integers(0, height - size[1])])
        outline = corner + np.array([(0, 0.3), (0.8, 0), (1, 0.6), (0.2, 1)]) * size
        one = image_of.new("L", (width, height))
        draw_of.Draw(one).polygon(
            [tuple(each) for each in outline], fill=int(rng.integers(180, 255))
        )
        pixels[:, :, 2 - colour] = np.asarray(one)
        told = outline + rng.normal(0, 1, outline.shape)
        lit = np.asarray(one) > 0
        crowd = rng.random() < 0.1
        column = np.concatenate([[0], lit.T.reshape(-1).astype(int), [0]])
        edges = np.concatenate([[0], np.flatnonzero(np.diff(column)), [lit.size]])
        runs = {"size": [height, width], "counts": np.diff(edges).tolist()}
        low, high = told.min(axis=0), told.max(axis=0)
        objects.append(
            {
                "category_id": (1, 2, 44)[colour],
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "area": float(lit.sum()),
                "iscrowd": int(crowd),
                "segmentation": runs if crowd else [told.reshape(-1).tolist()],
            }
        )
    return image_of.fromarray(pixels), objects


def stretched(levels: Any, box: Any, width: int, height: int) -> Any:
    """A mask in the image, pixel by pixel."""
    lit = np.zeros((height, width), np.uint8)
    rows, columns = levels.shape
    left, top, right, bottom = box
    for y in range(height):
        for x in range(width):
            v = (y + 0.5 - top) / (bottom - top) * rows - 0.5
            u = (x + 0.5 - left) / (right - left) * columns - 0.5
            total = 0.0
            for j in (int(np.floor(v)), int(np.floor(v)) + 1):
                for i in (int(np.floor(u)), int(np.floor(u)) + 1):
                    if 0 <= j < rows and 0 <= i < columns:
                        total += (1 - abs(v - j)) * (1 - abs(u - i)) * float(levels[j, i])
            lit[y, x] = total >= 127.5
    return lit


def segmented(
    lab: Lab, model: Path, truth: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Masks and boxes that a plain loop finds in a run's samples."""
    onnxruntime = pytest.importorskip("onnxruntime")
    mask = pytest.importorskip("pycocotools.mask")
    kept, pixels = prepared(lab)
    sizes = {each["id"]: (each["width"], each["height"]) for each in truth["images"]}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = (BOXES, CLASS_OUTPUT, SCORES, MASKS)
    masks, boxes = [], []
    for image_id, image in zip(kept["image_ids"], pixels, strict=True):
        width, height = sizes[image_id]
        scale = min(96 / width, 128 / height)
        wide, high = round(width * scale), round(height * scale)
        left, top = (96 - wide) // 2, (128 - high) // 2
        fed = (image.astype(np.float32) - np.array(MEAN, np.float32)).transpose(2, 0, 1)
        rows = session.run(names, {"image": np.ascontiguousarray(fed)})
        for box, number, score, own in zip(*rows, strict=True):
            corners = (np.float64(box) - [left, top, left, top]) / np.tile(
                [wide / width, high / height], 2
            )
            levels = np.rint(np.float64(own[0]) * 255)
            lit = stretched(levels, corners, width, height)
            common = {
                "image_id": image_id,
                "category_id": (1, 2, 44)[number - 1],
                "score": float(score),
            }
            size = (corners[2:] - corners[:2]).tolist()
            boxes.append({**common, "bbox": [*corners[:2].tolist(), *size]})
            masks.append({**common, "segmentation": mask.encode(np.asfortranarray(lit))})
    return masks, boxes


def test_the_suite_of_mask_rcnn_scores_as_pycocotools_does(lab: Lab) -> None:
    pytest.importorskip("onnxruntime")
    coco = lab.folder / "coco"
    truth = annotated(coco, 30, shapes)
    files = {
        "float32": coco / "mask_rcnn.onnx",
        "float16": coco / "mask_rcnn_float16.onnx",
        "weight_only_int8": coco / "mask_rcnn_weight_only_int8.onnx",
    }
    files["float32"].write_bytes(mask_network())
    files["float16"].write_bytes(mask_network("float16"))
    # it loses something, as a network does in fewer bits
    files["weight_only_int8"].write_bytes(mask_network("int8", beside=2))
    rows = measured(
        lab,
        shipped(
            lab,
            "mask-rcnn",
            **{
                "input: [3, 800, 1088]": "input: [3, 128, 96]",
                "size: [800, 1088]": "size: [128, 96]",
            },
        ),
    )
    assert set(rows) == {"float16", "weight_only_int8"}
    found = {scheme: segmented(lab, path, truth) for scheme, path in files.items()}
    told = {
        scheme: (figures(truth, masks, "segm"), figures(truth, boxes, "bbox"))
        for scheme, (masks, boxes) in found.items()
    }
    for scheme, row in rows.items():
        assert row.metric == "mask AP" and row.samples == 30
        check_against(row, told["float32"][0], told[scheme][0])
        boxes = [told[each][1]["AP"] for each in ("float32", scheme)]
        assert row.others["box AP"] == pytest.approx(boxes, abs=1e-12)
        assert not [each for each in row.findings if each.forbids], row.findings
    assert 0.4 < told["float32"][0]["AP"] < 0.95
    assert rows["weight_only_int8"].verdict == "worse"
    (run,) = lab.runs()
    assert "mask AP" in (run / "accuracy.csv").read_text()


TORCHVISION = """
import torch

LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
LIBRARY.impl("nms", lambda boxes, scores, iou: torch.argsort(scores, descending=True), "CPU")
"""
SEGMENTER = """
import sys, torch, torchvision

class Segmenter(torch.nn.Module):
    def forward(self, images):
        seen = images[0]
        lit = seen > 0.5
        across, down = lit.any(1).float(), lit.any(2).float()
        ends = [80 - each.flip(1).argmax(1) for each in (across, down)]
        boxes = torch.stack([across.argmax(1), down.argmax(1), *ends], 1).float()
        scores = seen.amax((1, 2))
        there = torch.nonzero(scores > 0.5)[:, 0]
        kept = there[torch.ops.torchvision.nms(boxes[there], scores[there], 0.99)]
        masks = lit[kept].float()[:, None]
        return {"boxes": boxes[kept], "labels": kept + 1, "masks": masks, "scores": scores[kept]}

with torch.inference_mode():
    traced = torch.jit.trace(Segmenter().eval(), torch.rand(1, 3, 80, 80), strict=False)
torch.jit.save(traced, sys.argv[1])
"""


def test_masks_of_a_whole_image_come_back_from_torch_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchvision's Mask R-CNN gives them: a dictionary, as many places as there are, of the
    highest scores first, and an operator that is torchvision's."""
    pytest.importorskip("torch", exc_type=ImportError)
    # torchvision's own may be of another torch: this one has its operator and nothing more
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text(TORCHVISION)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = [sys.executable, "-c", SEGMENTER, str(tmp_path / "segmenter.pt")]
    subprocess.run(made, check=True, capture_output=True)
    rng = np.random.default_rng(3)
    images = np.zeros((5, 80, 80, 3), np.uint8)
    for number in range(5):
        for colour in range(number % 4):
            spots = rng.random((30, 30)) < 0.7
            y, x = rng.integers(0, 50, 2)
            images[number, y : y + 30, x : x + 30, colour] = spots * (240 - 30 * colour)
    fed = FedShard("5" * 64, 0, 5, (0.0,), (255.0,), 2560, "output 2", "output 3")
    answers = answered(
        "torch",
        tmp_path / "segmenter.pt",
        fed,
        saved(tmp_path / "shard.npy", images),
        inputs=(InputSpec((1, 3, 80, 80)),),
    )
    roles = Roles(
        "output 0",
        "output 3",
        "output 1",
        format="xyxy",
        units="pixels",
        class_base=1,
        masks="output 2",
        masks_cover="input",
    )
    whole = placement_of(80, 80, Geometry(80, 80, "stretch"))
    found = read(answers, roles, range(5), [whole] * 5)
    assert [len(each) for each in found] == [0, 1, 2, 3, 0]
    for each, answer, image in zip(found, answers, images, strict=True):
        masks = segments(answer, roles, each, whole, lambda lit: lit)
        for mask, number in zip(masks, each.classes, strict=True):
            assert np.array_equal(mask, image[:, :, number] > 127)


# -- SSD


def squares(rng: Any, number: int) -> tuple[Any, list[dict[str, Any]]]:
    """An image with some bright squares, each about where an anchor is, annotated a little beside;
    every fifth has none. They are fewer in every image, so that old ones stay behind the count."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    objects = []
    for colour in range(3) if number % 5 else ():
        for _ in range(int(rng.integers(0, 3))):
            x, y = (int(each) for each in STEP * rng.integers(0, 7, 2))
            if pixels[y : y + ANCHOR, x : x + ANCHOR].any():
                continue
            pixels[y : y + ANCHOR, x : x + ANCHOR, colour] = rng.integers(120, 255)
            box = np.array([x, y, ANCHOR, ANCHOR]) + rng.normal(0, 4, 4)
            objects.append(
                {
                    "category_id": CLASSES[colour],
                    "bbox": [max(0.0, v) for v in box.tolist()],
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
    return image_of.fromarray(pixels), objects


def outputs_of(interpreter: Any, image: Any) -> list[Any]:
    """Boxes, classes, scores and count of one image, in the operator's own order, which the names
    of this file tell and its order does not."""
    (given,) = interpreter.get_input_details()
    interpreter.set_tensor(given["index"], image[None])
    interpreter.invoke()
    told = sorted(interpreter.get_output_details(), key=lambda each: each["name"])
    return [interpreter.get_tensor(each["index"]).reshape(each["shape"][1:]) for each in told]


def detected(model: Path, kept: Mapping[str, Any], pixels: Any) -> list[dict[str, Any]]:
    """What a plain loop finds: of each image the first places, as many as the count says."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    found = []
    for image_id, image in zip(kept["image_ids"], pixels, strict=True):
        held = outputs_of(interpreter, (image.astype(np.float32) - 127.5) / np.float32(127.5))
        boxes, classes, scores, count = held
        for place in range(int(count)):
            top, left, bottom, right = np.float64(boxes[place]) * SIDE
            found.append(
                {
                    "image_id": image_id,
                    "category_id": int(classes[place]) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "score": float(scores[place]),
                }
            )
    return found


def test_the_suite_of_coco_detection_scores_as_pycocotools_does(lab: Lab) -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    coco = lab.folder / "coco"
    truth = annotated(coco, 40, squares)
    shutil.copy(SSD / "float32.tflite", coco / "ssd_mobilenet_v2.tflite")
    shutil.copy(SSD / "full_int8.tflite", coco / "ssd_mobilenet_v2_full_int8.tflite")
    rows = measured(lab, shipped(lab, "coco-detection"))
    row = rows["full_int8"]
    kept, pixels = prepared(lab)
    sides = [
        figures(truth, detected(SSD / f"{scheme}.tflite", kept, pixels), "bbox")
        for scheme in ("float32", "full_int8")
    ]
    check_against(row, *sides)
    assert row.metric == "AP" and 0.3 < sides[0]["AP"] < 0.95
    assert not [each for each in row.findings if each.forbids], row.findings


def _runtimes() -> Iterator[Any]:
    yield pytest.param(sys.executable, id="ai-edge-litert")
    python = os.environ.get("TFLITE_RUNTIME_PYTHON")
    missing = pytest.mark.skipif(python is None, reason="TFLITE_RUNTIME_PYTHON names no Python")
    yield pytest.param(python, id="tflite-runtime", marks=missing)


@pytest.mark.parametrize("python", list(_runtimes()))
@pytest.mark.parametrize("scheme", ["float32", "full_int8"])
def test_what_the_operator_leaves_behind_its_count_is_not_read(
    tmp_path: Path, python: str, scheme: str
) -> None:
    """Three squares, then one, then none. Of the float network an earlier image's objects stay
    there, of the integer one whatever else used that memory, such as 1.3e36 as a score."""
    pytest.importorskip("ai_edge_litert.interpreter")
    images = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    placed = [(0, 0, 0), (120, 120, 1), (240, 200, 2)]
    for number, some in enumerate((placed, placed[1:2], [])):
        for y, x, colour in some:
            images[number, y : y + ANCHOR, x : x + ANCHOR, colour] = 250 - 40 * colour
    fed = FedShard("5" * 64, 0, 3, (127.5,), (127.5,), WHOLE_VALUES["detection"])
    shard = saved(tmp_path / "shard.npy", images)
    answers = answered(
        "litert", SSD / f"{scheme}.tflite", fed, shard, python=python, delegate="xnnpack"
    )
    roles = postprocess_roles(answers)
    held = {output.name: np.asarray(output.values) for output in answers[1].outputs}
    assert held[roles.count or ""].reshape(-1)[0] == 1
    behind = held[roles.scores].reshape(-1)[1:]
    assert behind[0] > 0.5 if scheme == "float32" else behind.any()
    whole = [placement_of(SIDE, SIDE, Geometry(SIDE, SIDE, "stretch"))] * 3
    found = read(answers, roles, (1, 2, 3), whole)
    assert [len(each) for each in found] == [3, 1, 0]
    # classes count without the background: a person, whose id is 1, is number 0
    expected = {CLASSES[colour] - 1: (y, x) for y, x, colour in placed}
    for each in found:
        for box, number in zip(each.boxes, each.classes.tolist(), strict=True):
            y, x = expected[number]
            assert box == pytest.approx([x, y, x + ANCHOR, y + ANCHOR], abs=8)
