"""A user's own test command: what is asked for, how it is run, and what came of it."""
