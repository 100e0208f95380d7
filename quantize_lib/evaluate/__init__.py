"""Checks a checkpoint the way a user meets it: loaded from disk by transformers, in a fresh process."""
