"""`bench`: how long each stage takes on this machine, and how near that is to the memory's limit.

The runtime's own loops run through wrappers that note when each call begins and ends
(`recorder.py`); nothing of them is imitated here. What is noted becomes stages and steps
(`timeline.py`), their percentiles a report (`report.py`), which is a table, a JSON file, or a page.
"""

from janus_edge.bench.benchmark import measure
from janus_edge.bench.comparison import Comparison, compare
from janus_edge.bench.options import Options
from janus_edge.bench.report import Report

__all__ = ["Comparison", "Options", "Report", "compare", "measure"]
