"""Where a job is computed."""

from __future__ import annotations

from typing import Literal

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
