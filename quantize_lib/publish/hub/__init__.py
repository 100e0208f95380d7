"""Publishes to the Hugging Face Hub."""
