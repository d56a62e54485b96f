"""The targets that engines can be built for, by the names of the command line."""

from __future__ import annotations

from collections.abc import Callable

from janus_edge.engines.build import Target
from janus_edge.engines.ort_cpu import OrtCpu
from janus_edge.errors import InputError

TARGETS: dict[str, Callable[[], Target]] = {OrtCpu.name: OrtCpu}


def target(name: str) -> Target:
    """The target called ``name``; raises InputError with the known names."""
    try:
        return TARGETS[name]()
    except KeyError:
        raise InputError(f"unknown target {name!r}: choose one of {', '.join(TARGETS)}") from None
