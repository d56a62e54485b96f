"""`janus-edge info` and `janus-edge verify`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph
from janus_edge.schema import to_dict


def test_info(janus_edge: Callable[..., Any], tiny_bundle: Path) -> None:
    """Dimensions, precision, every graph with its ports and its figure, in one screen."""
    done = janus_edge("info", tiny_bundle)
    assert (done.code, done.err) == (0, "")
    for fact in (
        "fp32",
        "32 x 32 px, 16 codes",
        "vocabulary 512, 1024 positions",
        "codebook 128 x 8",
    ):
        assert fact in done.out
    for graph in Graph:
        line = next(x for x in done.out.splitlines() if x.startswith(f"{graph.value} "))
        assert "against PyTorch" in line
        assert line.endswith((" dB", "% equal", "exact"))
    assert "past_key.0 ... past_key.1  float [B, 4, C, 16]" in done.out
    assert "past_key.1  float" not in done.out.replace("... past_key.1  float", "")


def test_info_json(janus_edge: Callable[..., Any], tiny_bundle: Path) -> None:
    """The whole manifest, where it is, and its digest."""
    data = json.loads(janus_edge("info", tiny_bundle, "--json").out)
    bundle = Bundle.open(tiny_bundle)
    assert data.pop("path") == str(tiny_bundle)
    assert data.pop("digest") == bundle.digest
    assert data == json.loads(json.dumps(to_dict(bundle.manifest)))


def test_info_without_a_figure(janus_edge: Callable[..., Any], copied_bundle: Path) -> None:
    """Figures that a manifest may leave out are left out."""
    path = copied_bundle / "manifest.json"
    data = json.loads(path.read_text("utf-8"))
    del data["parity"]["text_head"], data["parity"]["vq_encoder"]["top1"]
    path.write_text(json.dumps(data), "utf-8")
    assert janus_edge("info", copied_bundle).code == 0


def test_info_reads_no_weights(janus_edge: Callable[..., Any], copied_bundle: Path) -> None:
    """``info`` looks at the manifest and the sizes; hashing gigabytes is ``verify``'s."""
    path = copied_bundle / "text_embeddings.bin"
    path.write_bytes(b"x" * path.stat().st_size)
    assert janus_edge("info", copied_bundle).code == 0
    assert janus_edge("verify", copied_bundle).code == 4


def test_verify(janus_edge: Callable[..., Any], tiny_bundle: Path) -> None:
    done = janus_edge("verify", tiny_bundle)
    assert done.code == 0
    files = len(Bundle.open(tiny_bundle).manifest.files)
    assert done.out.strip().endswith("all as written")
    assert f"{files} files" in done.out


def test_verify_damaged(janus_edge: Callable[..., Any], copied_bundle: Path) -> None:
    """The first damaged file is named, with the way out: exit code 4."""
    path = copied_bundle / "graphs" / "vq_decoder.weights"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    done = janus_edge("verify", copied_bundle)
    assert (done.code, done.out) == (4, "")
    assert f"{path}: its SHA-256 differs" in done.error
    assert "copy it again or export the bundle again" in done.error
