"""`orchestrate run` with `accuracy:`: a network that was really trained, on devices, to the table.

What the table says is held against a plain loop over the same runtime and the libraries of the
field, to the last digit.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis import analyse
from orchestrator.analysis.table import AccuracyComparison
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.frameworks.reading.child_output import RESULT
from orchestrator.runs.directory import RunDirectory
from tests.cgroups import limited_memory
from tests.digits import MEAN, PREPROCESSING, STD, digits, held_out
from tests.lab import ROOT, Lab, Outcome, every_planned_trial_finished_once, wait_until
from tests.sshd import Sshd, generate_key

litert = pytest.importorskip("ai_edge_litert.interpreter")
metrics = pytest.importorskip("sklearn.metrics")

# some sixty trials a run, of which each imports its runtime
pytestmark = pytest.mark.timeout(900)

#: As few timing trials as there may be: this is about the others.
PROTOCOL = (
    "{blocks: 6, precision: 0.9, warmup: {runs: 1, seconds: 0}, steady: {runs: 1, seconds: 0}, "
    "gate: {load: 1}, timeout: 60}"
)
TFLITE = ("float32", "float16", "dynamic_range", "full_int8", "weight_only_int8")
TORCH = ("float32", "dynamic_int8", "static_int8", "qat_int8")
INT8 = ("float32", "full_int8")
CLASSIFICATION = f"{{task: classification, dataset: digits.npz, preprocessing: {PREPROCESSING}}}"


@pytest.fixture(scope="session")
def trained(pytestconfig: pytest.Config) -> Path:
    return digits(pytestconfig)


@pytest.fixture
def lab(tmp_path: Path, trained: Path) -> Iterator[Lab]:
    """A lab without a single built model, and with the digits."""
    (tmp_path / "models").mkdir()
    lab = Lab(tmp_path / "lab", tmp_path / "models")
    shutil.copy(trained / "digits.npz", lab.folder)
    yield lab
    lab.close()


@pytest.fixture
def away(lab: Lab, tmp_path: Path) -> Iterator[Sshd]:
    """A running SSH server."""
    with Sshd(tmp_path / "away", generate_key(tmp_path / "client")) as server:
        yield server
        lab.close()  # while the server answers


def suite(
    lab: Lab,
    files: Mapping[str, Path],
    accuracy: str = CLASSIFICATION,
    *,
    runner: str = "litert",
    fed: str = "",
    **fields: str,
) -> Path:
    """A suite of these files by scheme; ``fed`` is what else it says of the model."""
    variants = ", ".join(f"{scheme}: '{path}'" for scheme, path in files.items())
    lines = [
        f"models: [{{name: digits, variants: {{{variants}}}{fed}}}]",
        f"runner: {runner}",
        f"accuracy: {accuracy}",
        *(f"{key}: {value}" for key, value in fields.items()),
        f"protocol: {PROTOCOL}",
    ]
    path = lab.folder / "accuracy.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def of(folder: Path, schemes: Sequence[str], ending: str = ".tflite") -> dict[str, Path]:
    return {scheme: folder / f"{scheme}{ending}" for scheme in schemes}


def rows_of(run: Path) -> dict[str, AccuracyComparison]:
    """The accuracy of a run's schemes, unrounded."""
    return {row.scheme: row for row in analyse(RunDirectory(run).read()).accuracy}


def measured(lab: Lab, own: Path) -> Outcome:
    """Run a suite here, to its end."""
    inventory = lab.inventory(lab.here())
    # some sixty trials, on a machine that does other things as well
    done = lab.run("run", "--inventory", inventory, "--suite", own, deadline_s=600)
    assert done.code == 0, done.stderr
    return done


def accurate(lab: Lab, own: Path, shards: int) -> Path:
    """The run of a suite here that was interrupted when so many shards were answered: accuracy
    comes first, and what it says needs no timing trial."""
    controller = lab.start("run", "--inventory", lab.inventory(lab.here()), "--suite", own)
    what = f"{shards} shards that were answered"
    wait_until(lambda: len(answered(lab)) >= shards, what, deadline_s=600)
    os.killpg(controller.pid, signal.SIGINT)
    _, said = controller.communicate(timeout=120)
    assert len(answered(lab)) == shards, said
    return lab.runs()[0]


