"""How one trial's process is started, watched, captured and ended."""
