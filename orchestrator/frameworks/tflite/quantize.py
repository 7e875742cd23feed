"""Keras model → ``.tflite`` bytes in one scheme. Imports TensorFlow: build children only."""

from __future__ import annotations

import ctypes
import gc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from orchestrator.frameworks.images import Image
from orchestrator.frameworks.tflite.catalog import SCHEMES, ModelSpec, SchemeSpec


class Converter:
    """Converts one model into any number of schemes.

    The model is traced once: that is half the work of a conversion. ``ModelSpec.frozen`` says
    whether it is kept as one function with its weights as constants, or as a saved model on disk;
    both give the same operators as ``from_keras_model``. ``folder`` is for what is kept on disk: it
    is emptied at the beginning and gone at the end. Without a ``model`` it holds the saved one that
    another process left there. ``batch`` is that of the files, None where it is left open.
    """

    def __init__(
        self, model: Any | None, spec: ModelSpec, folder: Path, batch: int | None = None
    ) -> None:
        self._folder = folder
        self._saved = folder / "saved-model"
        self._float32 = folder / "float32.tflite"
        self._model = model
        self._frozen: Any = None
        if model is not None:
            self.close()
            self._folder.mkdir(parents=True)
            self._trace(model, spec, batch)

    def _trace(self, model: Any, spec: ModelSpec, batch: int | None) -> None:
        signature = [tf.TensorSpec((batch, *spec.input_shape), tf.float32, name="image")]
        if spec.frozen:
            function = tf.function(lambda image: model(image, training=False), signature)
            self._frozen = convert_variables_to_constants_v2(function.get_concrete_function())
            return
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", lambda image: model(image, training=False), signature)
        archive.write_out(str(self._saved), verbose=False)
        self._model = None
        keras.backend.clear_session()

    def __enter__(self) -> Converter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what is on disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def convert(
        self,
        scheme: SchemeSpec,
        calibration: Callable[[], Iterator[list[Image]]] | None,
        *,
        dense_per_tensor: bool = False,
    ) -> bytes:
        """``calibration`` is needed by schemes that are ``calibrated``."""
        try:
            if scheme.weight_only:
                return self._weight_only()
            data = bytes(self._converter(scheme, calibration, dense_per_tensor).convert())
        finally:
            _return_memory()
        if not scheme.optimize:
            self._float32.write_bytes(data)
        return data

    def _converter(
        self,
        scheme: SchemeSpec,
        calibration: Callable[[], Iterator[list[Image]]] | None,
        dense_per_tensor: bool,
    ) -> Any:
        if self._frozen is None:
            converter = tf.lite.TFLiteConverter.from_saved_model(str(self._saved))
        else:
            functions = [self._frozen]
            converter = tf.lite.TFLiteConverter.from_concrete_functions(functions, self._model)
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
        elif scheme.optimize and dense_per_tensor:
            # The public way to say this is an experimental one, `verify` sees whether it held.
            name = "_experimental_disable_per_channel_quantization_for_dense_layers"
            setattr(converter, name, True)
        return converter

    def _weight_only(self) -> bytes:
        """TensorFlow's converter always computes in integers where it has the kernels; the
        quantizer in the same package writes a DEQUANTIZE before every operator instead."""
        from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415  # only this needs it

        if not self._float32.exists():
            self.convert(SCHEMES["float32"], None)
        worker = quantizer.Quantizer(str(self._float32), recipe.weight_only_wi8_afp32())
        result = worker.quantize(enable_progress_bar=False, enable_progress_report=False)
        return bytes(result.quantized_model)


def _return_memory() -> None:
    """Hand freed memory back to the system, where the C library can: what one conversion leaves
    behind would otherwise count on top of the next one's peak."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
