"""Writes the detector that the tests of TFLite_Detection_PostProcess read, beside this file.

``python tests/data/ssd/make.py`` (TensorFlow 2.21). It ends as the detectors of TensorFlow's object
detection library do, by the same way: a function that says which operator it stands for, which the
converter puts in its place. Nothing was trained: each of 49 anchors, 80 × 80 pixels and 40 apart,
scores how bright the three colours are inside of it, as the classes 1, 44 and 90 of COCO's 90.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

SIDE, ANCHOR, STEP = 320, 80, 40
#: COCO's numbers of a person, a bottle and a toothbrush.
CLASSES = (1, 44, 90)
_ATTRIBUTES = """
name: "TFLite_Detection_PostProcess"
attr { key: "max_detections" value { i: 12 } }
attr { key: "max_classes_per_detection" value { i: 1 } }
attr { key: "num_classes" value { i: 90 } }
attr { key: "use_regular_nms" value { b: false } }
attr { key: "nms_score_threshold" value { f: 0.3 } }
attr { key: "nms_iou_threshold" value { f: 0.25 } }
attr { key: "y_scale" value { f: 10.0 } }
attr { key: "x_scale" value { f: 10.0 } }
attr { key: "h_scale" value { f: 5.0 } }
attr { key: "w_scale" value { f: 5.0 } }
"""


@tf.function(experimental_implements=" ".join(_ATTRIBUTES.split("\n")))  # type: ignore[untyped-decorator]
def post_process(encodings: Any, scores: Any, anchors: Any) -> tuple[Any, ...]:
    """Stands for the operator; what is here is never run."""
    del encodings, scores, anchors
    return tuple(tf.constant(0.0, name=name) for name in ("boxes", "classes", "scores", "count"))


def anchors() -> np.ndarray[Any, Any]:
    """Centre and size of each anchor, y before x, as parts of the input: [49, 4]."""
    count = (SIDE - ANCHOR) // STEP + 1
    centres = (ANCHOR / 2 + STEP * np.arange(count)) / SIDE
    y, x = np.meshgrid(centres, centres, indexing="ij")
    sizes = np.full(count * count, ANCHOR / SIDE)
    return np.stack([y.reshape(-1), x.reshape(-1), sizes, sizes], axis=1).astype(np.float32)


class Detector(tf.Module):  # type: ignore[misc] # TensorFlow has no types here
    """Input [1, 320, 320, 3] from -1 to 1."""

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")])  # type: ignore[untyped-decorator]
    def detect(self, image: Any) -> dict[str, Any]:
        bright = tf.nn.avg_pool2d(0.5 + 0.5 * image, ANCHOR, STEP, "VALID")
        to_classes = np.zeros((1, 1, 3, 91), np.float32)
        for colour, number in enumerate(CLASSES):
            to_classes[0, 0, colour, number] = 1.0
        scores = tf.nn.conv2d(bright, to_classes, 1, "VALID")
        # brighter ones lie a little lower and are a little higher
        to_boxes = np.array([[0.4, 0, 0.2, 0]] * 3, np.float32).reshape(1, 1, 3, 4)
        boxes = tf.nn.conv2d(bright, to_boxes, 1, "VALID")
        count = len(anchors())
        found = post_process(
            tf.reshape(boxes, (1, count, 4)),
            tf.reshape(scores, (1, count, 91)),
            tf.constant(anchors()),
        )
        return {f"output_{place}": each for place, each in enumerate(found)}


def images() -> Iterator[list[Any]]:
    """What the ranges of the integer one are found on: bright squares."""
    rng = np.random.default_rng(0)
    for _ in range(32):
        image = np.full((1, SIDE, SIDE, 3), -1, np.float32)
        for colour in range(3):
            y, x = STEP * rng.integers(0, 7, 2)
            image[0, y : y + ANCHOR, x : x + ANCHOR, colour] = rng.uniform(0.2, 1)
        yield [image]


def main() -> None:
    """Write ``float32.tflite`` and ``full_int8.tflite``."""
    detector = Detector()
    with tempfile.TemporaryDirectory() as saved:
        # what a function stands for is lost on any other way
        tf.saved_model.save(detector, saved, signatures=detector.detect)
        for name in ("float32", "full_int8"):
            converter = tf.lite.TFLiteConverter.from_saved_model(saved)
            converter.allow_custom_ops = True
            if name == "full_int8":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = images
            Path(__file__).with_name(f"{name}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()
