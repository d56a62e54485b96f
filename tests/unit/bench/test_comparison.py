"""Ratios of two reports, and what makes them hard to compare."""

from __future__ import annotations

from dataclasses import replace

import pytest

from janus_edge.bench import compare
from janus_edge.bench.report import Memory
from tests.unit.bench.reports import MACHINE, mode, report


def test_equal_reports() -> None:
    found = compare(report(), report())
    assert found.warnings == found.left_out == ()
    assert {r.ratio for r in found.ratios} == {1.0}
    assert {r.what for r in found.ratios} >= {
        "prefill",
        "language_model",
        "host",
        "tokens",
        "images",
    }


def test_twice_as_fast() -> None:
    """Durations halved and tokens doubled are both 2 times better; memory stays."""
    found = compare(report(), report(modes={"image": mode(0.5)}))
    ratios = {r.what: r.ratio for r in found.ratios}
    same = {"peak of process", "start to first", "energy of a token"}
    assert {w: r for w, r in ratios.items() if w in same} == dict.fromkeys(same, 1.0)
    assert all(r == pytest.approx(2.0) for w, r in ratios.items() if w not in same)


def test_warnings() -> None:
    """Other machines, bundles, versions and requests are told with both values."""
    first = report()
    second = replace(
        first,
        machine=replace(MACHINE, cores=4),
        subject=replace(first.subject, name="other", digest="1" * 64, target=None),
        versions={"janus-edge": "1", "onnxruntime": "1.32.0", "tensorrt": "11"},
        modes={"image": mode(rows=4, pictures=2)},
        options=replace(first.options, threads=1, parallel="auto"),
    )
    assert compare(first, second).warnings == (
        "the machines differ: cores 2 and 4",
        "the bundles differ: a <b> & c (int4-weight, ort-cpu) 000000000000 and other (int4-weight) "
        "111111111111",
        "the versions of onnxruntime differ: 1.31.1 and 1.32.0",
        "the versions of tensorrt differ: absent and 11",
        "the image requests differ: rows 2 and 4",
        "the image requests differ: pictures 1 and 2",
        "the codes of a pass differ: off and auto (--parallel)",
        "the threads differ: 0 and 1",
    )


def test_what_only_one_has() -> None:
    """Is named, not compared."""
    found = compare(
        report(modes={"image": mode(), "text": mode()}),
        report(modes={"image": mode(memory=Memory(None, True, 5), step={**mode().step, "new": mode().step["host"]})}),
    )  # fmt: skip
    assert set(found.left_out) == {
        "text", "image new", "image peak of process", "image peak of device",
    }  # fmt: skip
    assert not {"new", "peak of process"} & {r.what for r in found.ratios}
