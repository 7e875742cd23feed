"""What a trial's command line is, and what its output means. Pure: no device, no file.

The agent runs whatever argv it is given and brings back evidence; only this package knows what a
runner's output means. That keeps the agent small, and lets a stored raw log be read again.
"""
