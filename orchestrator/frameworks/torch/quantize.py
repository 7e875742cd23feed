"""Turns a torchvision model into TorchScript bytes in one scheme. Imports torch: build children
only.

Torch's graph mode fuses convolution, batch normalisation and ReLU, observes or fake-quantizes the
fused graph, and converts it to integer kernels. All files are traced and frozen, the baseline too,
so that a speed-up is of quantization alone and not of leaving Python.
"""

from __future__ import annotations

import copy
import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.ao import quantization as ao
from torch.ao.quantization import quantize_fx

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.torch.catalog import (
    EXTRA_FILE,
    SCHEMES,
    TRAINING,
    TorchModelSpec,
    TorchSchemeSpec,
)
from orchestrator.frameworks.torch.data import TrainingSet

#: The share of an activation's values that the range ``percentile`` keeps.
_PERCENTILE = 0.9999
_BACKEND = "x86"
_QUANTIZED = "quantized::"
_FLOAT_WORK = frozenset(
    ("aten::_convolution", "aten::conv2d", "aten::linear", "aten::addmm", "aten::matmul")
)

Say = Callable[[str], None]
Images = Callable[[], Iterator[Any]]


class PercentileObserver(ao.HistogramObserver):  # type: ignore[misc]  # torch has no types for us
    """The range that holds all but the outermost values, half of them at either end."""

    def _non_linear_param_search(self) -> tuple[Any, Any]:
        shares = torch.cumsum(self.histogram, 0) / torch.sum(self.histogram)
        outside = (1 - _PERCENTILE) / 2
        width = (self.max_val - self.min_val) / self.bins
        low = int(torch.searchsorted(shares, outside))
        high = int(torch.searchsorted(shares, 1 - outside))
        return self.min_val + width * low, self.min_val + width * min(high + 1, self.bins)


#: ``entropy``: torch's histogram observer picks the range with the least error of quantization.
_OBSERVERS = {
    "max": ao.MinMaxObserver,
    "percentile": PercentileObserver,
    "entropy": ao.HistogramObserver,
}


@dataclass(frozen=True)
class ConvertedNetwork:
    """``operators`` counts the file's operators on quantized data; ``training`` says how the
    weights were trained further, None where they were not. ``no_op``: see ``ModelArtifact``."""

    data: bytes
    operators: dict[str, int]
    no_op: str | None
    observer: str | None
    training: dict[str, Any] | None
    parameters: int


