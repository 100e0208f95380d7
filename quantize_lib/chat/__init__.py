"""Talks to a checkpoint in the terminal: `start` on the host, `session` in a process with the model."""
