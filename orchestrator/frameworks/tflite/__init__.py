"""TensorFlow Lite: its catalogue, builder, inspector and runners."""
