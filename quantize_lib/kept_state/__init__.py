"""Keeps what an unfinished job has in a state store, and brings it back (docs/explanation/resume.md)."""
