"""A bundle against another: equal ones, ones that are a little off, and ones of other models."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from janus_edge.errors import BackendError, InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.bundle_parity import Bars, BundleParity, compare_bundles
from janus_edge.runtime.free_running import FreeRun
from janus_edge.runtime.graph_figures import peak_signal_to_noise
from janus_edge.runtime.measuring_options import PROMPTS, MeasuringOptions
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.teacher_forcing import forced_logits
from janus_edge.schema import to_dict
from tests.unit.perturbed import edit_manifest, perturb, seal

#: A few small ones of everything.
OPTIONS = MeasuringOptions(
    prompts=("a cat", "a red house", "two stars"), questions=("What is this?",), max_new_tokens=4,
    pictures=1,
)  # fmt: skip
MEASURED = {g.value for g in Graph} - {"guided_sampler"}


@pytest.fixture(scope="module")
def reference(tiny_bundle: Path) -> Iterator[Janus]:
    with Janus.load(tiny_bundle, threads=1) as opened:
        yield opened


Compare = Callable[..., BundleParity]


@pytest.fixture
def compare(reference: Janus) -> Compare:
    """Compare the bundle at a path with the reference."""

    def run(path: Path, options: MeasuringOptions = OPTIONS) -> BundleParity:
        with Janus.load(path, threads=1) as candidate:
            return compare_bundles(reference, candidate, options)

    return run


def test_equal_bundles(compare: Compare, tiny_bundle: Path) -> None:
    """A bundle is not a bit away from itself, in any figure, and reaches every bar."""
    found = compare(tiny_bundle)
    assert set(found.graphs) == MEASURED
    for name, figures in found.graphs.items():
        assert figures.finite
        if name == "vq_encoder":
            assert (figures.top1, figures.snr_db) == (1, None)
        else:
            assert (figures.snr_db, figures.max_abs) == (200, 0)
            assert figures.cosine == pytest.approx(1)
    assert found.graphs["vq_decoder"].psnr_db == 200
    assert found.graphs["image_head"].top1 == found.graphs["text_head"].top1 == 1
    for figures in (found.forced.guided, found.forced.conditional, found.forced.text):
        assert (figures.kl_mean, figures.kl_p99, figures.kl_max) == (0, 0, 0)
        assert (figures.top1, figures.snr_db) == (1, 200)
    assert found.forced.guided.rows == found.forced.conditional.rows == 3 * 16
    assert found.forced.text.rows == 2 * 4
    assert [(r.prompt, r.codes, r.equal_codes, r.first_difference) for r in found.free_running] == [
        ("a cat", 16, 16, None),
        ("a red house", 16, 16, None),
    ]
    assert found.same_source
    assert found.not_finite == ()
    assert Bars(max_kl=0, min_psnr=200, min_top1=1).missed(found) == ()


def test_figures_grow_with_the_perturbation(
    compare: Compare, tiny_bundle: Path, tmp_path: Path
) -> None:
    """Weights that are further off, in one direction, make every figure worse."""
    found = []
    for size in (1e-3, 1e-2, 1e-1):
        copy = Path(shutil.copytree(tiny_bundle, tmp_path / str(size)))
        found.append(compare(perturb(copy, size)))
    for less, more in itertools.pairwise(found):
        for name in ("guided", "conditional", "text"):
            a, b = getattr(less.forced, name), getattr(more.forced, name)
            assert 0 < a.kl_mean < b.kl_mean, name
            assert a.kl_mean <= a.kl_p99 <= a.kl_max
            assert a.snr_db > b.snr_db
            assert a.top1 >= b.top1
        for graph in MEASURED - {"vq_encoder"}:
            a, b = less.graphs[graph], more.graphs[graph]
            assert 200 > a.snr_db > b.snr_db, graph
            assert 0 < a.max_abs < b.max_abs
            assert 0 < a.mean_abs < b.mean_abs
            assert 1 > a.cosine > b.cosine
        psnr = [one.graphs["vq_decoder"].psnr_db for one in (less, more)]
        assert psnr[0] > psnr[1]
        assert less.graphs["vq_encoder"].top1 >= more.graphs["vq_encoder"].top1
    assert found[-1].graphs["vq_encoder"].top1 < 1
    assert found[-1].forced.guided.top1 < 1
    last = found[-1].free_running
    assert any(run.first_difference is not None for run in last)


def test_errors_do_not_add_up_from_graph_to_graph(compare: Compare, copied_bundle: Path) -> None:
    """Each graph gets the reference's inputs: only the one that is off shows it, while the
    teacher-forced logits show what reaches them."""
    exact = compare(perturb(copied_bundle, 1e-2, (Graph.VQ_DECODER, Graph.VISION_ENCODER)))
    off = {name for name, g in exact.graphs.items() if g.snr_db is not None and g.snr_db < 200}
    assert off == {"vq_decoder", "vision_encoder"}
    assert exact.forced.guided.kl_max == exact.forced.conditional.kl_max == 0
    assert all(run.first_difference is None for run in exact.free_running)
    assert exact.forced.text.kl_mean > 0
    deeper = compare(perturb(copied_bundle, 1e-2, (Graph.IMAGE_EMBEDDING,)))
    assert deeper.graphs["language_model"].snr_db == 200
    assert deeper.graphs["image_embedding"].snr_db < 60
    assert deeper.forced.guided.kl_mean > 0


def test_divergence_against_softmax_written_out(
    compare: Compare, reference: Janus, copied_bundle: Path
) -> None:
    """The mean, percentile and top-1 of the guided divergence, from both bundles' forced logits."""
    options = MeasuringOptions(
        prompts=("a cat", "a dog"), questions=("What?",), max_new_tokens=1, pictures=0,
        guidance_scale=3.0, temperature=0.5, seed=7,
    )  # fmt: skip
    found = compare(perturb(copied_bundle, 0.03), options)
    kl, same = [], []
    with Janus.load(copied_bundle, threads=1) as candidate:
        for index, prompt in enumerate(options.prompts):
            picture = reference.generate(prompt, 1, 7 + index, 3.0, 0.5)[0]
            sides = []
            for janus in (reference, candidate):
                cond, uncond = (
                    x.astype(np.float64) for x in forced_logits(janus, prompt, picture.codes)
                )
                exponents = np.exp((uncond + 3 * (cond - uncond)) / 0.5)
                sides.append(exponents / exponents.sum(-1, keepdims=True))
            kl += (sides[0] * np.log(sides[0] / sides[1])).sum(-1).tolist()
            same += (sides[0].argmax(-1) == sides[1].argmax(-1)).tolist()
    guided = found.forced.guided
    assert guided.rows == len(kl) == 32
    assert guided.kl_mean == pytest.approx(np.mean(kl), rel=1e-3)
    assert guided.kl_p99 == pytest.approx(np.quantile(kl, 0.99), rel=1e-3)
    assert guided.kl_max == pytest.approx(max(kl), rel=1e-3)
    assert guided.top1 == pytest.approx(np.mean(same))


