"""Reaches devices and drives them: transports, the link to the agent, provisioning, execution."""
