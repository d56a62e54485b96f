"""How good a model of the world of shapes is: its pictures, its answers and its codes, judged.

Needs the extra ``eval`` (scipy, with which pictures are read back), and never torch.
"""

from __future__ import annotations

from janus_edge.evaluation.evaluator import evaluate
from janus_edge.evaluation.options import Options
from janus_edge.evaluation.paired import Pairing
from janus_edge.evaluation.record import Record
from janus_edge.evaluation.report import Painted, Painting, Report

__all__ = ["Options", "Painted", "Painting", "Pairing", "Record", "Report", "evaluate"]
