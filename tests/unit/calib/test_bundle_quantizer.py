"""Quantised bundles: what they hold, that they run, and that failures leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.operands import operands
from janus_edge.calib.recipes import quantised_recipe
from janus_edge.calib.statistics import InputStatistics
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.manifest import Derivation, Manifest
from janus_edge.recipe import Recipe, Rule, Scheme
from janus_edge.runtime.pipeline import Janus

WEIGHTS = Recipe("int8-weight", "float32", (
    Rule("vq_*/*", None), Rule("*_head/*", None), Rule("*Conv", None), Rule("*", Scheme("int8", 32)),
))  # fmt: skip


@pytest.fixture(scope="module")
def quantised(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("quantised") / "tiny"
    written, reports = quantise_bundle(Bundle.open(tiny_bundle), target, WEIGHTS)
    assert written.path == target
    assert {r.graph: r.quantised for r in reports}.keys() == {"language_model", "vision_encoder"}
    return target


def made_up_calibration(bundle: Path, path: Path) -> Path:
    """Statistics of every input, as if normal values had been seen."""
    rng, opened, graphs = np.random.default_rng(0), Bundle.open(bundle), {}
    for graph in Graph:
        for operand in operands(opened.graph(graph)):
            recorded = InputStatistics(operand.channels)
            recorded.add(rng.normal(size=(64, operand.channels)).astype(np.float32))
            graphs.setdefault(graph.value, {})[operand.input] = recorded
    Calibration(opened.digest, graphs).save(path)
    return path


def test_what_a_quantised_bundle_holds(tiny_bundle: Path, quantised: Path) -> None:
    """Everything listed and hashed; the recipe and the parent by digest; untouched files equal."""
    opened, parent = Bundle.open(quantised), Bundle.open(tiny_bundle)
    opened.verify()
    assert opened.manifest.recipe == WEIGHTS
    assert opened.manifest.derivation == Derivation(parent.digest, None)
    assert opened.manifest.source == parent.manifest.source
    assert Manifest.from_json(opened.manifest.to_json()) == opened.manifest
    same = ("graphs/vq_decoder.weights", "tokenizer.json", "text_embeddings.bin")
    assert all(opened.manifest.files[f] == parent.manifest.files[f] for f in same)
    name = Graph.LANGUAGE_MODEL
    assert opened.graph_bytes(name) < 0.45 * parent.graph_bytes(name)


def test_a_quantised_bundle_runs(tiny_bundle: Path, quantised: Path) -> None:
    """It paints, close to what the float bundle paints, and it answers."""
    with Janus.load(tiny_bundle) as janus, Janus.load(quantised) as other:
        hidden = [j.generate("a red fox", seed=3)[0].codes for j in (janus, other)]
        assert hidden[1].shape == hidden[0].shape
        photo = janus.generate("a fox")[0].image
        expected, found = janus.embed(photo), other.embed(photo)
        assert other.describe(photo, "What is this?", max_new_tokens=3).token_ids
    error = np.sum((found - expected) ** 2) / np.sum(expected**2)
    assert 0 < error < 1e-3


@pytest.mark.filterwarnings("ignore")
def test_int8_inputs_run(tiny_bundle: Path, tmp_path: Path) -> None:
    """W8A8 with convolutions: ONNX Runtime opens every graph and computes finite values."""
    calibration = made_up_calibration(tiny_bundle, tmp_path / "c.npz")
    recipe = quantised_recipe("int8", "float32")
    bundle, _ = quantise_bundle(Bundle.open(tiny_bundle), tmp_path / "q", recipe, calibration)
    assert bundle.manifest.derivation is not None
    assert bundle.manifest.derivation.calibration is not None
    with Janus.load(bundle.path) as janus:
        picture = janus.generate("a red fox")[0]
        assert janus.encode(picture.image).shape == picture.codes.shape
        assert janus.describe(picture.image, "What is this?", max_new_tokens=2).token_ids


def test_failures_leave_nothing(tiny_bundle: Path, quantised: Path, tmp_path: Path) -> None:
    """Each says what is wrong, and the target does not come into being."""
    parent, target = Bundle.open(tiny_bundle), tmp_path / "q"
    int8 = quantised_recipe("int8", "float32")
    other = made_up_calibration(tiny_bundle, tmp_path / "c.npz")
    loaded = Calibration.load(other)
    Calibration("0" * 64, loaded.graphs).save(tmp_path / "other.npz")
    partial = dict(list(loaded.graphs["language_model"].items())[:-1])
    Calibration(parent.digest, {**loaded.graphs, "language_model": partial}).save(
        tmp_path / "partial.npz"
    )
    cases = [
        (parent, int8, None, "needs to know what its layers read and cache: record it with"),
        (parent, int8, tmp_path / "other.npz", "the calibration is of another bundle"),
        (parent, int8, tmp_path / "partial.npz", "has no input of"),
        (parent, quantised_recipe("int8", "float16"), other, "its graphs are float32"),
        (parent, Recipe("r", "float32", (Rule("absent/*", Scheme("int8", 32)),)), None,
         r"its rules \(absent/\*\) match no node"),
        (Bundle.open(quantised), WEIGHTS, None, "is quantised already"),
    ]  # fmt: skip
    before = sorted(tmp_path.iterdir())
    for bundle, recipe, calibration, message in cases:
        with pytest.raises(InputError, match=message):
            quantise_bundle(bundle, target, recipe, calibration)
        assert sorted(tmp_path.iterdir()) == before
