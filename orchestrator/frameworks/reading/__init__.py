"""What every runner's output is read with."""
