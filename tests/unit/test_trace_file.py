"""Reference traces: written whole or not at all, and refused unless whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.errors import InputError
from janus_edge.schema import to_dict
from janus_edge.trace_file import SCHEMA_VERSION, SHAPES, ReferenceTrace, TraceMeta

META = TraceMeta(SCHEMA_VERSION, "tiny", "0" * 64, "ein roter Fuchs 🦊", 7, 5.0, 1.0)
SIZES = {"1": 1, "2": 2, "3": 3, "I": 8, "T": 4, "H": 6, "K": 5, "V": 9, "n": 2, "m": 2, "S": 3}


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made = {}
    for name, symbols in SHAPES.items():
        shape = [SIZES[s] for s in symbols]
        codes = name.endswith("image_codes")
        made[name] = rng.integers(0, 5, shape) if codes else rng.normal(size=shape)
    return {n: a if a.dtype.kind == "i" else a.astype(np.float32) for n, a in made.items()}


def write(path: Path, **changes: Any) -> Path:
    """A trace file with some of its arrays replaced, or left out where None."""
    content = {"meta": np.array(json.dumps(to_dict(META))), **arrays(), **changes}
    np.savez(path, **{k: v for k, v in content.items() if v is not None})
    return path


def test_round_trip(tmp_path: Path) -> None:
    """What is saved is loaded, to the last bit."""
    trace = ReferenceTrace(META, arrays())
    trace.save(tmp_path / "t.npz")
    loaded = ReferenceTrace.load(tmp_path / "t.npz")
    assert loaded.meta == META
    assert loaded.steps == 3
    assert loaded.arrays.keys() == trace.arrays.keys() == SHAPES.keys()
    for name, array in trace.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
        assert loaded.arrays[name].dtype == array.dtype
    assert [p.name for p in tmp_path.iterdir()] == ["t.npz"]


@pytest.mark.parametrize("target", ["missing/t.npz", "file/t.npz", "folder"])
def test_unwritable(tmp_path: Path, target: str) -> None:
    """A target that cannot be written is an InputError, and nothing is left beside it."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="cannot be written"):
        ReferenceTrace(META, arrays()).save(tmp_path / target)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["meta", *SHAPES])
def test_missing_array(tmp_path: Path, name: str) -> None:
    """Every array is needed, and the missing one is named."""
    ReferenceTrace.load(write(tmp_path / "good.npz"))
    with pytest.raises(InputError, match=f"has no array '{name}'; record the trace again"):
        ReferenceTrace.load(write(tmp_path / "t.npz", **{name: None}))


@pytest.mark.parametrize("name", SHAPES)
def test_wrong_array(tmp_path: Path, name: str) -> None:
    """Another shape or kind of values than the table's is refused."""
    good = arrays()[name]
    kind = np.float32 if good.dtype.kind == "i" else np.int64
    for wrong in (
        good[None],
        good[:0],
        good.astype(kind),
        good.astype(str),
        np.repeat(good, 5, -1),
    ):
        if wrong.shape == good.shape and wrong.dtype == good.dtype:
            continue
        path = write(tmp_path / "t.npz", **{name: wrong})
        same_kind = wrong.dtype.kind == good.dtype.kind and wrong.ndim == good.ndim and wrong.size
        if name == "text_head.logits" and same_kind:  # the only place of V, which may be any size
            ReferenceTrace.load(path)
        else:
            with pytest.raises(InputError, match="record the trace again"):
                ReferenceTrace.load(path)


def test_more_steps_than_codes(tmp_path: Path) -> None:
    """A trace longer than a picture would overrun the cache."""
    steps = {n: np.repeat(a, 2, 0) for n, a in arrays().items() if n.startswith("steps.")}
    with pytest.raises(InputError, match="6 steps, but a picture has 4 codes"):
        ReferenceTrace.load(write(tmp_path / "t.npz", **steps))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("{", "not a reference trace"),
        ("[]", "expected an object"),
        (json.dumps({**to_dict(META), "extra": 1}), "unknown key 'extra'"),
        (json.dumps({**to_dict(META), "seed": "7"}), "seed: expected int"),
        (json.dumps({**to_dict(META), "schema_version": 2}), "schema version 2, .* reads 1"),
    ],
)
def test_wrong_meta(tmp_path: Path, meta: str, message: str) -> None:
    """The settings are read as strictly as a manifest."""
    with pytest.raises(InputError, match=message):
        ReferenceTrace.load(write(tmp_path / "t.npz", meta=np.array(meta)))


def test_no_pickles(tmp_path: Path) -> None:
    """An array of objects would run code when it is read: refused."""
    path = write(tmp_path / "t.npz", **{"steps.logits": np.array([{}], object)})
    with pytest.raises(InputError, match="not a reference trace"):
        ReferenceTrace.load(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_not_an_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"t\.npz: not a reference trace"):
        ReferenceTrace.load(path)


def test_other_files(tmp_path: Path) -> None:
    """A missing file, a folder and a lone array are refused alike."""
    np.save(tmp_path / "lone.npy", np.zeros(3))
    (tmp_path / "lone.npy").rename(tmp_path / "lone.npz")
    for path in (tmp_path / "nope.npz", tmp_path, tmp_path / "lone.npz"):
        with pytest.raises(InputError, match="not a reference trace"):
            ReferenceTrace.load(path)


def test_every_damage(tmp_path: Path) -> None:
    """Wherever the file is cut or a byte of it flipped: refused, or read as it was written."""
    good = write(tmp_path / "good.npz").read_bytes()
    path = tmp_path / "t.npz"
    for place in range(0, len(good), 31):
        path.write_bytes(good[:place])
        with pytest.raises(InputError):
            ReferenceTrace.load(path)
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            read = ReferenceTrace.load(path)
        except InputError:
            continue
        assert read.meta == META
        assert all(np.array_equal(read.arrays[n], a) for n, a in arrays().items())
