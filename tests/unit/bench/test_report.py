"""Reports become JSON and come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bench import Report
from janus_edge.bench.energy import Energy
from janus_edge.bench.labels import notes
from janus_edge.bench.tables import main_table, report_tables
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


def test_reports_of_version_1() -> None:
    """Reports without idle power and device state are read, and show what they have."""
    data: dict[str, Any] = {**report().to_json(), "schema_version": 1}
    mode = data["modes"]["image"]
    for name in ("gross", "net", "device"):
        del mode[name]
    mode["energy"] = {"joules": 12.0, "seconds": 4.0, "source": "RAPL (package-0)"}
    found = Report.from_json(data)
    assert found.modes["image"].energy.net_joules is None
    rows = {row[0]: row[1] for row in main_table(found).rows}
    assert rows["energy of a code or token"] == "37.5 mJ"
    assert "energy of a step" not in rows


def test_energy_in_words() -> None:
    """The report gives gross and net energy, what is missing, a lost sensor, and why clocks were lowered."""
    rows = {row[0]: row[1] for row in main_table(report()).rows}
    assert rows["energy of a code or token"] == "37.5 mJ, 25.0 mJ above idle"
    assert rows["energy of a step"] == "3.00 mJ, 2.00 mJ above idle"
    assert rows["energy of an image"] == "~2.00 J, ~1.33 J above idle"
    said = "\n".join(notes(report()))
    assert "3.00 W by RAPL (package-0); 1.00 W of that at rest" in said
    assert "dram: lost after 1.0 s (gone); not in it: the GPU" in said
    assert "power mode 25W (1); clocks not held" in said
    assert "lowered by: power cap; not read: EMC clock" in said
    assert "too short" not in said
    short = mode(energy=Energy(0.4, 0.5, "INA sensors (VDD_IN)"))
    assert "in 500 ms, too short to be exact" in "\n".join(notes(report(modes={"image": short})))
    tables = {table.title: table.rows for table in report_tables(report())}
    assert tables["image: energy of 4.00 s"] == (
        ("package-0", "12.0 J", "3.00 W", "1.00 W"),
        ("dram (part of another)", "unknown", "", ""),
        ("total", "12.0 J", "3.00 W", "1.00 W"),
    )
    assert tables["image: the device"] == (("GPU clock", "306 MHz", "900 MHz", "1020 MHz"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a report of `janus-edge bench`"),
        ('{"kind": "engine"}', "not a report of `janus-edge bench`"),
        (
            '{"kind": "janus-edge bench", "schema_version": 3}',
            "schema version 3; .* reads versions up to 2",
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
