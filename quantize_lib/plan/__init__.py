"""The plan: a manifest's cells as jobs, with estimates, in the formats that people and programs read."""

from __future__ import annotations

from quantize_lib.plan.documents import plan_github, plan_github_shards, plan_json
from quantize_lib.plan.fingerprint import fingerprint
from quantize_lib.plan.jobs import narrow
from quantize_lib.plan.table import plan_table

__all__ = [
    "fingerprint",
    "narrow",
    "plan_github",
    "plan_github_shards",
    "plan_json",
    "plan_table",
]