def test_peak_signal_to_noise() -> None:
    """Over 0..255 before truncation; what lies outside [-1, 1] is not seen."""
    reference = np.float32([-1, 0, 1, 3])
    pixels = np.float32([-1 + 2 / 255, 0, 1, 7])
    assert peak_signal_to_noise(pixels, reference) == pytest.approx(
        10 * math.log10(255**2 * 4), abs=1e-4
    )
    assert peak_signal_to_noise(reference, reference) == 200
    assert peak_signal_to_noise(reference * np.nan, reference) == -200


def test_first_difference() -> None:
    """Codes may agree again behind the first difference, and count."""
    run = FreeRun.of("x", np.array([4, 5, 6, 7]), np.array([4, 9, 6, 7]))
    assert run == FreeRun("x", 4, 3, 1)
    assert FreeRun.of("x", np.array([4]), np.array([5])) == FreeRun("x", 1, 0, 0)


def test_values_that_are_not_finite(compare: Compare, copied_bundle: Path) -> None:
    """They are reported, as valid JSON, and reach no bar, not even none."""
    found = compare(perturb(copied_bundle, np.inf, (Graph.IMAGE_HEAD, Graph.VQ_DECODER)))
    assert set(found.not_finite) == {
        "image_head", "vq_decoder", "guided logits", "conditional logits",
    }  # fmt: skip
    assert found.free_running == ()
    assert found.graphs["vq_decoder"].psnr_db == -200
    assert len(Bars().missed(found)) == 4
    assert "image_head has values that are not finite" in Bars().missed(found)
    json.dumps(to_dict(found), allow_nan=False)


@pytest.mark.parametrize("graph", [Graph.IMAGE_HEAD, Graph.VQ_DECODER, Graph.TEXT_HEAD])
def test_a_reference_that_is_not_finite(
    tiny_bundle: Path, copied_bundle: Path, graph: Graph
) -> None:
    """Nothing can be measured against it."""
    perturb(copied_bundle, np.inf, (graph,))
    with (
        Janus.load(copied_bundle, threads=1) as broken,
        Janus.load(tiny_bundle, threads=1) as whole,
        pytest.raises(BackendError, match="not finite"),
    ):
        compare_bundles(broken, whole, OPTIONS)


def test_bars(compare: Compare, copied_bundle: Path) -> None:
    """Each bar that is missed is a sentence with the figure and the bar."""
    found = compare(perturb(copied_bundle, 0.1))
    assert Bars().missed(found) == ()
    assert Bars(max_kl=1e9, min_psnr=-200, min_top1=0).missed(found) == ()
    kl, psnr, top1 = Bars(max_kl=1e-9, min_psnr=199, min_top1=1).missed(found)
    assert f"{found.forced.guided.kl_mean:.3g}, above 1e-09" in kl
    assert f"{found.graphs['vq_decoder'].psnr_db:.1f} dB, below 199" in psnr
    assert f"{found.forced.guided.top1:.1%}, below 100.0%" in top1


