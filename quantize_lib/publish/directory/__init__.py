"""Publishes into a folder."""
