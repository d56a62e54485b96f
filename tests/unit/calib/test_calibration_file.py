"""Calibration files: written whole or not at all, and refused unless whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.calib.calibration_file import SCHEMA_VERSION, Calibration
from janus_edge.calib.statistics import InputStatistics
from janus_edge.errors import InputError

NODES = [("vision", "blocks.0.attn.qkv/MatMul"), ("vq_decoder", "conv_in/Conv"), ("vision", "ä")]


def calibration() -> Calibration:
    """Three nodes: with a gram, of a convolution, and one that saw nothing."""
    rng = np.random.default_rng(0)
    linear = InputStatistics(5, row_limit=4, seed=3, gram=True)
    linear.add(rng.normal(size=(2, 9, 5)).astype(np.float32))
    convolution = InputStatistics(3, axis=1, row_limit=40, seed=3)
    convolution.add(rng.normal(size=(1, 3, 4, 4)).astype(np.float32))
    recorded = [linear, convolution, InputStatistics(2)]
    graphs: dict[str, dict[str, InputStatistics]] = {}
    for (graph, node), statistics in zip(NODES, recorded, strict=True):
        graphs.setdefault(graph, {})[node] = statistics
    options: dict[str, str | int | float | bool] = {
        "seed": 3,
        "alpha": 0.5,
        "gram": True,
        "set": "ä",
    }
    return Calibration(
        "ab" * 32, graphs, {"numpy": np.__version__}, options, {"prompts": 2, "rows": 34}
    )  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, Any]:
    """The arrays of a saved calibration."""
    calibration().save(tmp_path / "saved.npz")
    with np.load(tmp_path / "saved.npz") as archive:
        return {name: archive[name] for name in archive.files}


def write(path: Path, arrays: dict[str, Any], header: Any = None, **changes: Any) -> Path:
    """A file with some of its arrays replaced, or left out where None."""
    content = {**arrays, **changes}
    if header is not None:
        content["header"] = np.array(header if isinstance(header, str) else json.dumps(header))
    np.savez(path, **{k: v for k, v in content.items() if v is not None})
    return path


def header_of(arrays: dict[str, Any]) -> Any:
    return json.loads(str(arrays["header"]))


def assert_equal(a: InputStatistics, b: InputStatistics) -> None:
    for name in ("channel_maximum", "channel_sum", "channel_squares", "row_keys", "sample_rows"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("channels", "axis", "row_limit", "seeds", "count"):
        assert getattr(a, name) == getattr(b, name)
    np.testing.assert_array_equal(a.histogram.counts, b.histogram.counts)
    assert a.histogram.maximum == b.histogram.maximum
    assert (a.gram is None) == (b.gram is None)
    if a.gram is not None and b.gram is not None:
        np.testing.assert_array_equal(a.gram, b.gram)


def test_round_trip(tmp_path: Path) -> None:
    """What is saved is loaded, to the last bit, and nothing is left beside the file."""
    made = calibration()
    made.save(tmp_path / "c.npz")
    loaded = Calibration.load(tmp_path / "c.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]
    assert (loaded.bundle_digest, loaded.tools, loaded.options, loaded.counts) == (
        made.bundle_digest, made.tools, made.options, made.counts,
    )  # fmt: skip
    assert [type(v) for v in loaded.options.values()] == [int, float, bool, str]
    assert {g: list(nodes) for g, nodes in loaded.graphs.items()} == {
        g: list(nodes) for g, nodes in made.graphs.items()
    }
    for graph, node in NODES:
        assert_equal(loaded.statistics(graph, node), made.statistics(graph, node))


def test_recording_goes_on(tmp_path: Path) -> None:
    """A loaded recorder continues as the saved one would have."""
    made = calibration()
    made.save(tmp_path / "c.npz")
    loaded = Calibration.load(tmp_path / "c.npz")
    more = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32) * 9
    for each in (made, loaded):
        each.statistics(*NODES[0]).add(more)
    assert_equal(loaded.statistics(*NODES[0]), made.statistics(*NODES[0]))


def test_the_bundle_is_checked() -> None:
    """Figures of one bundle are not used for another."""
    calibration().check_bundle("ab" * 32)
    with pytest.raises(InputError, match=r"digest abababababab, not cdcdcdcdcdcd\); calibrate"):
        calibration().check_bundle("cd" * 32)


def test_a_node_that_was_not_recorded() -> None:
    for graph, node in (("vision", "nope"), ("nope", "conv_in/Conv")):
        with pytest.raises(InputError, match=f"no input of '{node}' in graph '{graph}'"):
            calibration().statistics(graph, node)


@pytest.mark.parametrize("target", ["missing/c.npz", "folder"])
def test_unwritable(tmp_path: Path, target: str) -> None:
    """A target that cannot be written is an InputError, and nothing is left beside it."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        calibration().save(tmp_path / target)
    assert [p.name for p in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_options_are_json(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match="options are no JSON"):
        Calibration("0", {}, options={"x": value}).save(tmp_path / "c.npz")
    assert not list(tmp_path.iterdir())


NAMES = [
    "0.counts", "0.channel_maximum", "0.channel_sum", "0.channel_squares", "0.row_keys",
    "0.sample_rows", "0.gram",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_array_is_checked(tmp_path: Path, saved: dict[str, Any], name: str) -> None:
    """Missing, of another dtype or shape, or not finite: refused with node and array."""
    path, array = tmp_path / "c.npz", saved[name]
    where = f"c.npz: node 'blocks.0.attn.qkv/MatMul' of graph 'vision': .*'{name[2:]}'"
    wrongs = [None, array[None], array[:-1], array.astype(np.float16), array.astype(str)]
    if array.dtype.kind == "f":
        for bad in (np.nan, np.inf):
            spoiled = array.copy()
            spoiled.flat[0] = bad
            wrongs.append(spoiled)
    for wrong in wrongs:
        with pytest.raises(InputError, match=where + ".*; calibrate again"):
            Calibration.load(write(path, saved, **{name: wrong}))


@pytest.mark.parametrize("name", ["0.counts", "0.channel_maximum", "0.channel_squares"])
def test_negative_figures(tmp_path: Path, saved: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match="has negative values"):
        Calibration.load(write(tmp_path / "c.npz", saved, **{name: saved[name] * 0 - 1}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 17}, "90 values are not 17 rows"),
        ({"channels": 4}, r"'channel_maximum' is float32 \[5\], not float32 \[4\]"),
        ({"channels": 0}, "not float32"),
        ({"axis": 2}, "axis -1 or 1"),
        ({"row_limit": 3}, "'row_keys' is"),
        ({"seeds": []}, "needs a seed"),
        ({"seeds": [-1]}, "needs a seed"),
        ({"maximum": 77.0}, "does not belong to the maximum"),
        ({"maximum": float("nan")}, "does not belong to the maximum"),
        ({"exponent": 60}, "does not belong to the maximum"),
        ({"gram": False}, "has 'gram', which its header denies"),
        ({"graph": "vq_decoder", "node": "conv_in/Conv"}, "twice"),
        ({"extra": 1}, r"unknown key 'nodes\[0\].extra'"),
        ({"count": "18"}, r"nodes\[0\].count: expected int"),
    ],
)
def test_wrong_node(
    tmp_path: Path, saved: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """What the header says of a node must agree with its arrays."""
    header = header_of(saved)
    header["nodes"][0].update(changes)
    with pytest.raises(InputError, match=message):
        Calibration.load(write(tmp_path / "c.npz", saved, header))


def test_rows_out_of_order(tmp_path: Path, saved: dict[str, Any]) -> None:
    keys = saved["0.row_keys"][::-1]
    with pytest.raises(InputError, match="not in order"):
        Calibration.load(write(tmp_path / "c.npz", saved, **{"0.row_keys": keys}))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "not a calibration file"),
        ("[]", "expected an object"),
        ("null", "has no array 'header'"),
        ({"schema_version": SCHEMA_VERSION + 1}, "schema version 2, this janus-edge reads 1"),
        ({"schema_version": 1}, "missing key 'bundle_digest'"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"schema_version": "1"}, "schema_version: expected int"),
    ],
)
def test_wrong_header(tmp_path: Path, saved: dict[str, Any], header: Any, message: str) -> None:
    """The header is read as strictly as a manifest; of another schema nothing else is read."""
    if isinstance(header, dict) and "bundle_digest" not in message:
        header = {**header_of(saved), **header}
    with pytest.raises(InputError, match=message):
        Calibration.load(write(tmp_path / "c.npz", saved, header))


