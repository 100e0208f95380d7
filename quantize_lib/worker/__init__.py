"""The worker: computes one job, possibly beside foreign code; it never sees a token."""
