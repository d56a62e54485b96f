"""A comparison of two bundles' pictures on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import print_table

if TYPE_CHECKING:
    from janus_edge.evaluation.comparison import Comparison


def show_comparison(found: Comparison) -> None:
    """Gains and losses by category in points, and whether the loss is within the margin."""
    rows = [
        [name, str(c.gained), str(c.lost), _points((c.gained - c.lost) / c.total, c.low, c.high)]
        for name, c in found.categories.items()
    ]
    overall = found.overall
    rows.append(["overall", "", "", _points(overall.mean, overall.low, overall.high)])
    pairs = sum(c.total for c in found.categories.values())
    print_table(
        f"against {found.precision}, {pairs} pairs of pictures",
        ["category", "gained>", "lost>", "points>"],
        rows,
    )
    margin = f"{100 * found.margin:g} points"
    said = {
        "within": f"the loss is less than {margin}",
        "beyond": f"the loss is more than {margin}",
        "open": f"not settled whether the loss is less than {margin}",
    }[found.verdict]
    click.echo(
        f"{said} ({overall.rounds} of {found.planned} rounds); "
        f"{found.differing:.1%} of the pictures have other codes"
    )


def _points(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
