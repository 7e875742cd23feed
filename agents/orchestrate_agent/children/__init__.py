"""The children that measure a model in the device's own Python, and what they share."""
