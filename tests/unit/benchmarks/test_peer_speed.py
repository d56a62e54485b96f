"""Peers side by side: the same work, told in the same words; no test asserts a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from agreement import agreement
from checkpoint_reader import CheckpointReader
from growing_cache_convert import GraphFile, Linears
from onnx import TensorProto
from peers import PEERS, REFERENCE, TRUTH, Peer
from rotary_pairs import paired
from summary import quantile, ratios, spread
from table import table
from work import ITEMS, POSITION, Work, guided, sampled
from worker_process import WorkerError, WorkerProcess

CONFIG = {
    "text_config": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "intermediate_size": 64, "rms_norm_eps": 1e-6, "rope_parameters": {"rope_theta": 10000.0},
        "vocab_size": 300, "bos_token_id": 1, "pad_token_id": 2,
    },
    "vision_config": {"image_size": 32, "num_image_tokens": 4},
    "vq_config": {"num_embeddings": 64},
}  # fmt: skip

#: A worker of one item that counts; it prints as noisy libraries do.
WORKER = """
import numpy as np
from protocol import Runner, serve

def load(given):
    print("a library's own words")
    if given.option == "broken":
        raise SystemExit("no such weights")
    counts = []
    def run():
        counts.append(len(counts))
        print("more words")
        return [0.5] * given.work.steps
    return Runner(run, lambda: np.array([len(counts), given.threads]), ["noted"])

serve(load, ("numpy",))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    generation = {"generation_kwargs": {"boi_token_id": 3}}
    (folder / "generation_config.json").write_text(json.dumps(generation), "utf-8")
    return folder


def start(tmp_path: Path, checkpoint: Path, option: str = "") -> WorkerProcess:
    script = tmp_path / "worker.py"
    # the folder of a script comes first on its path; workers lie beside protocol.py
    here = Path(__file__).parents[3] / "benchmarks/peers/speed"
    script.write_text(f"import sys; sys.path.insert(0, {str(here)!r})\n{WORKER}", "utf-8")
    peer = Peer("one", str(script), "", 1.0, option=option)
    return WorkerProcess(
        peer, "vq", checkpoint=checkpoint, models=tmp_path, environments=tmp_path, threads=2, steps=3,
        log=tmp_path / "log",
    )  # fmt: skip