def answered(lab: Lab, run: Path | None = None) -> list[Mapping[str, Any]]:
    return [e for e in lab.events("finished", run) if e["kind"] == "accuracy"]


# -- plain loops


def scores(model: Path, x: np.ndarray[Any, Any], batch: int = 1) -> np.ndarray[Any, Any]:
    """What the network answers to prepared digits, in real values, a batch at a time."""
    interpreter = litert.Interpreter(str(model), num_threads=1)
    (given,), (told,) = interpreter.get_input_details(), interpreter.get_output_details()
    if batch != 1:
        interpreter.resize_tensor_input(given["index"], [batch, *x.shape[1:]])
    interpreter.allocate_tensors()
    found = []
    for first in range(0, len(x), batch):
        rows = x[first : first + batch]
        rows = np.concatenate([rows, np.repeat(rows[-1:], batch - len(rows), axis=0)])
        scale, zero = given["quantization"]
        if scale:
            steps = np.rint(rows / scale) + zero
            rows = np.clip(steps, -128, 127).astype(given["dtype"])
        interpreter.set_tensor(given["index"], rows)
        interpreter.invoke()
        values = interpreter.get_tensor(told["index"])
        scale, zero = told["quantization"]
        found.append((values.astype(np.float64) - zero) * scale if scale else values)
    return np.concatenate(found)[: len(x)]


