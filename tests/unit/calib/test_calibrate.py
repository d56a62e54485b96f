"""Calibrations as files: the same however often interrupted, and clear about what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from janus_edge.bundle import Bundle
from janus_edge.calib import calibrate as module
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.calibrate import Item, Options, calibrate
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.recipes import Changes, quantised_recipe
from janus_edge.errors import InputError

GREY = Image.new("RGB", (40, 30), (90, 120, 60))
QUESTIONS = ("What is this?", "Describe the picture.")
ITEMS = (
    Item("a red fox", None, ()), Item("a house by the sea", None, ("What is it?",)),
    Item(None, GREY, QUESTIONS),
)  # fmt: skip
OPTIONS = Options(fraction=0.5, max_new_tokens=20, gram=True)


@pytest.fixture(scope="module")
def whole(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "whole.npz"
    calibrate(Bundle.open(tiny_bundle), ITEMS, path, OPTIONS)
    return path


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model may end its answers at once."""
    monkeypatch.setattr(module, "_FEWEST_ROWS", 1)


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def test_what_is_recorded(whole: Path, tiny_bundle: Path) -> None:
    """Every graph with operands, the counts, versions, and the options."""
    found = Calibration.load(whole)
    assert found.complete
    found.check_bundle(Bundle.open(tiny_bundle).digest)
    assert found.graphs.keys() == {
        "vision_encoder", "vq_encoder", "vq_decoder", "language_model", "text_head", "image_head",
    }  # fmt: skip
    counts = found.counts
    assert (counts["items"], counts["prompts"], counts["pictures"], counts["questions"]) == (
        3,
        2,
        2,
        3,
    )
    assert abs(counts["recorded_steps"] - counts["steps"] / 2) <= 2
    assert {"janus-edge", "onnxruntime"} <= found.tools.keys()
    assert found.options["fraction"] == 0.5
    assert found.graphs["language_model"].popitem()[1].gram is not None


