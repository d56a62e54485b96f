"""A bundle against another of the same model, usually a quantised one against its float parent.

Graph by graph on the reference's own inputs, so that errors do not add up; teacher-forced, where
they do; and painting freely. The reference runs first and is closed before the other bundle opens
a graph, but for its image head, which is small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from janus_edge.divergence import Divergence
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.forced_divergence import ForcedDivergence, forced_divergence
from janus_edge.runtime.free_running import FreeRun, paint
from janus_edge.runtime.graph_figures import GraphFigures, graph_figures
from janus_edge.runtime.measuring_options import MeasuringOptions, Progress
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import question_ids, text_to_image_ids
from janus_edge.runtime.reference_run import record
from janus_edge.schema import to_dict


@dataclass(frozen=True, slots=True)
class BundleParity:
    """All figures of a comparison; JSON by ``schema.to_dict``.

    ``same_source`` tells whether both were made from the same checkpoint's files. ``free_running``
    is empty where the bundle's image logits are not finite, since it cannot paint then.
    """

    reference_recipe: str
    recipe: str
    same_source: bool
    guidance_scale: float
    temperature: float
    graphs: dict[str, GraphFigures]
    forced: ForcedDivergence
    free_running: tuple[FreeRun, ...]

    @property
    def not_finite(self) -> tuple[str, ...]:
        """The graphs and logits that have values which are not finite."""
        forced = {"guided": self.forced.guided, "conditional": self.forced.conditional,
                  "text": self.forced.text}  # fmt: skip
        every: dict[str, GraphFigures | Divergence] = {**self.graphs}
        every.update({f"{name} logits": figures for name, figures in forced.items()})
        return tuple(name for name, figures in every.items() if not figures.finite)


@dataclass(frozen=True, slots=True)
class Bars:
    """What a comparison has to reach; None asks nothing.

    ``max_kl`` in nats, of the mean divergence of the guided image logits; ``min_psnr`` in dB, of the
    VQ decoder; ``min_top1``, a share, of the guided image logits.
    """

    max_kl: float | None = None
    min_psnr: float | None = None
    min_top1: float | None = None

    def missed(self, found: BundleParity) -> tuple[str, ...]:
        """A sentence for each bar that is missed; values that are not finite miss every time."""
        kl, top1 = found.forced.guided.kl_mean, found.forced.guided.top1
        psnr = found.graphs[Graph.VQ_DECODER.value].psnr_db
        assert psnr is not None
        missed = [f"{name} has values that are not finite" for name in found.not_finite]
        if self.max_kl is not None and not kl <= self.max_kl:
            missed.append(f"the mean KL of guided image logits is {kl:.3g}, above {self.max_kl:g}")
        if self.min_psnr is not None and not psnr >= self.min_psnr:
            missed.append(f"the VQ decoder's PSNR is {psnr:.1f} dB, below {self.min_psnr:g}")
        if self.min_top1 is not None and not top1 >= self.min_top1:
            missed.append(f"the top-1 agreement is {top1:.1%}, below {self.min_top1:.1%}")
        return tuple(missed)


def compare_bundles(
    reference: Janus,
    candidate: Janus,
    options: MeasuringOptions,
    progress: Progress = lambda what, done, total: None,
) -> BundleParity:
    """Measure how far ``candidate`` is from ``reference``; the reference's graphs are closed.

    ``progress(what, done, total)`` is called as work goes on. Raises InputError where the bundles
    are of different models or the options cannot be used, and what ``Janus`` raises.
    """
    check_comparable(reference, candidate, options)
    run = record(reference, options, progress)
    reference.close()
    graphs = {}
    measured = [graph for graph in Graph if graph in run.graphs]
    for done, graph in enumerate(measured, 1):
        graphs[graph.value] = graph_figures(candidate, graph, run.graphs[graph])
        progress("graph by graph", done, len(measured))
    forced = forced_divergence(reference, run, candidate, options, progress)
    free: Iterable[FreeRun] = ()
    count = min(options.free_running, len(options.prompts))
    if forced.guided.finite and count:
        codes = paint(candidate, options, count, "painting freely", progress)
        free = (FreeRun.of(p.prompt, p.codes, c) for p, c in zip(run.painted, codes, strict=False))
    theirs, ours = reference.bundle.manifest, candidate.bundle.manifest
    return BundleParity(
        theirs.recipe.name, ours.recipe.name, theirs.source.digest == ours.source.digest,
        options.guidance_scale, options.temperature, graphs, forced, tuple(free),
    )  # fmt: skip


def check_comparable(reference: Janus, candidate: Janus, options: MeasuringOptions) -> None:
    """Raise InputError unless both have the same dimensions and read the texts as the same ids."""
    theirs, ours = reference.bundle.manifest, candidate.bundle.manifest
    where = f"{candidate.bundle.path} cannot be compared with {reference.bundle.path}"
    advice = "compare bundles of one model"
    for what, a, b in (
        ("dimensions", theirs.config, ours.config),
        ("special tokens", theirs.special_tokens, ours.special_tokens),
    ):
        if a != b:
            name, found, expected = next(_unequal(to_dict(b), to_dict(a)))
            raise InputError(
                f"{where}: of the {what}, {name} is {found} and not {expected}; {advice}"
            )
    tokens = theirs.config.image_tokens
    read = [
        [text_to_image_ids(j.tokenizer, prompt) for prompt in options.prompts]
        + [question_ids(j.tokenizer, question, 1, tokens) for question in options.questions]
        for j in (reference, candidate)
    ]
    for text, a, b in zip((*options.prompts, *options.questions), *read, strict=True):
        if a != b:
            raise InputError(f"{where}: their tokenizers read {text!r} differently; {advice}")


def _unequal(a: Any, b: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted name and both values of each leaf in which two JSON trees of one form differ."""
    if isinstance(a, dict):
        for key in a:
            yield from _unequal(a[key], b[key], f"{name}.{key}".lstrip("."))
    elif a != b:
        yield name, a, b