def torch_scores(model: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    network = torch.jit.load(str(model))
    with torch.inference_mode():
        given = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        return np.concatenate([network(row[None]).numpy() for row in given])


def prepared(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    scaled: np.ndarray[Any, Any] = (x - np.float32(MEAN)) / np.float32(STD)
    return scaled


def untied(side: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Scores in the same order without ties, of which integers have many: the first class of equals
    is the higher one, as ``argmax`` has it. scikit-learn would take the last for its top five."""
    places: np.ndarray[Any, Any] = np.argsort(np.argsort(-side, axis=1, kind="stable"), axis=1)
    return -places


def check_against(
    row: AccuracyComparison,
    baseline: np.ndarray[Any, Any],
    treatment: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
) -> None:
    """Every figure of a row, to the last digit."""
    sides = [side.argmax(axis=1) for side in (baseline, treatment)]
    assert row.samples == len(labels)
    assert row.baseline.value == metrics.accuracy_score(labels, sides[0])
    assert row.treatment.value == metrics.accuracy_score(labels, sides[1])
    ranks = (untied(side) for side in (baseline, treatment))
    top5 = [metrics.top_k_accuracy_score(labels, side, k=5) for side in ranks]
    assert row.others["top-5"] == tuple(top5)
    right = [side == labels for side in sides]
    assert row.lost == int((right[0] & ~right[1]).sum())
    assert row.gained == int((~right[0] & right[1]).sum())
    (agreement,) = row.agreement
    assert agreement.same_top1 is not None
    assert agreement.same_top1.value == float(np.mean(sides[0] == sides[1]))


def check_run(run: Path, trained: Path, schemes: Sequence[str] = INT8) -> None:
    """A run over all digits says what the plain loop says."""
    x, labels = held_out(trained)
    found = {s: scores(trained / f"{s}.tflite", prepared(x)) for s in schemes}
    rows = rows_of(run)
    assert set(rows) == set(schemes[1:])
    for scheme, row in rows.items():
        assert row.verdict in ("no worse", "worse", "better", "cannot tell")
        check_against(row, found["float32"], found[scheme], labels)


# -- figures


def test_every_scheme_of_the_converter_is_as_right_as_a_plain_loop_finds(
    lab: Lab, trained: Path
) -> None:
    # 2400 digits, 1024 a trial
    run = accurate(lab, suite(lab, of(trained, TFLITE)), 3 * len(TFLITE))
    check_run(run, trained, TFLITE)


def test_every_scheme_of_torch_is_as_right_as_a_plain_loop_finds(lab: Lab, trained: Path) -> None:
    pytest.importorskip("torch", reason="the extra `torch` is not installed", exc_type=ImportError)
    own = suite(lab, of(trained, TORCH, ".pt"), runner="torch", fed=", input: [1, 1, 8, 8]")
    run = accurate(lab, own, 3 * len(TORCH))
    x, labels = held_out(trained)
    found = {s: torch_scores(trained / f"{s}.pt", prepared(x)) for s in TORCH}
    rows = rows_of(run)
    assert set(rows) == set(TORCH[1:])
    for scheme, row in rows.items():
        check_against(row, found["float32"], found[scheme], labels)


def test_a_batch_is_filled_up_and_counts_its_own_samples_alone(lab: Lab, trained: Path) -> None:
    files = of(trained / "open", INT8)
    accuracy = CLASSIFICATION.replace("digits.npz", "digits.npz, samples: 1333")
    own = suite(lab, files, accuracy, factors="{batch: [4]}")
    done = measured(lab, own)
    (run,) = lab.runs()
    assert every_planned_trial_finished_once(lab.journal())
    drawn = json.loads((run / "run.json").read_text())["samples"]
    order = [int(key) for key in drawn["keys"]]
    assert len(order) == len(set(order)) == 1333
    x, labels = held_out(trained)
    assert drawn["labels"] == labels[order].tolist()
    found = [scores(files[scheme], prepared(x[order]), batch=4) for scheme in INT8]
    row = rows_of(run)["full_int8"]
    check_against(row, found[0], found[1], labels[order])
    # beside speed in the table, and in a table of its own
    (shown,) = lab.table()
    assert shown["accuracy_metric"] == "top-1"
    assert float(shown["treatment_accuracy"]) == pytest.approx(row.treatment.value)
    assert (run / "accuracy.csv").exists() and "Accuracy: here" in done.stdout


def test_without_labels_it_is_told_how_far_the_sides_agree(lab: Lab, trained: Path) -> None:
    x = held_out(trained)[0][:200]
    np.savez(lab.folder / "unlabelled.npz", x=x)
    accuracy = f"{{task: agreement, dataset: unlabelled.npz, preprocessing: {PREPROCESSING}}}"
    # 64 a trial
    row = rows_of(accurate(lab, suite(lab, of(trained, INT8), accuracy), 8))["full_int8"]
    assert (row.verdict, row.difference, row.findings) == ("", None, ())
    one, other = (scores(trained / f"{s}.tflite", prepared(x)).astype(np.float64) for s in INT8)
    (found,) = row.agreement
    assert found.same_top1 is not None and found.samples == len(x)
    assert found.same_top1.value == float(np.mean(one.argmax(1) == other.argmax(1)))
    noise = ((one - other) ** 2).sum(axis=1)
    ratios = 10 * np.log10((one**2).sum(axis=1) / noise)
    # values travel as float32
    assert found.snr_db == pytest.approx(float(np.median(ratios)), abs=1e-4)
    assert found.worst_snr_db == pytest.approx(float(ratios.min()), abs=1e-4)
    assert found.largest_deviation == pytest.approx(float(abs(one - other).max()), rel=1e-5)


# -- devices


def test_a_bundle_answers_what_a_device_answers_that_is_reached(
    lab: Lab, away: Sshd, trained: Path
) -> None:
    own = suite(lab, of(trained, INT8))
    device = {"name": "away", "transport": "bundle", "exclusive": False}
    arguments = ("--suite", own, "--seed", "3")
    made = lab.run("bundle", "--inventory", lab.inventory(device), *arguments)
    assert made.code == 0, made.stderr
    there = lab.folder / "there"
    there.mkdir()
    bundle = shutil.copy(lab.folder / made.stdout.strip(), there)
    ran = subprocess.run(
        [sys.executable, bundle],
        cwd=there,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (results,) = there.glob("results-*.zip")
    imported = lab.run("import", results)
    assert imported.code == 0, imported.stderr

    reached = lab.inventory(away.device("away"))
    done = lab.run("run", "--inventory", reached, *arguments)
    assert done.code == 0, done.stderr
    runs = lab.runs()
    for run in runs:
        check_run(run, trained)
        assert every_planned_trial_finished_once(lab.journal(run))
    digests = [{e["trial_id"]: e["answers"]["digest"] for e in answered(lab, run)} for run in runs]
    assert digests[0] == digests[1] and len(digests[0]) == 6


def test_a_controller_killed_between_shards_loses_and_doubles_nothing(
    lab: Lab, trained: Path
) -> None:
    inventory = lab.inventory(lab.here())
    controller = lab.start(
        "run", "--inventory", inventory, "--suite", suite(lab, of(trained, INT8))
    )
    wait_until(lambda: len(answered(lab)) >= 2, "two shards that were answered")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    before = answered(lab)
    assert 2 <= len(before) < 6
    # what is measured was kept with the run: another file of the same name changes nothing
    (lab.folder / "digits.npz").unlink()
    resumed = lab.run("run", "--resume", "last", "--inventory", inventory)
    assert resumed.code == 0, resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert answered(lab)[: len(before)] == before and len(answered(lab)) == 6
    check_run(lab.runs()[0], trained)


def test_a_cut_link_loses_and_doubles_nothing(lab: Lab, away: Sshd, trained: Path) -> None:
    inventory = lab.inventory(away.device("away"))
    controller = lab.start(
        "run", "--inventory", inventory, "--suite", suite(lab, of(trained, INT8))
    )
    wait_until(lambda: len(answered(lab)) >= 1, "a shard that was answered")
    away.kill_connections()
    wait_until(lambda: len(answered(lab)) >= 4, "more shards")
    away.kill_connections()
    _, said = controller.communicate(timeout=180)
    assert controller.returncode == 0, said
    assert every_planned_trial_finished_once(lab.journal())
    assert lab.events("link_lost") or "connection" in said
    check_run(lab.runs()[0], trained)


def test_samples_that_are_gone_are_made_again_from_the_data_set(lab: Lab, trained: Path) -> None:
    inventory = lab.inventory(lab.here())
    controller = lab.start(
        "run", "--inventory", inventory, "--suite", suite(lab, of(trained, INT8))
    )
    wait_until(lambda: answered(lab), "a shard that was answered")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    shutil.rmtree(lab.models / "samples")
    resumed = lab.run("run", "--resume", "last", "--inventory", inventory)
    assert resumed.code == 0, resumed.stderr
    check_run(lab.runs()[0], trained)
    # of a complete run nothing is needed any more
    shutil.rmtree(lab.models)
    (lab.folder / "digits.npz").unlink()
    done = lab.run("run", "--resume", "last", "--inventory", inventory)
    assert done.code == 0 and "nothing is left to do" in done.stderr
    assert "Accuracy: here" in done.stdout


# -- memory

_ENTER = """
import os, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
LITTLE = 160_000_000


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group that a child and its model fit into."""
    with limited_memory(LITTLE) as place:
        yield place


def test_a_shard_larger_than_the_memory_is_mapped(
    little_memory: Path, trained: Path, tmp_path: Path
) -> None:
    images = np.lib.format.open_memmap(
        tmp_path / "shard.npy", "w+", np.uint8, (100, 1024, 1024, 3), version=(1, 0)
    )
    for place in range(len(images)):
        images[place, 100:200, 300 : 301 + place, place % 3] = 255
    images.flush()
    del images
    assert (tmp_path / "shard.npy").stat().st_size > 1.9 * LITTLE
    archive = tmp_path / "agent.pyz"
    archive.write_bytes(build_agent_archive().data)
    options = (
        "--mean=0 --std=255 --threads 1 --delegate none --max-seconds 60 "
        "--warmup-runs 0 --warmup-seconds 0 --steady-runs 0 --steady-seconds 0"
    )
    places = ["--model", trained / "wide.tflite", "--samples", tmp_path / "shard.npy"]
    inside = [sys.executable, "-c", _ENTER, little_memory, archive, "litert"]
    done = subprocess.run(
        [*map(str, (*inside, *places)), *options.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (each for each in done.stdout.splitlines() if each.startswith(RESULT))
    assert json.loads(line.removeprefix(RESULT))["samples"] == 100


# -- detection


def drawn(folder: Path, count: int = 40) -> dict[str, Any]:
    """Images of bright rectangles in COCO's form, annotated a little beside where they are; some
    have none, some a crowd, and one category never occurs."""
    image_of = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(5)
    (folder / "images").mkdir()
    annotations: list[dict[str, Any]] = []
    images = []
    for number in range(count):
        width, height = (int(side) for side in rng.integers(90, 200, 2))
        pixels = np.zeros((height, width, 3), np.uint8)
        images.append(
            {
                "id": 7 * number + 3,
                "file_name": f"{number:03}.png",
                "width": width,
                "height": height,
            }
        )
        for colour in range(3):
            if rng.random() < 0.4:
                continue
            size = [int(rng.integers(15, side // 2)) for side in (width, height)]
            left, top = (
                int(rng.integers(0, side - own))
                for side, own in zip((width, height), size, strict=True)
            )
            pixels[top : top + size[1], left : left + size[0], colour] = rng.integers(160, 255)
            beside = rng.normal(0, 2, 4)
            box = [max(0.0, v + d) for v, d in zip((left, top, *size), beside, strict=True)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": images[-1]["id"],
                    "category_id": (2, 5, 9)[colour],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(rng.random() < 0.05),
                }
            )
        image_of.fromarray(pixels).save(folder / "images" / f"{number:03}.png")
    categories = [{"id": number, "name": f"thing {number}"} for number in (2, 5, 9, 11)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth))
    return truth


def average_precision(
    truth: Mapping[str, Any], model: Path, run: Path, samples: Path
) -> Mapping[str, float]:
    """By pycocotools alone, of what the detector finds in the prepared images."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    kept = json.loads((run / "run.json").read_text())["samples"]
    (feed,) = kept["feeds"]
    paths = [next(samples.glob(f"*/{shard['sha256']}.npy")) for shard in feed["shards"]]
    pixels = np.concatenate([np.load(path) for path in paths]).astype(np.float32) / np.float32(255)
    sizes = {each["id"]: (each["width"], each["height"]) for each in truth["images"]}
    found = []
    for image_id, rows in zip(kept["image_ids"], scores(model, pixels), strict=True):
        width, height = sizes[image_id]
        for row in rows.astype(np.float32).astype(np.float64):
            top, left, bottom, right = row[:4] * [height, width, height, width]
            found.append(
                {
                    "image_id": image_id,
                    "category_id": (2, 5, 9)[int(row[5])],
                    "bbox": [left, top, right - left, bottom - top],
                    "score": row[4],
                }
            )
    annotated = coco.COCO()
    annotated.dataset = json.loads(json.dumps(truth))
    annotated.createIndex()
    evaluation = cocoeval.COCOeval(annotated, annotated.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {"AP": evaluation.stats[0], "AP50": evaluation.stats[1], "AR100": evaluation.stats[8]}


def test_a_detector_has_the_average_precision_that_pycocotools_finds(
    lab: Lab, trained: Path
) -> None:
    pytest.importorskip("pycocotools")
    truth = drawn(lab.folder)
    files = {"float32": trained / "spots.tflite", "shifted": trained / "shifted.tflite"}
    accuracy = (
        "{task: detection, dataset: {images: images, annotations: truth.json}, "
        "preprocessing: {resize: stretch, mean: 0, std: 255}, categories: order, "
        "outputs: {boxes: Identity, scores: Identity, classes: Identity, format: yxyx, "
        "units: normalized}}"
    )
    own = suite(lab, files, accuracy)
    measured(lab, own)
    (run,) = lab.runs()
    row = rows_of(run)["shifted"]
    expected = [
        average_precision(truth, path, run, lab.models / "samples") for path in files.values()
    ]
    for name, pair in (("AP", (row.baseline.value, row.treatment.value)), *row.others.items()):
        if name in expected[0]:
            assert pair == pytest.approx([each[name] for each in expected], abs=1e-12), name
    assert row.difference == pytest.approx(expected[1]["AP"] - expected[0]["AP"], abs=1e-12)
    assert row.verdict == "worse" and 0.3 < expected[0]["AP"] < 0.95