class Converter:
    """Converts one model into any number of schemes; the model itself stays as it is."""

    def __init__(self, model: Any, spec: TorchModelSpec, calibration: str, images: Images) -> None:
        """``images`` yields the inputs to calibrate on."""
        self._model = model
        self._spec = spec
        self._calibration = calibration
        self._images = images
        self._example = next(images())

    def convert(
        self, name: str, training: Callable[[], TrainingSet], seed: int, say: Say
    ) -> ConvertedNetwork:
        """The scheme's file, looked into. Raises ModelBuildError where it is not that scheme."""
        scheme = SCHEMES[name]
        observer = trained = None
        model = copy.deepcopy(self._model)
        with warnings.catch_warnings():
            # deprecated, and the bound on torch's version says until when it can be used
            warnings.simplefilter("ignore")
            if scheme.dynamic:
                model = ao.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
            elif scheme.trained:
                model, trained = self._trained(model, training(), seed, say)
            elif scheme.static:
                how = _OBSERVERS[scheme.calibration or self._calibration]
                observer = how.__name__
                model = self._calibrated(model, how, say)
            data = self._exported(model, name)
        operators, floats = self._look_into(data)
        quantized = {k: n for k, n in operators.items() if k.startswith(_QUANTIZED)}
        _check(scheme, quantized, floats)
        return ConvertedNetwork(
            data=data,
            operators=quantized,
            no_op=self._no_op(scheme, quantized),
            observer=observer,
            training=trained,
            parameters=sum(p.numel() for p in self._model.parameters()),
        )

    def _calibrated(self, model: Any, how: Any, say: Say) -> Any:
        observer = how.with_args(reduce_range=True)
        chosen = ao.QConfig(activation=observer, weight=ao.default_per_channel_weight_observer)
        # torch's own mapping knows which operators share or fix their ranges
        mapping = ao.get_default_qconfig_mapping(_BACKEND)
        default = mapping.global_qconfig
        mapping.set_global(chosen)
        for kind, config in list(mapping.object_type_qconfigs.items()):
            if config is default:
                mapping.set_object_type(kind, chosen)
        prepared = quantize_fx.prepare_fx(model, mapping, (self._example,))
        with torch.inference_mode():
            for number, image in enumerate(self._images(), start=1):
                prepared(image)
                if number % 4 == 0:
                    say(f"calibrated on {number} images")
        return quantize_fx.convert_fx(prepared)

    def _trained(
        self, model: Any, data: TrainingSet, seed: int, say: Say
    ) -> tuple[Any, dict[str, Any]]:
        """A short quantization-aware training: real gradients, few steps."""
        mapping = ao.get_default_qat_qconfig_mapping(_BACKEND)
        prepared = quantize_fx.prepare_qat_fx(model.train(), mapping, (self._example,))
        prepared.apply(torch.ao.nn.intrinsic.qat.freeze_bn_stats)
        optimizer = torch.optim.SGD(
            prepared.parameters(), lr=TRAINING.learning_rate, momentum=TRAINING.momentum
        )
        losses = []
        torch.manual_seed(seed)  # dropout
        for step in range(TRAINING.steps):
            some = torch.arange(step * TRAINING.batch, (step + 1) * TRAINING.batch)
            some %= len(data.labels)
            loss = torch.nn.functional.cross_entropy(prepared(data.images[some]), data.labels[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.item()))
            say(f"trained {step + 1} of {TRAINING.steps} steps, loss {losses[-1]:.3f}")
        if not all(map(math.isfinite, losses)):
            raise ModelBuildError(f"quantization-aware training diverged: losses {losses}")
        prepared.eval()
        with torch.inference_mode():
            for image in self._images():  # ranges at the size that the model will be run at
                prepared(image)
        facts = {**asdict(TRAINING), **data.facts, "images": len(data.labels)}
        facts |= {"first_loss": round(losses[0], 4), "last_loss": round(losses[-1], 4)}
        return quantize_fx.convert_fx(prepared), facts

    def _exported(self, model: Any, scheme: str) -> bytes:
        with torch.inference_mode():
            traced = torch.jit.trace(model.eval(), self._example)
            frozen = torch.jit.freeze(traced.eval())
        buffer = io.BytesIO()
        described = json.dumps({"input_shape": list(self._spec.input_shape), "scheme": scheme})
        torch.jit.save(frozen, buffer, _extra_files={EXTRA_FILE: described})
        return buffer.getvalue()

    def _look_into(self, data: bytes) -> tuple[Counter[str], list[str]]:
        """The file's operators, and those of them that multiply floats; it has to run."""
        loaded = torch.jit.load(io.BytesIO(data))
        operators = Counter(str(node.kind()) for node in loaded.inlined_graph.nodes())
        with torch.inference_mode():
            output = loaded(self._example)
        if not bool(torch.isfinite(output).all()) or float(output.std()) == 0:
            raise ModelBuildError("the converted model computes nothing: constant or not finite")
        return operators, sorted(_FLOAT_WORK & operators.keys())

    def _no_op(self, scheme: TorchSchemeSpec, quantized: dict[str, int]) -> str | None:
        if quantized or not (scheme.dynamic or scheme.static):
            return None
        why = "not one operator of the built file is quantized"
        if not scheme.dynamic:
            return why
        linear = sum(isinstance(m, torch.nn.Linear) for m in self._model.modules())
        return f"{why}: the scheme changes Linear layers alone, and the model has {linear}"


def _check(scheme: TorchSchemeSpec, quantized: dict[str, int], floats: list[str]) -> None:
    """Raise ModelBuildError where the file holds something else than the scheme's operators."""
    if scheme.dynamic:
        others = [
            kind
            for kind in quantized
            if "linear_dynamic" not in kind and "linear_relu_dynamic" not in kind
        ]
    elif scheme.static:
        others = floats if quantized else []
    else:
        others = list(quantized)
    if others:
        raise ModelBuildError(f"the converted model holds {', '.join(others)}: not this scheme")
