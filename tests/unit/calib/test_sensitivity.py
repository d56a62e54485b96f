"""Layer groups, what each costs, and which to keep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.layer_groups import LayerGroup, layer_groups
from janus_edge.calib.operands import operands
from janus_edge.calib.sensitivity import GroupSensitivity, propose, sensitivity
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.recipe import Recipe, Rule, Scheme
from janus_edge.runtime.measuring_options import MeasuringOptions
from janus_edge.runtime.pipeline import Janus
from tests.unit.perturbed import perturb

OPTIONS = MeasuringOptions(
    prompts=("a cat", "a red house"), questions=("What is this?",), max_new_tokens=3, pictures=0
)


def test_groups_cover_every_node_once(tiny_bundle: Path) -> None:
    """Each quantisable node is matched by the patterns of exactly one group, whose bytes are those
    of its weights."""
    bundle = Bundle.open(tiny_bundle)
    groups, bytes_of = layer_groups(bundle), dict[str, int]()
    for graph in Graph:
        for operand in operands(bundle.graph(graph)):
            name = f"{graph.value}/{operand.node}"
            owners = [
                g.name for g in groups.values() if any(fnmatchcase(name, p) for p in g.patterns)
            ]
            assert len(owners) == 1, name
            bytes_of[owners[0]] = bytes_of.get(owners[0], 0) + 4 * int(np.prod(operand.shape))
    assert {group.name: group.bytes for group in groups.values()} == bytes_of
    assert all(name == group.name for name, group in groups.items())


def test_names_of_groups(tiny_bundle: Path) -> None:
    """Halves of the language model's blocks, blocks of the vision encoder, levels of the VQ model,
    heads as a whole, and what stands alone."""
    names = set(layer_groups(Bundle.open(tiny_bundle)))
    assert names == {
        *(f"language_model/layers.{i}.{half}" for i in range(2) for half in ("self_attn", "mlp")),
        *(f"vision_encoder/vision_model.encoder.layers.{i}" for i in range(2)),
        "vision_encoder/vision_model.embeddings.patch_embedding", "vision_encoder/aligner",
        "vq_encoder/encoder.conv_in", "vq_encoder/encoder.mid", "vq_encoder/encoder.conv_out",
        "vq_encoder/quant_conv", *(f"vq_encoder/encoder.down.{i}" for i in range(4)),
        "vq_decoder/post_quant_conv", "vq_decoder/decoder.conv_in", "vq_decoder/decoder.mid",
        "vq_decoder/decoder.conv_out", *(f"vq_decoder/decoder.up.{i}" for i in range(4)),
        "image_head", "text_head",
    }  # fmt: skip


def test_groups_of_a_quantised_bundle(copied_bundle: Path) -> None:
    """Its weights are integers already."""
    path = copied_bundle / "manifest.json"
    data = json.loads(path.read_text("utf-8"))
    scheme = {
        "weights": "int8", "block": 0, "symmetric": True, "inputs": None, "scaling": "none",
        "search": True, "gptq": False,
    }  # fmt: skip
    data["recipe"] = {
        "name": "int8", "float_type": "float32", "rules": [{"pattern": "*", "scheme": scheme}],
    }  # fmt: skip
    path.write_text(json.dumps(data), "utf-8")
    with pytest.raises(InputError, match=r"quantised already \(int8\); give its float parent"):
        layer_groups(Bundle.open(copied_bundle))


def test_each_group_shows_where_it_counts(tiny_bundle: Path, tmp_path: Path) -> None:
    """The language model in both divergences, a head in its own, the vision encoder in answers, the
    VQ model in pictures and codes; what is unchanged in none. One variant is open at a time."""
    changed = {
        "language_model": (Graph.LANGUAGE_MODEL,), "image_head": (Graph.IMAGE_HEAD,),
        "text_head": (Graph.TEXT_HEAD,), "vision_encoder": (Graph.VISION_ENCODER,),
        "vq_decoder": (Graph.VQ_DECODER,), "vq_encoder": (Graph.VQ_ENCODER,), "nothing": (),
    }  # fmt: skip
    opened: list[Janus] = []

    def opening(name: str, graphs: tuple[Graph, ...]) -> Callable[[], Janus]:
        def load() -> Janus:
            assert not any(janus.backend._sessions for janus in opened)  # type: ignore[attr-defined]
            copy = Path(shutil.copytree(tiny_bundle, tmp_path / name))
            opened.append(Janus.load(perturb(copy, 0.05, graphs), threads=1))
            return opened[-1]

        return load

    seen: list[tuple[str, int, int]] = []
    with Janus.load(tiny_bundle, threads=1) as reference:
        variants = ((name, opening(name, graphs)) for name, graphs in changed.items())
        found = sensitivity(reference, variants, OPTIONS, lambda *step: seen.append(step))
    assert [one.group for one in found] == list(changed)
    image = {one.group for one in found if one.image_kl > 0}
    text = {one.group for one in found if one.text_kl > 0}
    assert image == {"language_model", "image_head"}
    assert text == {"language_model", "text_head", "vision_encoder"}
    assert {one.group for one in found if one.psnr_db < 200} == {"vq_decoder"}
    assert {one.group for one in found if one.equal_codes < 1} == {"vq_encoder"}
    assert found[-1] == GroupSensitivity("nothing", 0, 1, 0, 200, 1, True)
    assert all(one.finite for one in found)
    assert len(opened) == len(changed)
    assert not any(janus.backend._sessions for janus in opened)  # type: ignore[attr-defined]
    assert [what for what, done, total in seen if done == total and what in changed] == [*changed]


def test_a_larger_change_costs_more(tiny_bundle: Path, tmp_path: Path) -> None:
    def opening(size: float) -> Callable[[], Janus]:
        copy = Path(shutil.copytree(tiny_bundle, tmp_path / str(size)))
        perturb(copy, size, (Graph.LANGUAGE_MODEL,))
        return lambda: Janus.load(copy, threads=1)

    with Janus.load(tiny_bundle, threads=1) as reference:
        variants = [(str(size), opening(size)) for size in (0.01, 0.1)]
        less, more = sensitivity(reference, variants, OPTIONS)
    assert 0 < less.image_kl < more.image_kl
    assert 0 < less.text_kl < more.text_kl
    assert less.image_top1 >= more.image_top1


def test_variants_that_cannot_be_measured(tiny_bundle: Path, copied_bundle: Path) -> None:
    """A name twice; a bundle of another model, which is closed again; a variant that overflows."""
    quick = replace(OPTIONS, steps=2)

    def same() -> Janus:
        return Janus.load(tiny_bundle, threads=1)

    with same() as reference:
        assert sensitivity(reference, [], quick) == []
        with pytest.raises(InputError, match="'a' is given twice"):
            sensitivity(reference, [("a", same), ("a", same)], quick)
        perturb(copied_bundle, np.inf, (Graph.IMAGE_HEAD,))
        (broken,) = sensitivity(
            reference, [("a", lambda: Janus.load(copied_bundle, threads=1))], quick
        )
        assert not broken.finite
        assert broken.image_kl > 1e5
        path = copied_bundle / "manifest.json"
        path.write_text(
            path.read_text("utf-8").replace('"rope_theta": 10000.0', '"rope_theta": 9.0')
        )
        with pytest.raises(InputError, match="rope_theta is 9.0"):
            sensitivity(reference, [("a", lambda: Janus.load(copied_bundle, threads=1))], quick)


INT8 = Recipe("int8", "float32", (Rule("vq_encoder/*", None), Rule("*", Scheme("int8"))))
GROUPS = {
    name: LayerGroup(name, (f"{name}.*",), size)
    for name, size in (("a/1", 100), ("a/2", 1000), ("a/3", 10), ("vq_decoder/4", 10))
}


def measured(name: str, image_kl: float, text_kl: float = 0.0) -> GroupSensitivity:
    return GroupSensitivity(name, image_kl, 1, text_kl, 200, 1, True)


MEASURED = [
    measured("a/1", 0.1), measured("a/2", 0.2, 0.3), measured("a/3", 0.0, 0.02),
    measured("vq_decoder/4", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (0, []),
        (1, ["a/3.*"]),
        (2, ["a/3.*", "a/1.*"]),
        (3, ["a/3.*", "a/1.*", "a/2.*"]),
        (4, ["a/3.*", "a/1.*", "a/2.*"]),
    ],
)
def test_the_most_sensitive_per_byte_stay_in_float(keep: int, kept: list[str]) -> None:
    """By the divergence of image and text per byte, in rules before the recipe's own; a group
    without any divergence is never kept."""
    recipe = propose(MEASURED, GROUPS, INT8, keep)
    assert recipe.rules == (*(Rule(pattern, None) for pattern in kept), *INT8.rules)
    assert (recipe.name, recipe.float_type) == ("int8-mixed", "float32")
    assert recipe.scheme("a", "3.q/MatMul") == (None if keep else Scheme("int8"))
    assert recipe.scheme("vq_decoder", "4.q/MatMul") == Scheme("int8")


def test_equal_ones_are_taken_by_name() -> None:
    groups = {name: LayerGroup(name, (name,), 10) for name in ("b", "a")}
    recipe = propose([measured("b", 0.1), measured("a", 0.1)], groups, INT8, 1)
    assert recipe.rules[0] == Rule("a", None)


def test_proposals_that_cannot_be_made() -> None:
    for keep in (-1, 5):
        with pytest.raises(InputError, match=f"keep must be from 0 to the 4 groups, found {keep}"):
            propose(MEASURED, GROUPS, INT8, keep)
    with pytest.raises(InputError, match="'b/1' is no layer group of this bundle"):
        propose([measured("b/1", 1.0)], GROUPS, INT8, 1)