def test_no_header_and_unknown_arrays(tmp_path: Path, saved: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="has no array 'header'; calibrate again"):
        headless = {name: array for name, array in saved.items() if name != "header"}
        Calibration.load(write(tmp_path / "c.npz", headless))
    with pytest.raises(InputError, match=r"unknown array '7.counts'"):
        Calibration.load(write(tmp_path / "c.npz", saved, **{"7.counts": np.zeros(3)}))


def test_no_pickles(tmp_path: Path, saved: dict[str, Any]) -> None:
    """An array of objects would run code when it is read: refused."""
    path = write(tmp_path / "c.npz", saved, **{"0.counts": np.array([{}], object)})
    with pytest.raises(InputError, match="not a calibration file"):
        Calibration.load(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_not_an_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"c\.npz: not a calibration file"):
        Calibration.load(path)


def test_other_files(tmp_path: Path) -> None:
    """A missing file, a folder and a lone array are refused alike."""
    np.save(tmp_path / "lone.npy", np.zeros(3))
    for path in (tmp_path / "nope.npz", tmp_path, tmp_path / "lone.npy"):
        with pytest.raises(InputError, match="not a calibration file"):
            Calibration.load(path)


def test_every_damage(tmp_path: Path) -> None:
    """Wherever the file is cut or a byte of it flipped: refused, or read as it was written."""
    made = calibration()
    made.save(tmp_path / "good.npz")
    good, path = (tmp_path / "good.npz").read_bytes(), tmp_path / "c.npz"
    for place in range(0, len(good), 1009):
        path.write_bytes(good[:place])
        with pytest.raises(InputError):
            Calibration.load(path)
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            read = Calibration.load(path)
        except InputError:
            continue
        for graph, node in NODES:
            assert_equal(read.statistics(graph, node), made.statistics(graph, node))
