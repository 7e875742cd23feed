"""From pairs of sides to the table of speed-ups and what else stands in it. Pure."""
