"""One graph of a bundle against the reference's, on inputs of the reference's own run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.compare import MAX_DB, decibels, difference
from janus_edge.graphs import Graph
from janus_edge.runtime.graph_outputs import graph_outputs
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.reference_run import GraphRun


@dataclass(frozen=True, slots=True)
class GraphFigures:
    """One graph's outputs against the reference's, both made of the reference's inputs.

    ``snr_db``, ``max_abs``, ``mean_abs`` and ``cosine`` are those of :class:`compare.Difference`,
    None for codes. ``top1`` is the share of equal codes, or of rows of logits with the largest at
    the same place. ``psnr_db``, of pictures, is 10 log10(255^2 / mean((y - y_reference)^2)) with y =
    clip((pixel + 1) / 2 * 255, 0, 255), which is the picture before its values are truncated to
    bytes; limited to +-200. ``finite`` is False where a value is not.
    """

    snr_db: float | None
    max_abs: float | None
    mean_abs: float | None
    cosine: float | None
    top1: float | None
    psnr_db: float | None
    finite: bool


def graph_figures(candidate: Janus, graph: Graph, run: GraphRun) -> GraphFigures:
    """One graph of ``candidate`` on the reference's inputs."""
    made = graph_outputs(candidate, graph, run.given)
    if graph is Graph.VQ_ENCODER:
        same = float(np.mean(made == run.made))
        return GraphFigures(None, None, None, None, same, None, True)
    logits = graph in (Graph.IMAGE_HEAD, Graph.TEXT_HEAD)
    # the float type chooses a tolerance alone, and here is none
    d = difference(made, run.made, "float32", logits=logits)
    psnr = peak_signal_to_noise(made, run.made) if graph is Graph.VQ_DECODER else None
    finite = bool(np.isfinite(made).all())
    return GraphFigures(d.snr_db, d.max_abs, d.mean_abs, d.cosine, d.top1, psnr, finite)


def peak_signal_to_noise(pixels: NDArray[Any], reference: NDArray[Any]) -> float:
    """PSNR in dB of pixels in [-1, 1], by the formula of :class:`GraphFigures`; -200 if not finite."""
    if not (np.isfinite(pixels).all() and np.isfinite(reference).all()):
        return -MAX_DB
    seen = [np.clip((p.astype(np.float64) + 1) / 2 * 255, 0, 255) for p in (pixels, reference)]
    return decibels(255.0**2, float(np.mean((seen[0] - seen[1]) ** 2)))
