"""PyTorch: its catalogue, builder, inspector and runner."""
