"""Bundles and the command line, as several tests of engines use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import janus_edge

__all__ = ["half_bundle", "janus_edge"]


@pytest.fixture(scope="session")
def half_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_checkpoint`` exported in float16 (half a minute, once a session); not to be changed."""
    from janus_edge.export.checkpoint import Checkpoint
    from janus_edge.export.exporter import export_bundle
    from janus_edge.recipe import recipe

    target = tmp_path_factory.mktemp("half") / "tiny"
    return export_bundle(Checkpoint.open(tiny_checkpoint), target, recipe("fp16")).path
