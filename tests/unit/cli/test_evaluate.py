"""`janus-edge evaluate`, with a Janus that paints and answers the truth."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from janus_edge.cli import cli, evaluate_command
from janus_edge.evaluation import Options, Report
from janus_edge.evaluation.options import PARTS
from janus_edge.runtime.pipeline import Janus
from janus_edge.shapes.prompts import CATEGORIES
from tests.unit.evaluation.fakes import FakeJanus, noise

Run = Callable[..., Any]
TINY = ("--prompts", "2", "--questions", "2", "--scenes", "2", "--guidance", "1", "--guidance", "5")

#: A process in which scipy cannot be imported.
WITHOUT_SCIPY = """
import sys
sys.modules["scipy"] = None
from janus_edge.cli import main
main()
"""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeJanus:
    """What every bundle opens as: noise at guidance scale 1, the truth at 5, one wrong answer."""
    janus = FakeJanus(
        Options(prompts=2, questions=2),
        lambda prompt, seed, scale: noise if scale == 1 else None,
        lambda number, truth: "\x1b[1mnonsense " * 30 if number == 0 else truth,
    )
    monkeypatch.setattr(Janus, "load", lambda path, threads: janus)
    return janus


def test_help(janus_edge: Run) -> None:
    done = janus_edge("evaluate", "--help")
    assert (done.code, done.err) == (0, "")
    assert all(option in done.out for option in ("--guidance", "--sheet", "--only", "--json"))


def test_defaults_are_those_of_the_function() -> None:
    """The command's defaults and parts, which are written out for a quick --help, are Options'."""
    defaults = {p.name: p.default for p in cli.commands["evaluate"].params}
    expected = {name: p.default for name, p in inspect.signature(Options).parameters.items()}
    assert defaults["scales"] == expected["guidance_scales"]
    assert [defaults[n] for n in ("prompts", "questions", "scenes", "seed")] == [
        expected[n] for n in ("prompts", "questions", "scenes", "seed")
    ]
    assert evaluate_command._PARTS == PARTS
    assert len(CATEGORIES) == evaluate_command._CATEGORIES


def test_tables(janus_edge: Run, fake: FakeJanus) -> None:
    """Scores by category and scale, what was wrong, answers, and the codes; the bars on stderr."""
    done = janus_edge("evaluate", "bundle", *TINY)
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert ["counting", "0%", "0-66", "100%", "34-100"] in rows
    assert ["overall", "0%", "0-22", "100%", "78-100"] in rows
    assert ["count", "50%", "9-91"] in rows
    assert "faults" not in done.out, "nothing is wrong at scale 5, the best"
    assert "2 scenes turned into codes and back: mean PSNR 200.0 dB, still read right" in done.out
    assert "nonsense [1mnonsense ..." in done.out
    assert "\x1b" not in done.out
    assert all(part in done.err and part not in rows for part in PARTS)
    assert "28/28" in done.err


def test_faults(janus_edge: Run, fake: FakeJanus) -> None:
    """What is wrong at the best scale is told by category and kind."""
    out = janus_edge(
        "evaluate", "bundle", "--prompts", "2", "--guidance", "1", "--only", "painting"
    ).out
    assert "faults at the best scale, 1" in out
    assert "something unclear" in out
    assert ["dense", "2"] in [line.split() for line in out.splitlines()]
    assert "right answers" not in out


def test_json(janus_edge: Run, fake: FakeJanus) -> None:
    """Standard output is the report and nothing else, with every picture and every answer."""
    done = janus_edge("evaluate", "bundle", *TINY, "--json", "--sheet", "s.png")
    report = Report.from_json(json.loads(done.out))
    assert report.painting
    assert report.understanding
    assert [p.fault for p in report.painting.pictures] == ["something unclear"] * 14 + [None] * 14
    assert [a.right for a in report.understanding.answers] == [False] + [True] * 13


def test_sheet(janus_edge: Run, fake: FakeJanus) -> None:
    """The pictures of the best scale, in a PNG; nothing else is written."""
    done = janus_edge("evaluate", "bundle", *TINY, "--only", "painting", "--sheet", "s.png")
    assert done.code == 0
    assert done.err.splitlines()[-1] == "s.png"
    with Image.open("s.png") as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 1000
    assert [path.name for path in Path().iterdir()] == ["s.png"]


PAINT = ("--only", "painting", "--guidance", "5")


def test_pictures(janus_edge: Run, fake: FakeJanus) -> None:
    """As many as asked for, rounded up to a picture of every category."""
    done = janus_edge("evaluate", "bundle", *PAINT, "--pictures", "8")
    assert done.code == 0
    assert "right pictures, 2 a category" in done.out
    assert sum(len(texts) for texts, _, _ in fake.painted) == 14


def test_record_and_comparison(janus_edge: Run, fake: FakeJanus) -> None:
    """A second run continues the record; against itself nothing is lost, and too few settle nothing."""
    first = ("evaluate", "bundle", *PAINT, "--record", "r.jsonl")
    assert janus_edge(*first, "--prompts", "1").code == 0
    assert janus_edge(*first, "--prompts", "2").code == 0
    assert sum(len(texts) for texts, _, _ in fake.painted) == 14
    done = janus_edge(*first, "--prompts", "2", "--against", "r.jsonl", "--within", "0.5")
    assert done.code == 0
    assert "against fp32, 14 pairs of pictures" in done.out
    assert "not settled whether the loss is less than 0.5 points (2 of 2 rounds)" in done.out
    assert "0.0% of the pictures have other codes" in done.out
    done = janus_edge(*first, "--prompts", "2", "--against", "r.jsonl", "--json")
    found = Report.from_json(json.loads(done.out)).comparison
    assert found
    assert (found.verdict, found.margin, found.overall.mean) == ("open", 0.01, 0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--guidance", "nan"], "a guidance scale must be within 1000, found nan"),
        (["--guidance", "5", "--guidance", "5"], "each once; found 5, 5"),
        (["--seed", "-1"], "the seed of an evaluation must be from 0"),
        (["--prompts", "9999999"], "prompts must be from 1 to 1000000"),
        (["--sheet", "s.jpg"], "s.jpg: give --sheet a .png file in an existing folder"),
        (["--sheet", "no/s.png"], "no/s.png: give --sheet a .png file in an existing folder"),
        (["--sheet", "s.png", "--only", "understanding"], "add --only painting"),
        (["--sheet", "s.png", "--record", "r.jsonl"], "--record skips some: give one"),
        (["--record", "r.jsonl", "--only", "reconstruction"], "add --only painting"),
        (["--record", "no/r.jsonl"], "no/r.jsonl: cannot be written"),
        (["--against", "r.jsonl"], "r.jsonl: cannot be read as an evaluation record"),
    ],
)
def test_unusable_arguments(
    janus_edge: Run, fake: FakeJanus, args: list[str], message: str
) -> None:
    """Exit code 2 before anything is painted or written."""
    done = janus_edge("evaluate", "bundle", *args)
    assert (done.code, done.out) == (2, "")
    assert message in done.error
    assert not fake.painted
    assert not list(Path().iterdir())


@pytest.mark.parametrize("args", [["--prompts", "0"], ["--only", "poetry"], ["--questions", "x"]])
def test_wrong_usage(janus_edge: Run, args: list[str]) -> None:
    done = janus_edge("evaluate", "bundle", *args)
    assert done.code == 2
    assert "Usage:" in done.err


def test_missing_bundle(janus_edge: Run) -> None:
    done = janus_edge("evaluate", "nope")
    assert (done.code, done.out) == (4, "")
    assert done.error.startswith("nope: no such bundle")


def test_other_models_are_refused(janus_edge: Run, fake: FakeJanus) -> None:
    """A bundle that paints another size does not know the world of shapes: exit code 2."""
    fake.bundle.manifest.config.image_size = 384
    done = janus_edge("evaluate", "bundle")
    assert (done.code, done.out) == (2, "")
    assert "paints 384 x 384 pixels, and evaluate works on the world of shapes" in done.error


def test_without_scipy(tmp_path: Path) -> None:
    """The error names the package and the extra that brings it: exit code 9."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SCIPY, "evaluate", "bundle"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (9, "")
    assert done.stderr.strip() == (
        "janus-edge: error: the Python package 'scipy' is not installed: "
        "install it with pip install 'janus-edge[eval]'"
    )
