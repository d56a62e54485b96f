"""The memory-mapped table of token embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.errors import BundleError, InputError
from janus_edge.runtime.text_embeddings import TextEmbeddings
from tests.unit.runtime.fakes import fake_bundle

TABLE = np.random.default_rng(0).normal(size=(11, 6)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_of_the_table(tmp_path: Path, dtype: str) -> None:
    """Ids in any order, with repetitions, give their rows in the table's own dtype."""
    table = TABLE.astype(dtype)
    rows = TextEmbeddings(fake_bundle(tmp_path, table, dtype))([3, 0, 10, 3])
    assert rows.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(rows, table[[3, 0, 10, 3]])
    rows[:] = 0  # the rows are the caller's, not the file's


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    """A bfloat16 table gives float32 rows with the same values: all 65536 of them."""
    bits = np.arange(65536, dtype=np.uint16).reshape(-1, 8)
    rows = TextEmbeddings(fake_bundle(tmp_path, bits, "bfloat16"))(range(len(bits)))
    assert rows.dtype == np.float32
    # a bfloat16 is the upper half of a float32
    np.testing.assert_array_equal(rows.view(np.uint32) >> 16, bits)
    np.testing.assert_array_equal(rows.view(np.uint32) & 0xFFFF, 0)
    one = np.flatnonzero(bits.ravel() == 0x3F80)
    assert rows.ravel()[one] == 1.0


def test_no_ids(tmp_path: Path) -> None:
    """No ids give no rows, not an error."""
    assert TextEmbeddings(fake_bundle(tmp_path, TABLE, "float32"))([]).shape == (0, 6)


@pytest.mark.parametrize(("ids", "wrong"), [([0, 11, 5], 11), ([-1], -1), ([10, -2], -2)])
def test_ids_outside_the_vocabulary(tmp_path: Path, ids: list[int], wrong: int) -> None:
    """An id below 0 or beyond the table is refused by its number; numpy would wrap it around."""
    table = TextEmbeddings(fake_bundle(tmp_path, TABLE, "float32"))
    with pytest.raises(InputError, match=rf"token id {wrong} is outside .* of 11;"):
        table(ids)


def test_size_must_fit_the_manifest(tmp_path: Path) -> None:
    """A file that is shorter or longer than shape and dtype say is refused."""
    bundle = fake_bundle(tmp_path, TABLE, "float32")
    bundle.manifest.text_embeddings.shape = (12, 6)
    with pytest.raises(BundleError, match=r"table.bin: its size does not fit \(12, 6\) float32"):
        TextEmbeddings(bundle)
