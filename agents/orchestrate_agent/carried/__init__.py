"""A bundle: the agent, a plan and its files in one, run by hand where nothing reaches."""
