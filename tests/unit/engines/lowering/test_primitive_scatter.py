"""TensorScatter becomes ScatterND, which writes the new rows into the cache and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from janus_edge.engines.lowering.primitive_scatter import rewrite
from janus_edge.runtime.session import OrtSession
from tests.unit.engines.lowering.primitive_graphs import check_equal, lowered, ops, parsed

SCATTER = """
scatter (float[B,3,C,4] pk, float[B,3,C,4] pv, float[B,3,S,4] k, float[B,3,S,4] v, int64[B] at)
    => (float[B,3,C,4] yk, float[B,3,C,4] yv)
{
    [k] yk = TensorScatter <axis = 2> (pk, k, at)
    [v] yv = TensorScatter (pv, v, at)
}
"""


def feeds(new: int) -> dict[str, np.ndarray]:
    """Rows at 0, at 7 and as far back as fits in 12 positions."""
    rng = np.random.default_rng(new)
    caches = {name: rng.normal(size=(3, 3, 12, 4)) for name in ("pk", "pv")}
    updates = {name: rng.normal(size=(3, 3, new, 4)) for name in ("k", "v")}
    return {**caches, **updates, "at": np.array([0, 12 - new - 1, 12 - new])}


def test_the_nodes() -> None:
    """One ScatterND for each, both with the same indices, and no attribute ``reduction``, which
    TensorRT's parser refuses before 10.9 whatever it says."""
    model = lowered(SCATTER, rewrite)
    scatters = [n for n in model.graph if n.op_type == "ScatterND"]
    assert [n.inputs[0].name for n in scatters if n.inputs[0]] == ["pk", "pv"]
    assert scatters[0].inputs[1] is scatters[1].inputs[1]
    assert all(not n.attributes for n in scatters)
    assert "Where" not in ops(model)


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize("new", [1, 4, 11])
def test_the_values_stay(dtype: str, new: int) -> None:
    check_equal(SCATTER, rewrite, dtype, feeds(new))


def test_updates_of_other_lengths_have_indices_of_their_own() -> None:
    text = SCATTER.replace("float[B,3,S,4] v", "float[B,3,T,4] v")
    scatters = [n for n in lowered(text, rewrite).graph if n.op_type == "ScatterND"]
    assert scatters[0].inputs[1] is not scatters[1].inputs[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_past_and_present_in_one_buffer(tmp_path: Path, dtype: type[np.floating]) -> None:
    """ONNX Runtime writes the new rows into the bound buffer: the same result as with two buffers,
    and every other value bit for bit what it was."""
    model = lowered(SCATTER, rewrite, "float" if dtype is np.float32 else "float16")
    path = tmp_path / "scatter.onnx"
    onnx.save(ir.to_proto(model), str(path))
    cast = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in feeds(4).items()}
    apart = {name: np.zeros_like(cast["pk"]) for name in ("yk", "yv")}
    session = OrtSession(path, threads=1)
    session.bind(cast, apart)()
    before = cast["pk"].copy()
    session.bind(cast, {"yk": cast["pk"], "yv": cast["pv"]})()
    np.testing.assert_array_equal(cast["pk"], apart["yk"])
    np.testing.assert_array_equal(cast["pv"], apart["yv"])
    changed = (before != cast["pk"]).any((1, 3))
    positions = np.arange(12)
    expected = [(positions >= at) & (positions < at + 4) for at in cast["at"]]
    np.testing.assert_array_equal(changed, expected)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<axis = 2>", '<axis = 2, mode = "circular">', "TensorScatter has mode = circular"),
        ("<axis = 2>", "<axis = 3>", "TensorScatter has axis = 3"),
        ("(pk, k, at)", "(pk, k)", "it has no write indices"),
    ],
)
def test_others_are_left(old: str, new: str, reason: str) -> None:
    model = parsed(SCATTER.replace(old, new))
    outcome = rewrite(model)
    assert outcome.changed == 1
    assert outcome.left == (f"k: {reason}",)
    assert ops(model)["TensorScatter"] == 1
