"""What one side of a comparison is: its trials, their conditions, sizes and energy. Pure."""
