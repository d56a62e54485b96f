"""Bundles and the command line, as several tests of engines use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.recipe import Recipe, Rule, Scheme
from tests.unit.cli.conftest import janus_edge
from tests.unit.int8_cache import int8_cache_bundle

__all__ = ["half_bundle", "janus_edge", "precision_bundle"]

INT4 = Recipe("w", "float32", (Rule("language_model/*", Scheme("int4", 32)), Rule("*", None)))


@pytest.fixture(scope="session", params=["fp32", "int4 weights", "int8-cache"])
def precision_bundle(
    request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """``tiny_bundle`` in a few precisions; not to be changed."""
    if request.param == "fp32":
        return tiny_bundle
    path = tmp_path_factory.mktemp("quantised") / "tiny"
    if request.param == "int8-cache":
        return int8_cache_bundle(tiny_bundle, path.parent)
    return quantise_bundle(Bundle.open(tiny_bundle), path, INT4)[0].path


@pytest.fixture(scope="session")
def half_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_checkpoint`` exported in float16 (half a minute, once a session); not to be changed."""
    from janus_edge.export.checkpoint import Checkpoint
    from janus_edge.export.exporter import export_bundle
    from janus_edge.recipe import recipe

    target = tmp_path_factory.mktemp("half") / "tiny"
    return export_bundle(Checkpoint.open(tiny_checkpoint), target, recipe("fp16")).path