def test_nothing_is_painted_freely(tiny_bundle: Path) -> None:
    """``free_running`` 0 leaves that part out."""
    options = MeasuringOptions(
        prompts=("a cat",), steps=2, pictures=0, max_new_tokens=1, free_running=0
    )
    with Janus.load(tiny_bundle) as one, Janus.load(tiny_bundle) as other:
        found = compare_bundles(one, other, options)
    assert found.free_running == ()
    assert found.forced.guided.rows == 2


def test_fewer_steps_and_own_images(compare: Compare, tiny_bundle: Path) -> None:
    """``steps`` shortens the painting; images that are given are the only ones."""
    image = Image.radial_gradient("L").convert("RGB")
    options = MeasuringOptions(
        prompts=("a cat",), steps=3, images=(image,), questions=("What?", "Why?"), max_new_tokens=2,
        free_running=5,
    )  # fmt: skip
    seen: list[tuple[str, int, int]] = []
    with (
        Janus.load(tiny_bundle, threads=1) as one,
        Janus.load(tiny_bundle, threads=1) as other,
    ):
        found = compare_bundles(one, other, options, lambda *step: seen.append(step))
    assert found.forced.guided.rows == 3
    assert found.forced.text.rows == 2 * 2
    assert [run.codes for run in found.free_running] == [3]
    assert found.graphs["vq_decoder"].psnr_db == 200
    stages = list(dict.fromkeys(what for what, _, _ in seen))
    assert stages == [
        "painting the reference", "answering with the reference", "graph by graph",
        "teacher forcing", "painting freely",
    ]  # fmt: skip
    for stage in stages:
        steps = [(done, total) for what, done, total in seen if what == stage]
        assert steps == [(i + 1, len(steps)) for i in range(len(steps))]


def test_another_source_is_told(compare: Compare, copied_bundle: Path) -> None:
    edit_manifest(copied_bundle, lambda data: data["source"].update(digest="f" * 64))
    assert not compare(copied_bundle).same_source


def test_other_dimensions(compare: Compare, copied_bundle: Path) -> None:
    edit_manifest(copied_bundle, lambda data: data["config"]["language"].update(rope_theta=5000.0))
    with pytest.raises(
        InputError, match=r"dimensions, language.rope_theta is 5000.0 and not 10000.0; compare"
    ):
        compare(copied_bundle)


def test_other_special_tokens(compare: Compare, copied_bundle: Path) -> None:
    special = json.loads((copied_bundle / "manifest.json").read_text("utf-8"))["special_tokens"]
    swapped = {"pad": special["image_end"], "image_end": special["pad"]}
    swap_ids(copied_bundle, *swapped.values())
    edit_manifest(copied_bundle, lambda data: data["special_tokens"].update(swapped))
    with pytest.raises(InputError, match=r"of the special tokens, pad is \d+ and not \d+"):
        compare(copied_bundle)


@pytest.mark.parametrize("settings", [{"prompts": ("a cat", "a Z")}, {"questions": ("a Z",)}])
def test_another_tokenizer(compare: Compare, copied_bundle: Path, settings: dict[str, Any]) -> None:
    """Prompts and questions must be the same ids in both."""
    vocabulary = json.loads((copied_bundle / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    swap_ids(copied_bundle, vocabulary["Z"], vocabulary["Q"])
    with pytest.raises(InputError, match="tokenizers read 'a Z' differently"):
        compare(copied_bundle, replace(OPTIONS, **settings))


def swap_ids(bundle: Path, a: int, b: int) -> None:
    """Exchange two ids of the tokenizer, wherever they stand."""
    other = {a: b, b: a}
    path = bundle / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    vocabulary = data["model"]["vocab"]
    for token, index in vocabulary.items():
        vocabulary[token] = other.get(index, index)
    for entry in data["added_tokens"]:
        entry["id"] = other.get(entry["id"], entry["id"])
    path.write_text(json.dumps(data), "utf-8")
    seal(bundle, "tokenizer.json")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": ()}, "prompts must be a list of strings, at least one; found"),
        ({"prompts": "a cat"}, "prompts must be a list of strings"),
        ({"questions": (3,)}, "questions must be a list of strings"),
        ({"images": ()}, "no image was given"),
        ({"pictures": -1}, "pictures must be at least 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"free_running": -1}, "free_running must be at least 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**64 - 3}, "seed must be from 0"),
        ({"guidance_scale": math.nan}, "guidance_scale must be within 1000, found nan"),
        ({"guidance_scale": 2000.0}, "within 1000, found 2000"),
        ({"temperature": 0.0}, "a divergence needs a temperature from 0.001 to 1e\\+06, found 0"),
        ({"temperature": math.nan}, "found nan"),
    ],
)
def test_options_that_cannot_be_used(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MeasuringOptions(**settings)


def test_more_steps_than_a_picture_has(compare: Compare, tiny_bundle: Path) -> None:
    with pytest.raises(InputError, match="steps 17: a picture of this model has 16 codes"):
        compare(tiny_bundle, MeasuringOptions(steps=17))
    assert len(PROMPTS) == 7