def test_work_is_the_same_for_everyone(checkpoint: Path) -> None:
    """Inputs depend on the sizes alone, and steps lie around one position however many there are."""
    one, other = Work.of(checkpoint, 4), Work.of(checkpoint, 4)
    for name in (
        "step_prompt",
        "step_codes",
        "prefill",
        "pixels",
        "picture_codes",
        "prompt_ids",
        "prompt",
    ):
        np.testing.assert_array_equal(getattr(one, name)(), getattr(other, name)())
    assert one.step_prompt().shape == (2, POSITION - 2, 32)
    assert [Work.of(checkpoint, n).first + n // 2 for n in (4, 24)] == [POSITION, POSITION]
    assert list(one.prompt_ids()[[0, -1]]) == [1, 3]


def test_guidance() -> None:
    """The code is the argmax of unconditional + 5 (conditional - unconditional)."""
    logits = np.array([[1.0, 0.9, 0.0], [1.0, 0.5, 0.0]], np.float32)
    assert guided(logits) == 1
    draws = [sampled(100 * logits, np.random.default_rng(seed)) for seed in range(8)]
    assert draws == [1] * 8


def test_worker_answers_and_keeps_its_libraries_quiet(tmp_path: Path, checkpoint: Path) -> None:
    with start(tmp_path, checkpoint) as worker:
        assert worker.ready["notes"] == ["noted"]
        answer = worker.ask(do="run", times=2)
        assert answer["seconds"] == [0.5] * 6
        assert answer["memory"]["peak"] >= answer["memory"]["resident"] > 0
        target = tmp_path / "one.npy"
        assert worker.ask(do="output", to=str(target))["shape"] == [2]
        np.testing.assert_array_equal(np.load(target), [2, 2])
    assert "a library's own words" in (tmp_path / "log").read_text("utf-8")


def test_worker_that_ends_says_why(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(WorkerError, match="no such weights"):
        start(tmp_path, checkpoint, "broken")


def test_checkpoint_is_read_without_torch(tmp_path: Path) -> None:
    """bfloat16 is the upper half of float32."""
    values = np.array([[1.5, -2.0], [0.25, 3.0]], np.float32)
    half = (values.view(np.uint32) >> 16).astype(np.uint16)
    header = {
        "a": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
    }
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + half.tobytes() + values.tobytes()
    (tmp_path / "model.safetensors").write_bytes(data)
    read = CheckpointReader(tmp_path)
    np.testing.assert_array_equal(read("a"), values)
    np.testing.assert_array_equal(read("b"), values.ravel())


@pytest.mark.parametrize(
    ("quantised", "name", "bound"),
    [(False, "graph", 1e-5), (True, "graph", 0.15), (True, "graph-level-0", 0.12)],
)
def test_products_of_the_layout(tmp_path: Path, quantised: bool, name: str, bound: float) -> None:
    """In float they are exact; in blocks of 4 bits as close as 4 bits are, at either level."""
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((48, 64), np.float32)
    x = generator.standard_normal((3, 64), np.float32)
    graph = GraphFile(tmp_path / "graph.onnx")
    linears = Linears(graph, lambda _: matrix, quantised)  # type: ignore[arg-type]
    graph.add("Identity", [linears("x", "layer")], "y")
    floats = TensorProto.FLOAT
    graph.save({"x": (floats, [3, 64])}, {"y": (floats, [3, 48])})
    session = ort.InferenceSession(tmp_path / f"{name}.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    wanted = x @ matrix.T
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < bound


def test_rows_in_pairs() -> None:
    """Rotating pairs of the reordered rows gives the reordered result of rotating halves."""
    head_dim, generator = 8, np.random.default_rng(0)
    matrix, angles = generator.standard_normal((16, 4)), generator.standard_normal(4)
    x = (matrix @ generator.standard_normal(4)).reshape(2, 2, 4)
    turned = x[:, 0] + 1j * x[:, 1]
    turned = turned * np.exp(1j * angles)
    halves = np.stack([turned.real, turned.imag], 1).reshape(16, 1)
    pairs = paired(x.reshape(16, 1), head_dim).reshape(2, 4, 2)
    by_pairs = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angles)
    flat = np.stack([by_pairs.real, by_pairs.imag], -1).reshape(16, 1)
    np.testing.assert_allclose(flat, paired(halves, head_dim), rtol=1e-12)


def test_summary() -> None:
    """Quantiles are numpy's; a ratio is of the medians of one round."""
    values = [3.0, 1.0, 4.0, 1.5, 9.0]
    assert quantile(values, 0.9) == pytest.approx(np.quantile(values, 0.9))
    assert spread(values)["median"] == 3.0
    assert ratios([[2.0, 4.0], [9.0]], [[1.0], [3.0]])["rounds"] == [3.0, 3.0]


def test_agreement(tmp_path: Path) -> None:
    """Equal logits agree wholly; others by their angle, and other shapes are refused."""
    logits = np.random.default_rng(0).standard_normal((4, 2, 16), np.float32)
    for name, values in (("a", logits), ("b", -logits), ("c", logits[:2])):
        np.save(tmp_path / f"{name}.npy", values)
    same = agreement("step", tmp_path / "a.npy", tmp_path / "a.npy")
    assert same == pytest.approx({"cosine": 1, "relative_error": 0, "top1": 1, "top1_of_rows": 1})
    assert agreement("vq", tmp_path / "b.npy", tmp_path / "a.npy")["cosine"] == pytest.approx(-1)
    with pytest.raises(SystemExit, match="shape"):
        agreement("step", tmp_path / "c.npy", tmp_path / "a.npy")


def test_every_item_has_its_reference() -> None:
    """What ratios and agreement are taken against is a peer that does the item."""
    by_name = {peer.name: peer for peer in PEERS}
    assert len(by_name) == len(PEERS)
    assert set(REFERENCE) == set(ITEMS)
    for item, name in REFERENCE.items():
        assert item in by_name[name].items
        assert item in by_name[TRUTH].items


def test_table() -> None:
    """A line per peer, the fastest first; one that failed is told with its reason."""
    memory = {"running": 1 << 30, "peak": 2 << 30}
    row = {
        "seconds": spread([0.05]),
        "over_reference": ratios([[0.05]], [[0.05]]),
        "memory": memory,
    }
    slow = {**row, "seconds": spread([2.5]), "agreement": {"cosine": 0.99, "top1": 0.5}}
    peers = {"slow": slow, "fast": row, "lost": {"failed": "no memory"}}
    machine = {"date": "", "processor": "", "instructions": [], "cores": 2, "memory_bytes": 1 << 34}
    text = table({
        "command": "", "machine": machine, "settings": {"threads": 2},
        "items": {"step": {"peers": peers}},
    })  # fmt: skip
    assert text.index("| fast | 50.0 |") < text.index("| slow | 2500 |")
    assert "0.99000, 50 % |" in text
    assert "- lost: no memory" in text
