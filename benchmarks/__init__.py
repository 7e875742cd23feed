"""Programs that measure or simulate, and print what they find. Not part of the product."""
