"""ONNX: its catalogue, builder, inspector and runner."""
