"""One evaluation from its options to its report."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import janus_edge
from janus_edge.errors import InputError
from janus_edge.evaluation.answering import answer
from janus_edge.evaluation.options import Options
from janus_edge.evaluation.painting import Look, paint
from janus_edge.evaluation.paired import Pairing
from janus_edge.evaluation.reconstruction import reconstruct
from janus_edge.evaluation.record import Record
from janus_edge.evaluation.report import Report
from janus_edge.shapes.scene import SIZE

if TYPE_CHECKING:
    from janus_edge.runtime.pipeline import Janus

#: (part, how much is done, of how much)
Progress = Callable[[str, int, int], None]
T = TypeVar("T")


def evaluate(
    janus: Janus,
    options: Options | None = None,
    progress: Progress = lambda part, done, total: None,
    look: Look = lambda painted, image: None,
    record: Record | None = None,
    pairing: Pairing | None = None,
) -> Report:
    """Evaluate an open model of the world of shapes; ``look`` is shown every picture painted.

    Pictures that ``record`` has are not painted again; with ``pairing`` painting stops when it is
    settled. Raises InputError for a model whose pictures are not 64 x 64, and for a pairing at
    several guidance scales; and what the runtime raises.
    """
    options, side = options or Options(), janus.bundle.manifest.config.image_size
    if side != SIZE:
        raise InputError(
            f"{janus.bundle.path}: paints {side} x {side} pixels, and evaluate works on the world "
            f"of shapes, whose pictures are {SIZE} x {SIZE}: give a bundle of the miniature"
        )
    if pairing and len(options.guidance_scales) != 1:
        raise InputError("a comparison is made at one guidance scale: give one --guidance")
    seconds: dict[str, float] = {}

    def part(name: str, run: Callable[[Callable[[int, int], None]], T]) -> T | None:
        if name not in options.parts:
            return None
        started = time.perf_counter()
        found = run(lambda done, total: progress(name, done, total))
        seconds[name] = time.perf_counter() - started
        return found

    painting = part("painting", lambda tell: paint(janus, options, tell, look, record, pairing))
    understanding = part("understanding", lambda tell: answer(janus, options, tell))
    reconstruction = part("reconstruction", lambda tell: reconstruct(janus, options, tell))
    return Report(
        version=janus_edge.__version__,
        bundle=str(janus.bundle.path),
        digest=janus.bundle.digest,
        precision=janus.bundle.manifest.recipe.name,
        options=options,
        seconds=seconds,
        painting=painting,
        understanding=understanding,
        reconstruction=reconstruction,
        comparison=pairing.comparison() if pairing else None,
    )
