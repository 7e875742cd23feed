"""Devices that nothing reaches: one file to run there by hand, and what it brings back."""
