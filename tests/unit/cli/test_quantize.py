"""`janus-edge quantize` and `janus-edge sensitivity`: what they print, and how they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.recipes import write_recipe
from janus_edge.recipe import Rule, Scheme
from tests.unit.cli.conftest import Run


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Two layer groups in int4, the rest in float."""
    path = tmp_path / "two.json"
    int4 = Scheme("int4", 32, search=False)
    write_recipe(path, (Rule("language_model/layers.0.*", int4), Rule("*", None)))
    return path


def test_quantize(janus_edge: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    """It tells how many nodes became integers and how much smaller the bundle is."""
    target = tmp_path / "int8"
    done = janus_edge("quantize", tiny_bundle, target, "--recipe", "int8-weight", "--block", "32")
    assert done.code == 0
    assert "language_model   14 of 14" in done.out
    assert "MiB, int8-weight; it was" in done.out
    assert Bundle.open(target).manifest.recipe.rules[-1].scheme == Scheme("int8", 32)
    again = janus_edge("quantize", tiny_bundle, target, "--recipe", "int8-weight")
    assert again.code == 2
    assert "exists already" in again.error


def test_quantize_for_a_target(janus_edge: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    """The bundle has the target's blocks; a refused recipe leaves no files."""
    words = ["--recipe", "int4-weight", "--scaling", "none", "--for", "tensorrt"]
    done = janus_edge("quantize", tiny_bundle, tmp_path / "q", *words)
    assert done.code == 0, done.err
    assert "language_model   12 of 14" in done.out
    recipe = Bundle.open(tmp_path / "q").manifest.recipe
    assert recipe.rules[-1].scheme == Scheme("int4", 128)
    assert recipe.scheme("language_model", "layers.0.mlp.down_proj/MatMul") is None
    done = janus_edge(
        "quantize", tiny_bundle, tmp_path / "r", "--recipe", "int8-weight", *words[-2:]
    )
    assert done.code == 2
    assert "recipe 'int8-weight' is not for tensorrt: some weights are int8" in done.error
    assert not (tmp_path / "r").exists()


def test_quantize_as_json(janus_edge: Run, tiny_bundle: Path, tmp_path: Path, recipe: Path) -> None:
    done = janus_edge("quantize", tiny_bundle, tmp_path / "q", "--recipe", recipe, "--json")
    report = json.loads(done.out)
    assert report["recipe"]["name"] == "two"
    assert [g["graph"] for g in report["graphs"]] == ["language_model"]
    assert report["graphs"][0]["quantised"] == 7
    assert report["bytes"] == Bundle.open(tmp_path / "q").total_bytes


@pytest.mark.parametrize(("arguments", "message"), [
    (["--recipe", "int9"], "unknown recipe 'int9'"),
    (["--recipe", "int8"], "record it with `janus-edge calibrate"),
    (["--recipe", "int4-weight", "--scaling", "smooth"], "smooth scaling needs 8-bit inputs"),
    (["--recipe", "int8", "--calibration", "absent.npz"], "absent.npz: not a calibration file"),
])  # fmt: skip
def test_what_cannot_be_quantised(
    janus_edge: Run, tiny_bundle: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = janus_edge("quantize", tiny_bundle, tmp_path / "q", *arguments)
    assert done.code == 2
    assert message in done.error
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


def test_sensitivity(janus_edge: Run, tiny_bundle: Path, tmp_path: Path, recipe: Path) -> None:
    """Each group's divergence, the largest first, and a recipe that keeps the worst in float."""
    mixed = tmp_path / "mixed.json"
    done = janus_edge("sensitivity", tiny_bundle, "--recipe", recipe, "--keep", "1", "--mixed", mixed,
               "--json")  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads(done.out)
    groups = {g["group"]: g["image_kl"] + g["text_kl"] for g in report["groups"]}
    assert groups.keys() == {"language_model/layers.0.self_attn", "language_model/layers.0.mlp"}
    assert all(kl > 0 for kl in groups.values())
    rules = json.loads(mixed.read_text())["rules"]
    assert rules == report["mixed"]["rules"]
    assert rules[0]["scheme"] is None
    assert rules[0]["pattern"].removesuffix(".*") in groups
    assert len(rules) == 3


def test_sensitivity_of_nothing(janus_edge: Run, tiny_bundle: Path, recipe: Path) -> None:
    for arguments, message in (
        (["--only", "absent/*"], "no layer group matches 'absent/*'"),
        (["--only", "vq_decoder/*"], "recipe 'two' quantises none of these groups"),
        (["--mixed", "mixed.txt"], "give --mixed a .json file"),
    ):
        done = janus_edge("sensitivity", tiny_bundle, "--recipe", recipe, *arguments)
        assert done.code == 2
        assert message in done.error
