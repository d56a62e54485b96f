"""Benchmarks import each other as scripts do: from their own folder."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("benchmarks", "benchmarks/peers/speed"):
    sys.path.insert(0, str(Path(__file__).parents[3] / folder))
