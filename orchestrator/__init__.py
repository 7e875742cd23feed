"""orchestrate: what quantization does to inference speed, across a fleet, and how sure one may be.

A measurement's way through this package: ``config`` (what to measure, where) → ``plan`` (every
trial, in order) → ``zoo`` and ``artifacts`` (the bytes) → ``fleet`` (devices and their agents) →
``runners`` (what the output means) → ``runs`` (the journal) → ``analysis`` (speed-ups) →
``report`` (tables). ARCHITECTURE.md follows one measurement along it.
"""

__version__ = "0.1.0"
