"""Which factor moves a run's speed-ups, and which flips their sign. Pure."""