def test_an_interrupted_run_goes_on(
    whole: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first item and started again, every array of the file is the same."""
    monkeypatch.setattr(module, "_SAVE_SECONDS", 0.0)
    path, run = tmp_path / "c.npz", module.run_item
    bundle = Bundle.open(tiny_bundle)

    def killed(janus: Any, item: Item, number: int, *rest: Any) -> None:
        if number == 1:
            raise KeyboardInterrupt
        run(janus, item, number, *rest)

    monkeypatch.setattr(module, "run_item", killed)
    with pytest.raises(KeyboardInterrupt):
        calibrate(bundle, ITEMS, path, OPTIONS)
    partial = Calibration.load(path)
    assert (partial.counts["done"], partial.counts["items"]) == (1, 3)
    with pytest.raises(InputError, match="the recording was interrupted; run the same"):
        quantise_bundle(bundle, tmp_path / "q", quantised_recipe("int8", "float32"), path)
    monkeypatch.setattr(module, "run_item", run)
    calibrate(bundle, ITEMS, path, OPTIONS)
    expected, found = arrays(whole), arrays(path)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        if name.endswith(".gram"):  # summed in other portions
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-3)
        else:
            assert (array == found[name]).all(), name


def test_saving_leaves_no_trace(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved after every item or at the end alone, the files are equal: sums keep their grouping."""
    items, options = (*ITEMS[:2], *ITEMS[:2], *ITEMS), replace(OPTIONS, fraction=1.0)
    for name, seconds in (("often", 0.0), ("once", 1e9)):
        monkeypatch.setattr(module, "_SAVE_SECONDS", seconds)
        calibrate(Bundle.open(tiny_bundle), items, tmp_path / name, options)
    assert (tmp_path / "often").read_bytes() == (tmp_path / "once").read_bytes()


def test_a_complete_one_is_kept(
    whole: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same data and options run nothing; others are refused."""
    monkeypatch.setattr(module, "run_item", lambda *_: pytest.fail("it ran again"))
    bundle, before = Bundle.open(tiny_bundle), whole.read_bytes()
    assert calibrate(bundle, ITEMS, whole, OPTIONS).complete
    for items, options in ((ITEMS[:2], OPTIONS), (ITEMS, replace(OPTIONS, seed=1))):
        with pytest.raises(InputError, match="holds a calibration with other data or options"):
            calibrate(bundle, items, whole, options)
    assert whole.read_bytes() == before


def test_what_cannot_be_calibrated(
    whole: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, path = Bundle.open(tiny_bundle), tmp_path / "c.npz"
    with pytest.raises(InputError, match="no prompt and no picture"):
        calibrate(bundle, (), path)
    with pytest.raises(InputError, match="of graph 'vision_encoder' was never read"):
        calibrate(bundle, ITEMS[:1], path)
    monkeypatch.setattr(module, "_FEWEST_ROWS", 10**6)
    with pytest.raises(InputError, match="times, which is too little for a range"):
        calibrate(bundle, ITEMS, path, OPTIONS)
    assert not path.exists()
    with pytest.raises(InputError, match="fraction of steps must be above 0"):
        Options(fraction=0)
    int8 = quantised_recipe("int8", "float32")
    quantised, _ = quantise_bundle(bundle, tmp_path / "q", int8, whole)
    with pytest.raises(InputError, match="is quantised already; calibrate its float parent"):
        calibrate(quantised, ITEMS, path)


def test_an_item_is_a_prompt_or_a_picture() -> None:
    for prompt, picture in ((None, None), ("a fox", GREY)):
        with pytest.raises(InputError, match="is a prompt or a picture; give one"):
            Item(prompt, picture, ())


def test_files_are_pictures(tiny_bundle: Path, tmp_path: Path) -> None:
    """A picture's file is the same data as the picture, and is read before anything is run."""
    GREY.save(tmp_path / "grey.png")
    bundle, file = Bundle.open(tiny_bundle), Item(None, tmp_path / "grey.png", QUESTIONS)
    painted = replace(ITEMS[0], questions=QUESTIONS[:1])
    made = calibrate(bundle, (painted, ITEMS[2]), tmp_path / "c.npz", OPTIONS)
    assert calibrate(bundle, (painted, file), tmp_path / "c.npz", OPTIONS).counts == made.counts
    absent = Item(None, tmp_path / "absent.png", ())
    with pytest.raises(InputError, match=r"absent\.png: no such image file"):
        calibrate(bundle, (painted, absent), tmp_path / "d.npz", OPTIONS)


def test_progress_within_an_item(tiny_bundle: Path, tmp_path: Path) -> None:
    """A picture takes minutes on a large model: its steps are told, and they never go back."""
    told: list[tuple[float, int]] = []
    items = (replace(ITEMS[0], questions=QUESTIONS[:1]), ITEMS[2])
    calibrate(
        Bundle.open(tiny_bundle), items, tmp_path / "c.npz", OPTIONS,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, 2), (2, 2))
    assert len(told) > 10


def test_a_partial_file_of_other_inputs(whole: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """What lacks an input cannot be gone on with."""
    found = Calibration.load(whole)
    graphs = {g: dict(inputs) for g, inputs in found.graphs.items()}
    graphs["vq_decoder"].popitem()
    counts = {**found.counts, "done": 1}
    replace(found, graphs=graphs, counts=counts).save(tmp_path / "c.npz")
    with pytest.raises(InputError, match="lacks inputs or counts of this bundle; pass --force"):
        calibrate(Bundle.open(tiny_bundle), ITEMS, tmp_path / "c.npz", OPTIONS)


def test_gptq_of_every_linear_layer(whole: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """``gram`` serves whatever a recipe may quantise with GPTQ, the vision encoder included."""
    recipe = quantised_recipe("int4-weight", "float32", Changes(gptq=True, scaling="none"))
    _, reports = quantise_bundle(Bundle.open(tiny_bundle), tmp_path / "q", recipe, whole)
    assert {report.graph for report in reports} == {"vision_encoder", "language_model"}
