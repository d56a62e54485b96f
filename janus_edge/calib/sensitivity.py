"""How much each layer group costs when it alone is quantised, and which to keep in float.

The reference paints and answers once. Each variant, a bundle with one quantised group, is then fed
the reference's codes and tokens (teacher forcing), and its logits are compared with the reference's:

    image_kl = mean over positions of KL(P_reference || P_variant), P = softmax(guided logits / T)
    text_kl  = the same of the answers' logits at temperature 1

One group at a time, as in Dong et al., "HAWQ" (arXiv 1905.03696), who rank by curvature per
parameter; the divergence that is measured here needs no gradients. It assumes that the groups'
errors add up: measure the mixed recipe that comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from janus_edge.calib.layer_groups import LayerGroup
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.recipe import Recipe, Rule
from janus_edge.runtime.bundle_parity import check_comparable
from janus_edge.runtime.forced_divergence import forced_divergence
from janus_edge.runtime.graph_figures import graph_figures
from janus_edge.runtime.measuring_options import MeasuringOptions, Progress
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.reference_run import record


@dataclass(frozen=True, slots=True)
class GroupSensitivity:
    """What quantising ``group`` alone does.

    ``image_kl`` and ``text_kl`` are mean divergences in nats, ``image_top1`` the share of positions
    whose most probable code stays. No logit tells of the VQ model: ``psnr_db`` is that of the
    reference's codes decoded (200 where the decoder is the same), ``equal_codes`` the share of equal
    codes of the images encoded. ``finite`` is False where a value is not, with the largest figures.
    """

    group: str
    image_kl: float
    image_top1: float
    text_kl: float
    psnr_db: float
    equal_codes: float
    finite: bool


def sensitivity(
    reference: Janus,
    variants: Iterable[tuple[str, Callable[[], Janus]]],
    options: MeasuringOptions,
    progress: Progress = lambda what, done, total: None,
) -> list[GroupSensitivity]:
    """Measure each variant: a group's name, and what opens the bundle that has it quantised.

    A variant is opened when its turn comes and closed behind it, so one at a time need exist;
    the reference's graphs are closed after its own run, but for the image head. ``progress(what, done,
    total)`` tells of the reference's run and then, with a group for ``what``, of each variant.
    ``options.free_running`` is not used. Raises InputError for a
    name given twice or a variant of another model, and what ``Janus`` raises.
    """
    run = record(reference, options, progress)
    reference.close()
    measured: list[GroupSensitivity] = []
    for group, load in variants:
        if any(group == one.group for one in measured):
            raise InputError(f"the layer group '{group}' is given twice; give each once")
        with load() as variant:
            check_comparable(reference, variant, options)
            forced = forced_divergence(
                reference, run, variant, options, partial(_renamed, progress, group)
            )
            decoder, encoder = (
                graph_figures(variant, graph, run.graphs[graph])
                for graph in (Graph.VQ_DECODER, Graph.VQ_ENCODER)
            )
        assert decoder.psnr_db is not None
        assert encoder.top1 is not None
        finite = forced.guided.finite and forced.text.finite and decoder.finite
        measured.append(
            GroupSensitivity(
                group, forced.guided.kl_mean, forced.guided.top1, forced.text.kl_mean,
                decoder.psnr_db, encoder.top1, finite,
            )
        )  # fmt: skip
    return measured


def propose(
    measured: Sequence[GroupSensitivity],
    groups: Mapping[str, LayerGroup],
    recipe: Recipe,
    keep: int,
) -> Recipe:
    """``recipe`` with the ``keep`` most sensitive groups in float, by rules before its own.

    The rule: groups are ranked by (image_kl + text_kl) / bytes, the divergence that a byte of float
    weights takes away, the largest first and equal ones by name; the first ``keep`` are kept. A
    group without any divergence is never kept, so there may be fewer; the VQ model's are all of
    these: choose among them by ``psnr_db`` and ``equal_codes``. The name gets ``-mixed`` behind it.

    Raises InputError for a negative ``keep`` or one above the number of groups, and for a group
    that is not in ``groups``.
    """
    if not 0 <= keep <= len(measured):
        raise InputError(f"keep must be from 0 to the {len(measured)} groups, found {keep}")
    unknown = [one.group for one in measured if one.group not in groups]
    if unknown:
        raise InputError(
            f"'{unknown[0]}' is no layer group of this bundle; measure with groups of the same one"
        )
    ranked = sorted(measured, key=lambda one: (-_per_byte(one, groups[one.group]), one.group))
    kept = [one.group for one in ranked[:keep] if one.image_kl + one.text_kl > 0]
    first = [Rule(pattern, None) for group in kept for pattern in groups[group].patterns]
    return replace(recipe, name=f"{recipe.name}-mixed", rules=(*first, *recipe.rules))


def _renamed(progress: Progress, group: str, _what: str, done: int, total: int) -> None:
    progress(group, done, total)


def _per_byte(one: GroupSensitivity, group: LayerGroup) -> float:
    return (one.image_kl + one.text_kl) / group.bytes
