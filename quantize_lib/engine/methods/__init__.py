"""Rounding methods, one a file. A new one is a file, a line in `registry` and its words in the schema."""
