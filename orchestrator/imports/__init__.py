"""Figures that somebody else measured → a run like any other: raw logs, and published tables.

A framework's reader finds the processes in a log, ``naming`` says which model and scheme each was,
``logs`` and ``table`` make trials of them, ``save`` writes the run. What is not known is said to be
so.
"""
