"""What schemes get wrong: the answers of their trials, held against labels and each other. Pure.

``comparison`` makes the rows of the table; ``classifying`` and ``detecting`` score one task each.
"""

from orchestrator.analysis.accuracy.comparison import compare_accuracy, with_accuracy

__all__ = ["compare_accuracy", "with_accuracy"]
