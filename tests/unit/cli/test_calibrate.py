"""`janus-edge calibrate`: its default data, what it prints, and how it fails."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus_edge.calib import calibrate as module
from janus_edge.calib.calibrate import Options
from janus_edge.calib.calibration_file import Calibration
from janus_edge.cli import calibration_data, cli
from janus_edge.cli.calibration_data import calibration_items
from janus_edge.shapes.prompts import CATEGORIES, prompts
from tests.unit.cli.conftest import Run

#: A process in which onnx cannot be imported.
WITHOUT_ONNX = """
import sys
sys.modules["onnx"] = None
from janus_edge.cli import main
main()
"""


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model may end its answers at once."""
    monkeypatch.setattr(module, "_FEWEST_ROWS", 1)


@pytest.fixture
def given(tmp_path: Path) -> list[object]:
    """Two prompts of three, and one of two pictures; the folder holds a text as well."""
    (tmp_path / "prompts.txt").write_text("# animals\n\na red fox\n  an owl  \na hare\n")
    (tmp_path / "pictures").mkdir()
    for name in ("b.png", "a.PNG"):
        Image.new("RGB", (40, 30), (200, 90, 20)).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures" / "notes.txt").write_text("x")
    return ["--prompts", tmp_path / "prompts.txt", "--images", tmp_path / "pictures", "--limit", 2]


def test_calibrate(janus_edge: Run, tiny_bundle: Path, given: list[object]) -> None:
    """It writes a complete file and says what was run; the second time it runs nothing."""
    done = janus_edge("calibrate", tiny_bundle, "c.npz", *given, "--fraction", "0.5")
    assert done.code == 0, done.err
    assert "inputs over 2 prompts, 2 pictures and 4 questions" in done.out
    assert "calibrating" in done.err
    found, before = Calibration.load("c.npz"), Path("c.npz").read_bytes()
    assert found.complete
    assert found.options["fraction"] == 0.5
    again = janus_edge("calibrate", tiny_bundle, "c.npz", *given, "--fraction", "0.5", "--json")
    assert json.loads(again.out) == {"file": "c.npz", **found.counts}
    other = janus_edge("calibrate", tiny_bundle, "c.npz", *given)
    assert other.code == 2
    assert "other data or options; choose another name or pass --force" in other.error
    assert Path("c.npz").read_bytes() == before
    forced = janus_edge("calibrate", tiny_bundle, "c.npz", *given, "--force")
    assert forced.code == 0
    assert Calibration.load("c.npz").options["fraction"] == 0.25


def test_another_bundle(
    janus_edge: Run, tiny_bundle: Path, given: list[object], copied_bundle: Path
) -> None:
    """A file of another bundle is not gone on with, nor overwritten."""
    assert janus_edge("calibrate", tiny_bundle, "c.npz", *given).code == 0
    manifest = copied_bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name": "tiny"', '"name": "other"'))
    done = janus_edge("calibrate", copied_bundle, "c.npz", *given)
    assert done.code == 2
    assert "the calibration is of another bundle" in done.error


def test_the_shipped_prompts() -> None:
    """Groups of twelve, all different; they are taken in turn, so that a limit cuts all alike."""
    text = resources.files("janus_edge").joinpath("assets/calibration_prompts.txt").read_text()
    groups = [part.split("\n")[1:] for part in text.strip().split("# ")[2:]]
    every = [line for group in groups for line in group if line]
    assert len(groups) >= 7
    assert len(set(every)) == len(every) == 12 * len(groups)
    assert calibration_data._prompts(None)[: len(groups)] == [group[0] for group in groups]


def test_default_data() -> None:
    """A photograph, and questions about every picture; a limit cuts both lists."""
    items = calibration_items(False, None, None, 3)
    assert [item.prompt is None for item in items] == [False, False, False, True]
    assert all(item.questions for item in items)


def test_data_of_the_miniature() -> None:
    """Each category alike and as many scenes with questions; none of them is an evaluation's."""
    items = calibration_items(True, None, None, 14)
    painted = [item.prompt for item in items[:14]]
    drawn = {np.asarray(item.picture).tobytes() for item in items[14:]}
    assert len(drawn) == 14
    assert all(len(item.questions) == 2 for item in items[14:])
    for seed in range(100):
        evaluated = prompts(CATEGORIES[-1], 2, seed)
        assert painted[6::7] != [prompt.text for prompt in evaluated]


def test_defaults_are_those_of_the_options() -> None:
    defaults = {p.name: p.default for p in cli.commands["calibrate"].params}
    expected = {name: p.default for name, p in inspect.signature(Options).parameters.items()}
    assert all(defaults[n] == expected[n] for n in ("fraction", "guidance_scale", "seed"))


@pytest.mark.parametrize(("arguments", "message"), [
    (["c.txt"], "give the calibration a .npz file in an existing folder"),
    (["no/c.npz"], "give the calibration a .npz file in an existing folder"),
    (["c.npz", "--fraction", "0"], "must be above 0 and at most 1, found 0.0"),
    (["c.npz", "--fraction", "nan"], "must be above 0 and at most 1, found nan"),
    (["c.npz", "--seed", "-1"], "the seed must be from 0"),
    (["c.npz", "--guidance-scale", "nan"], "guidance_scale must be a finite number"),
    (["c.npz", "--prompts", "absent.txt"], "absent.txt: not a readable text file"),
    (["c.npz", "--prompts", "empty.txt"], "empty.txt: has no prompt; write one a line"),
    (["c.npz", "--images", "absent"], "absent: no such folder of images"),
    (["c.npz", "--images", "."], "has no image (.bmp, .jpeg, .jpg, .png, .webp)"),
    (["c.npz", "--images", "broken"], "x.png: not an image in a format that PIL can read"),
])  # fmt: skip
def test_what_cannot_be_used(
    janus_edge: Run, tiny_bundle: Path, arguments: list[str], message: str
) -> None:
    """Exit code 2, and no file."""
    Path("empty.txt").write_text("# nothing\n")
    Path("broken").mkdir()
    Path("broken/x.png").write_bytes(b"x")
    done = janus_edge("calibrate", tiny_bundle, *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.error
    assert not list(Path().glob("**/*.npz"))


def test_without_onnx(tmp_path: Path) -> None:
    """The error names the package and the extra that brings it: exit code 9."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNX, "calibrate", "bundle", "c.npz"],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (9, "")
    assert done.stderr.strip() == (
        "janus-edge: error: the Python package 'onnx' is not installed: "
        "install it with pip install 'janus-edge[calib]'"
    )
