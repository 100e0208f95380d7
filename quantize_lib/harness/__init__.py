"""Tasks of lm-evaluation-harness: what is asked for, and what came of it. The library runs in `evaluate`."""
