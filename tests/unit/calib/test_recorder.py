"""What a recording backend records is what the graphs' nodes read; what runs is unchanged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.operands import operands
from janus_edge.calib.recorder import RecordingBackend
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.pipeline import Janus


@pytest.fixture
def backend(tiny_bundle: Path) -> RecordingBackend:
    return RecordingBackend(Bundle.open(tiny_bundle), fraction=1.0)


def test_statistics_of_a_graph(backend: RecordingBackend, tiny_bundle: Path) -> None:
    """Every input of a quantisable node of the VQ decoder, against a run with these as outputs."""
    path = Bundle.open(tiny_bundle).graph(Graph.VQ_DECODER)
    model = onnx.load(str(path))
    names = sorted({o.input for o in operands(path)})
    for name in names:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with Janus(Bundle.open(tiny_bundle), backend) as janus:
        codes = np.arange(janus.bundle.manifest.config.image_tokens) % 7
        janus.decode(codes)
        janus.decode(codes[::-1].copy())
    found = backend.statistics["vq_decoder"]
    assert sorted(found) == names
    runs = [session.run(names, {"image_codes": c[None]}) for c in (codes, codes[::-1].copy())]
    for number, name in enumerate(names):
        values = np.concatenate([run[number] for run in runs])
        peaks = np.abs(np.moveaxis(values, 1, -1)).reshape(-1, values.shape[1])
        assert found[name].count == len(peaks)
        np.testing.assert_allclose(found[name].channel_maximum, peaks.max(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[name].channel_sum, peaks.sum(0), rtol=1e-3)


def test_inputs_of_the_graph_itself(backend: RecordingBackend, tiny_bundle: Path) -> None:
    """The image head reads a graph input, which is taken from the buffer that is bound."""
    with Janus(Bundle.open(tiny_bundle), backend) as janus:
        janus.generate("a fox")
        tokens = janus.bundle.manifest.config.image_tokens
    head = backend.statistics["image_head"]["hidden_states"]
    assert head.count == 2 * tokens  # conditional and unconditional, every step
    assert (head.channel_maximum > 0).all()
    layer = backend.statistics["language_model"]
    assert {s.count for s in layer.values()} == {next(iter(layer.values())).count}


def test_painting_is_unchanged(tiny_bundle: Path) -> None:
    """With all, some or no steps recorded, the codes are those of the plain backend."""
    with Janus.load(tiny_bundle) as janus:
        expected = janus.generate("a fox", seed=4)[0].codes
    for fraction in (1.0, 0.3):
        recording = RecordingBackend(Bundle.open(tiny_bundle), fraction=fraction)
        with Janus(Bundle.open(tiny_bundle), recording) as janus:
            assert (janus.generate("a fox", seed=4)[0].codes == expected).all()


@pytest.mark.parametrize("fraction", [0.5, 0.3])
def test_the_fraction_of_steps(tiny_bundle: Path, fraction: float) -> None:
    """So many steps are recorded, spread over the picture: also the first steps and the last."""
    recording, seen = RecordingBackend(Bundle.open(tiny_bundle), fraction=fraction), []
    wanted = recording.wanted

    def watched(graph: Graph, inputs: dict[str, np.ndarray]) -> bool:
        taken = wanted(graph, inputs)
        if graph is Graph.LANGUAGE_MODEL and inputs["inputs_embeds"].shape[1] == 1:
            seen.append(taken)
        return taken

    recording.wanted = watched  # type: ignore[method-assign, assignment]
    with Janus(Bundle.open(tiny_bundle), recording) as janus:
        recording.begin(1)
        janus.generate("a fox")
    assert (recording.steps, recording.recorded_steps) == (len(seen), sum(seen))
    assert abs(sum(seen) - fraction * len(seen)) <= 1
    span = math.ceil(2 / fraction)
    assert any(seen[:span])
    assert any(seen[-span:])


def test_values_that_are_not_finite(copied_bundle: Path) -> None:
    """The graph and the tensor are named, with what to do."""
    bundle = Bundle.open(copied_bundle, verify=False)
    weights = copied_bundle / "graphs" / "vq_decoder.weights"
    weights.write_bytes(np.full(weights.stat().st_size // 4, np.nan, np.float32).tobytes())
    recording = RecordingBackend(bundle)
    with (
        Janus(bundle, recording) as janus,
        pytest.raises(
            InputError,
            match=r"graph 'vq_decoder', tensor '.*': .*overflows on this input; export it",
        ),
    ):
        janus.decode(np.zeros(bundle.manifest.config.image_tokens, np.int64))


def test_recorded_steps_keep_no_stride(tiny_bundle: Path) -> None:
    """One of every four steps, at places that differ: a stride would meet the same columns."""
    recording = RecordingBackend(Bundle.open(tiny_bundle), fraction=0.25)
    inputs = {"inputs_embeds": np.zeros((2, 1, 8)), "past_lengths": np.array([9, 9])}
    for item in range(3):
        recording.begin(item)
        taken = [recording.wanted(Graph.LANGUAGE_MODEL, inputs) for _ in range(400)]
        places = np.flatnonzero(taken)
        assert abs(len(places) - 100) <= 1
        assert np.diff(places).max() <= 8
        assert np.bincount(places % 4, minlength=4).min() >= 10
    again = RecordingBackend(Bundle.open(tiny_bundle), fraction=0.25)
    again.begin(2)
    assert [again.wanted(Graph.LANGUAGE_MODEL, inputs) for _ in range(400)] == taken


def test_padded_rows_are_refused(backend: RecordingBackend, tiny_bundle: Path) -> None:
    """Two prompts of unequal length are padded in one batch: their pads would be recorded."""
    with (
        Janus(Bundle.open(tiny_bundle), backend) as janus,
        pytest.raises(InputError, match="pads were recorded; record one prompt at a time"),
    ):
        janus.generate(["a fox", "a red fox in the deep snow of a long winter"])
