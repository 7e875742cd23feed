"""Writes the TorchScript cases into the working folder: ``python make_torch.py``.

They are not kept here: their debug records would hold paths of the machine that made them.
"""

import torch
from torch import nn


class Two(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Takes two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(16, 4)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.f(a) + self.f(b)


net = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
).eval()
image = torch.rand(1, 3, 32, 32)
torch.jit.trace(net, image).save("net.pt")
torch.jit.trace(net.half(), image.half()).save("net_half.pt")
net.float()
torch.export.save(torch.export.export(net, (image,)), "net.pt2")
dynamic = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.float16)
torch.jit.trace(dynamic, image).save("net_dynamic_fp16.pt")
torch.jit.trace(Two().eval(), (torch.rand(1, 16), torch.rand(1, 16))).save("two.pt")
