"""Where checkpoints are published: one entry a file."""
