"""Reports become JSON and come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bench import Report
from janus_edge.errors import InputError
from tests.unit.bench.reports import PASSES, mode, report


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for found in (report(), report(modes={"image": mode(parallel=PASSES)})):
        path.write_text(json.dumps(found.to_json(), allow_nan=False))
        assert Report.load(path) == found


def test_reports_of_the_time_before_several_codes_a_pass() -> None:
    """They painted code by code, and are read so."""
    old: Any = report().to_json()
    del old["options"]["parallel"], old["modes"]["image"]["parallel"]
    for point in old["sweeps"][0]["points"]:
        del point["codes_per_step"]
    assert Report.from_json(old) == report()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a report of `janus-edge bench`"),
        ('{"kind": "engine"}', "not a report of `janus-edge bench`"),
        (
            '{"kind": "janus-edge bench", "schema_version": 3}',
            "schema version 3; .* reads 2 and before",
        ),
        ('{"kind": "janus-edge bench", "schema_version": 1}', "missing key 'date'"),
    ],
)
def test_other_files(tmp_path: Path, text: str, message: str) -> None:
    """Each is named with what is wrong about it."""
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"other\.json: .*{message}"):
        Report.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        Report.load(tmp_path / "none.json")


def test_damaged_figures() -> None:
    """Percentiles that contradict each other are refused with their place."""
    data: dict[str, Any] = report().to_json()
    data["modes"]["image"]["step"]["host"]["p99"] = 0.0
    with pytest.raises(InputError, match=r"modes\.image\.step\.host: minimum <= median"):
        Report.from_json(data)
    data = report().to_json()
    data["machine"]["host_name"] = "x"
    with pytest.raises(InputError, match=r"unknown key 'machine\.host_name'"):
        Report.from_json(data)
