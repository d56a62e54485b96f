"""Both checkpoint formats make the same bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from janus_edge.bundle import MANIFEST, Bundle, files_below
from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.exporter import export_bundle
from janus_edge.export.synthetic import DIMENSIONS, write_synthetic_checkpoint
from janus_edge.recipe import recipe


def test_formats_give_equal_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    """The original's format, in sharded ``.bin`` files, exports to the same graphs, weights, token
    embeddings and tokenizer, byte for byte, as transformers' format; and so does a second export of
    the same model. The manifests differ in the source they name, and in nothing else."""
    folder = write_synthetic_checkpoint(
        tmp_path / "original", DIMENSIONS["tiny"], format="deepseek-ai", weights="bin",
        shard_bytes=400_000,
    )  # fmt: skip
    assert len(list(folder.glob("*.bin"))) > 2
    made = export_bundle(Checkpoint.open(folder), tmp_path / "bundle", recipe("fp32"))
    given = Bundle.open(tiny_bundle)

    names = {path.relative_to(tiny_bundle) for path in files_below(tiny_bundle)}
    assert names == {path.relative_to(made.path) for path in files_below(made.path)}
    differing = [
        str(name)
        for name in names
        if str(name) != MANIFEST
        and (made.path / name).read_bytes() != (tiny_bundle / name).read_bytes()
    ]
    assert differing == []
    assert (made.manifest.source.format, given.manifest.source.format) == (
        "deepseek-ai",
        "transformers",
    )
    assert replace(made.manifest, source=given.manifest.source) == given.manifest
