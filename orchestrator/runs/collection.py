"""Puts off Python's search for cyclic garbage while a large run is read and worked on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Nothing in a run's records is a cycle, and looking for one again and again among the
    millions of values of a large journal costs as much as reading it. They are still freed as soon
    as nobody refers to them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was:
            gc.enable()
