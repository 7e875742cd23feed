"""On PYTHONPATH, this is what it is like where the extra ``charts`` is not installed.

Drawing takes longer than most of a test's run; what draws is tested by itself.
"""

import sys

sys.modules["altair"] = None  # type: ignore[assignment]  # how Python is told that there is none
