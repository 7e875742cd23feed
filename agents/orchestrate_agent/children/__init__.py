"""The children that measure a model in the device's own Python, and what they share."""

from __future__ import annotations

#: The measuring children, each a module here and a command of the agent, and what it does.
CHILDREN = {
    "litert": "measure a model in this Python",
    "llama": "measure a GGUF file",
    "onnxruntime": "measure an .onnx file",
    "torch": "measure a TorchScript file",
}
