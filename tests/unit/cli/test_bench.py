"""`janus-edge bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bench import Options, Report
from janus_edge.bench.options import MODES
from janus_edge.cli import bench_command, cli
from tests.unit.bench.reports import mode, report
from tests.unit.cli.conftest import Run

QUICK = ("--repetitions", "1", "--steps", "3", "--answer-tokens", "2", "--sweep-steps", "2")


@pytest.fixture(autouse=True)
def small_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("janus_edge.bench.benchmark.buffer_size", lambda machine: 1 << 20)


def test_defaults_are_those_of_the_options() -> None:
    """The command's defaults, which are written out for a quick --help, are Options'."""
    defaults = {p.name: p.default for p in cli.commands["bench"].params}
    for name in ("repetitions", "warm_up", "steps", "answer_tokens", "pictures", "prompts",
                 "parallel", "sweep_steps", "threads", "seed"):  # fmt: skip
        assert defaults[name] == getattr(Options(), name), name
    assert bench_command._MODES == MODES


def test_tables_and_files(janus_edge: Run, tiny_bundle: Path) -> None:
    """Tables on standard output, progress on the other, and both files whole."""
    done = janus_edge(
        "bench", tiny_bundle, *QUICK, "--json", "r.json", "--html", "r.html", "--sweep-pictures", "1,2",
        "--sweep-capacity", "128",
    )  # fmt: skip
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    first = [" ".join(row[:2]) for row in rows if row]
    for name in ("VQ decoder", "vision encoder", "language model", "host: the", "peak memory"):
        assert name in first, done.out
    assert ["text:", "positions", "of", "the", "cache"] in rows
    assert "the limit is " in done.out
    assert all(what in done.err and what not in first for what in ("hashes", "bandwidth", "sweeps"))
    found = Report.load("r.json")
    assert found.options.sweeps == {"pictures": (1, 2), "capacity": (128,)}
    assert Path("r.html").read_text("utf-8").startswith("<!doctype html>")
    assert sorted(p.name for p in Path().iterdir()) == ["r.html", "r.json"]


def test_several_codes_a_pass(janus_edge: Run, tiny_bundle: Path) -> None:
    """Passes and what they gain are in the tables and in the file."""
    done = janus_edge(
        "bench", tiny_bundle, *QUICK, "--only", "image", "--parallel", "3", "--sweep-parallel", "1,2",
        "--json", "r.json",
    )  # fmt: skip
    assert done.code == 0
    assert ["image:", "passes"] in [line.split() for line in done.out.splitlines()]
    assert "gained by a pass" in done.out
    assert "image: codes of a pass" in done.out
    found = Report.load("r.json")
    told = found.modes["image"].parallel
    assert told is not None
    assert [*told.widths] == ["3"]
    assert [p.value for p in found.sweeps[0].points] == [1, 2]


def test_one_mode(janus_edge: Run, tiny_bundle: Path) -> None:
    done = janus_edge("bench", tiny_bundle, *QUICK, "--only", "text", "--prompt", "unused")
    assert done.code == 0
    assert "text: a step" in done.out
    assert "image: " not in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "no bundle was given"),
        (("missing",), 4, "missing: no such bundle"),
        (("missing", "--repetitions", "0"), 2, "repetitions must be at least 1, found 0"),
        (("missing", "--pictures", "17"), 2, "pictures must be at most 16"),
        (("missing", "--only", "text", "--sweep-pictures", "1"), 2, "is for the mode image"),
        (("missing", "--parallel", "0"), 2, "parallel must be 'off', 'auto' or a number"),
        (("missing", "--only", "text", "--parallel", "4"), 2, "parallel: is for the mode image"),
        (("missing", "--image", "none.png"), 2, "none.png"),
        (
            ("missing", "--json", "none/r.json"),
            2,
            "none/r.json: give --json a .json file in an exis",
        ),
        (
            ("missing", "--html", "r.txt"),
            2,
            "r.txt: give --html a .html file in an existing folder",
        ),
        (("missing", "--json", "."), 2, "give --json a .json file"),
        (("--compare", "a.json", "b.json", "--json", "c.json"), 2, "--json is for measuring"),
        (("bundle", "--compare", "a.json", "b.json"), 2, "a BUNDLE is for measuring"),
        (("--compare", "a.json", "b.json"), 2, "a.json: cannot be read"),
    ],
)
def test_errors(janus_edge: Run, arguments: tuple[str, ...], code: int, message: str) -> None:
    """One line that names what was wrong, before anything is measured."""
    done = janus_edge("bench", *arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.error


def test_numbers_that_are_none(janus_edge: Run) -> None:
    done = janus_edge("bench", "missing", "--sweep-pictures", "1,two")
    assert done.code == 2
    assert "'1,two': give whole numbers with commas between them" in done.err


def write(name: str, found: Report) -> str:
    Path(name).write_text(json.dumps(found.to_json()))
    return name


def test_compare(janus_edge: Run) -> None:
    """Ratios per stage; nothing to warn of."""
    files = write("a.json", report()), write("b.json", report(modes={"image": mode(0.25)}))
    done = janus_edge("bench", "--compare", *files)
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()]
    assert ["prefill", "10.0", "ms", "2.50", "ms", "4.00x"] in rows
    assert ["tokens", "1000", "tokens/s", "4000", "tokens/s", "4.00x"] in rows


def test_compare_warns(janus_edge: Run) -> None:
    """Of another bundle on standard error, and tells what only one of them has."""
    other: Any = report().to_json()
    other["subject"]["digest"] = "f" * 64
    other["machine"]["cores"] = 64
    Path("b.json").write_text(json.dumps(other))
    both = write("a.json", report(modes={"image": mode(), "text": mode()}))
    done = janus_edge("bench", "--compare", both, "b.json")
    assert done.code == 0
    assert "warning: the machines differ: cores 2 and 64" in done.err
    assert "warning: the bundles differ" in done.err
    assert "in one of them only: text" in done.out


def test_nothing_to_compare(janus_edge: Run) -> None:
    files = write("a.json", report()), write("b.json", report(modes={"text": mode()}))
    done = janus_edge("bench", "--compare", *files)
    assert done.code == 2
    assert "no mode in common" in done.error


def test_compare_another_schema(janus_edge: Run) -> None:
    newer = {**report().to_json(), "schema_version": 99}
    Path("b.json").write_text(json.dumps(newer))
    done = janus_edge("bench", "--compare", write("a.json", report()), "b.json")
    assert done.code == 2
    assert "b.json: has schema version 99; this janus-edge reads versions up to 2" in done.error
