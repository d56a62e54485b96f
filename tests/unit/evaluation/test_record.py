"""Records of outcomes: they survive being cut short, and refuse what does not belong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from janus_edge.errors import InputError
from janus_edge.evaluation.record import Outcome, Record, codes_hash
from janus_edge.evaluation.report import Painted

FIRST = Outcome(Painted("counting", "two stars", 1, 5.0, None), "ab" * 16)
SECOND = Outcome(Painted("counting", "two stars", 2, 5.0, "wrong shape"), "cd" * 16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "record.jsonl"
    record = Record.open(path, "digest", "fp32")
    record.add([FIRST])
    record.add([SECOND])
    return path


def test_comes_back(path: Path) -> None:
    """What was added is there when the file is opened again, under its seed and scale."""
    record = Record.open(path, "digest", "fp32")
    assert len(record) == 2
    assert record.find("counting", "two stars", 2, 5.0) == SECOND
    assert record.find("counting", "two stars", 2, 6.0) is None
    assert record.find("dense", "two stars", 2, 5.0) is None


def test_torn_line(path: Path) -> None:
    """A line without its end is dropped, and the next one does not run into it."""
    path.write_bytes(path.read_bytes()[:-20])
    record = Record.open(path, "digest", "fp32")
    assert len(record) == 1
    record.add([SECOND])
    assert Record.read(path).find("counting", "two stars", 2, 5.0) == SECOND


@pytest.mark.parametrize(("digest", "precision"), [("other", "fp32"), ("digest", "int8")])
def test_another_bundle(path: Path, digest: str, precision: str) -> None:
    """Pictures of two bundles never share a record."""
    with pytest.raises(InputError, match="its pictures are by another bundle"):
        Record.open(path, digest, precision)


def test_another_prompt(path: Path) -> None:
    """A seed whose prompt changed belongs to another version."""
    with pytest.raises(InputError, match="made by another version"):
        Record.read(path).find("counting", "three stars", 1, 5.0)


@pytest.mark.parametrize(
    "text",
    ["", "{}\n", "nonsense\n", '{"format": "x", "digest": "", "precision": ""}\n', "[1]\n[2]\n"],
)
def test_not_a_record(tmp_path: Path, text: str) -> None:
    """Any other file is refused and left as it is."""
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=r"other.jsonl: not an evaluation record .*give another"):
        Record.open(path, "digest", "fp32")
    assert path.read_text() == text


def test_damaged_line(path: Path) -> None:
    """A broken line in the middle is an error, not a gap."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-5], lines[2]]) + "\n")
    with pytest.raises(InputError, match="not an evaluation record"):
        Record.read(path)
    wrong = json.loads(lines[1]) | {"extra": 1}
    path.write_text("\n".join([lines[0], json.dumps(wrong)]) + "\n")
    with pytest.raises(InputError, match="unknown key 'outcome.extra'"):
        Record.read(path)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Record.read(tmp_path / "no.jsonl")
    with pytest.raises(InputError, match="cannot be written"):
        Record.open(tmp_path / "no" / "record.jsonl", "digest", "fp32")


def test_hash() -> None:
    """One code makes another hash; the type of the integers does not."""
    codes = np.arange(256)
    other = codes.copy()
    other[7] = 8
    assert codes_hash(codes) == codes_hash(codes.astype(np.int32))
    assert codes_hash(codes) != codes_hash(other)
