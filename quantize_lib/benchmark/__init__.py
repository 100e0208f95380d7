"""Times checkpoints beside their base model, each in fresh processes of its own.

The host part (everything but `timing`) imports no torch; `timing` runs in the fresh processes.
"""
