"""Runs a plan: the host's side, the executors, and the process that quantizes."""
