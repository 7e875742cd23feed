"""Keras model → ``.tflite`` bytes in one scheme. Imports TensorFlow: build children only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from orchestrator.zoo.catalog import ModelSpec, SchemeSpec
from orchestrator.zoo.images import Image


class Converter:
    """Converts one model into any number of schemes.

    The graph is traced and its variables made constants once: that is half the work of a
    conversion, and what comes out has the same operators as ``from_keras_model``'s.
    """

    def __init__(self, model: Any, spec: ModelSpec) -> None:
        signature = [tf.TensorSpec((None, *spec.input_shape), tf.float32, name="image")]
        function = tf.function(lambda image: model(image, training=False), signature)
        self._model = model
        self._frozen = convert_variables_to_constants_v2(function.get_concrete_function())

    def convert(
        self, scheme: SchemeSpec, calibration: Callable[[], Iterator[list[Image]]] | None
    ) -> bytes:
        """``calibration`` is needed by schemes that are ``calibrated``."""
        converter = tf.lite.TFLiteConverter.from_concrete_functions([self._frozen], self._model)
        # The detour through a saved model would turn the constants into variables again.
        converter.experimental_lower_to_saved_model = False
        if scheme.optimize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if scheme.float16:
            converter.target_spec.supported_types = [tf.float16]
        if scheme.integer:
            converter.representative_dataset = calibration
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
        return bytes(converter.convert())
