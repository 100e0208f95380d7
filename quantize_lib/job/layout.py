"""The names of what lies in a job's folder; host, worker and executors share them."""

from __future__ import annotations

RESULT_FILE = "result.json"
"""The worker's answer."""
STATISTICS = "statistics"
"""The folder that the worker leaves of a job for a shard."""
STATISTICS_FILE = "statistics.json"
"""What lies in it beside the sums."""
PASSES = ".passes"
"""The worker's folder beside the finished cells, to continue from later (docs/explanation/resume.md)."""
CONTAINER_OUTPUT = "container-output"
"""The folder that a container writes to. Everything in it is foreign."""
ENDED_FILE = "container-ended"
"""There once a container ended well; holds the digest of the job that it was given."""
