"""What the machine is, how it fares, and the state that a trial is given it in."""
