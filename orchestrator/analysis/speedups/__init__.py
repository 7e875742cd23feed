"""From pairs of sides to the table of speed-ups and what stands beside it. Pure."""
