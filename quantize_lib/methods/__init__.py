"""How weights are rounded: one entry a file."""
