"""One export for the whole session: a miniature Janus with random weights, and its bundle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# before numpy is imported: where other processes take the cores, threads that wait for each other
# make small products a hundred times slower
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the 'tiny' dimensions, in transformers' format; not to be changed."""
    from janus_edge.export.synthetic import DIMENSIONS, write_synthetic_checkpoint

    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    return write_synthetic_checkpoint(folder, DIMENSIONS["tiny"])


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_checkpoint`` exported in float32 (half a minute, once a session); not to be changed."""
    from janus_edge.export.checkpoint import Checkpoint
    from janus_edge.export.exporter import export_bundle
    from janus_edge.recipe import recipe

    target = tmp_path_factory.mktemp("bundle") / "tiny"
    return export_bundle(Checkpoint.open(tiny_checkpoint), target, recipe("fp32")).path


@pytest.fixture(scope="session")
def miniature_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped miniature exported in float32 (half a minute, once a session); not to be changed."""
    from janus_edge.export.checkpoint import Checkpoint
    from janus_edge.export.exporter import export_bundle
    from janus_edge.recipe import recipe

    target = tmp_path_factory.mktemp("bundle") / "miniature"
    return export_bundle(Checkpoint.open("miniature"), target, recipe("fp32")).path


@pytest.fixture
def copied_bundle(tiny_bundle: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of ``tiny_bundle`` that a test may damage; removed behind it."""
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    yield copy
    if copy.is_dir():
        shutil.rmtree(copy)
