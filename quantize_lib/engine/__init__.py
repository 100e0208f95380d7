"""The shared pass: blocks are walked once and every cell takes from it."""
