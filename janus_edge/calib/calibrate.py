"""Recording a calibration: the real loop on prompts and pictures, an item at a time.

Each prompt is painted under guidance, so that conditional and unconditional rows, the prompt and
early and late steps are seen as they will be; each picture is turned into codes and asked about.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime
from PIL import Image

from janus_edge import __version__
from janus_edge.bundle import Bundle
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.recorder import RecordingBackend
from janus_edge.calib.statistics import InputStatistics
from janus_edge.errors import InputError
from janus_edge.noise import check_seed
from janus_edge.runtime.image_processing import load_image
from janus_edge.runtime.pipeline import Janus

_SAVE_SECONDS = 60.0
#: Rows of an input below which its range is a guess.
_FEWEST_ROWS = 32


@dataclass(frozen=True, slots=True)
class Options:
    """How calibration data is run and what is kept of it.

    ``fraction`` of the decoding steps is recorded. ``gram`` keeps X^T X of every linear layer's
    input, for GPTQ (``statistics.py`` tells its memory: 6 GB at the 1B's dimensions). Raises
    InputError for numbers that cannot be used.
    """

    fraction: float = 0.25
    guidance_scale: float = 5.0
    seed: int = 0
    max_new_tokens: int = 32
    row_limit: int = 256
    gram: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise InputError(
                f"the fraction of steps must be above 0 and at most 1, found {self.fraction}"
            )
        check_seed(self.seed)


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt to paint, or a picture or its file; ``questions`` are about the one or the other.

    Files are opened one at a time. Raises InputError for both, or for neither.
    """

    prompt: str | None
    picture: Image.Image | Path | None
    questions: tuple[str, ...]

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.picture is None):
            raise InputError("an item of calibration data is a prompt or a picture; give one")


def calibrate(
    bundle: Bundle,
    items: Sequence[Item],
    target: str | Path,
    options: Options = Options(),
    *,
    force: bool = False,
    threads: int = 0,
    progress: Callable[[float, int], None] = lambda done, total: None,
) -> Calibration:
    """Run ``items`` on a float bundle and write what its nodes read to ``target`` (.npz).

    A recording that was interrupted goes on where it was, if bundle, items and options are the
    same; a complete one is returned as it is. ``progress`` takes items done, a part of one
    included, and all of them. Raises InputError for a file of other data (unless ``force``), a
    picture that cannot be read, a quantised bundle, too little data for some input, and values that
    are not finite.
    """
    if bundle.manifest.recipe.quantised:
        raise InputError(f"{bundle.path}: is quantised already; calibrate its float parent")
    if not items:
        raise InputError("no prompt and no picture was given; pass at least one of each")
    settings: dict[str, str | int | float | bool] = {**asdict(options), "items": _digest(items)}
    backend = RecordingBackend(
        bundle, fraction=options.fraction, seed=options.seed, row_limit=options.row_limit,
        gram=options.gram, threads=threads,
    )  # fmt: skip
    counts = dict.fromkeys(
        ("done", "prompts", "pictures", "questions", "steps", "recorded_steps"), 0
    )
    path = Path(target)
    if path.exists() and not force:
        before = Calibration.load(path)
        before.check_bundle(bundle.digest)
        if before.options != settings:
            raise InputError(
                f"{path}: holds a calibration with other data or options; choose another name or "
                "pass --force"
            )
        if before.complete:
            return before
        if _names(before.graphs) != _names(backend.statistics) or counts.keys() - before.counts:
            raise InputError(f"{path}: lacks inputs or counts of this bundle; pass --force")
        backend.statistics, counts = before.graphs, dict(before.counts)
        backend.steps, backend.recorded_steps = counts["steps"], counts["recorded_steps"]
    counts["items"] = len(items)

    def recorded() -> Calibration:
        counts["steps"], counts["recorded_steps"] = backend.steps, backend.recorded_steps
        tools = {
            "janus-edge": __version__,
            "onnxruntime": onnxruntime.__version__,
        }
        return Calibration(bundle.digest, backend.statistics, tools, settings, dict(counts))

    def tell(part: float) -> None:
        progress(counts["done"] + part, len(items))

    saved = time.monotonic()
    with Janus(bundle, backend) as janus:
        for number in range(counts["done"], len(items)):
            tell(0)
            backend.begin(number)
            run_item(janus, items[number], number, options, counts, tell)
            backend.end()
            counts["done"] = number + 1
            if time.monotonic() - saved > _SAVE_SECONDS and number + 1 < len(items):
                recorded().save(path)
                saved = time.monotonic()
    progress(len(items), len(items))
    found = recorded()
    _check(found)
    found.save(path)
    return found


def run_item(
    janus: Janus, item: Item, number: int, options: Options, counts: dict[str, int],
    tell: Callable[[float], None],
) -> None:  # fmt: skip
    """Paint, encode and ask, and add to ``counts``; ``tell`` takes the share that is painted.

    ``number``, the item's place in the data, decides the noise.
    """
    picture = item.picture
    if item.prompt is not None:
        seed, scale = _noise_seed(options.seed, number), options.guidance_scale
        for step in janus.generate_steps(item.prompt, seed=seed, guidance_scale=scale):
            tell(step.step / step.total)
            picture = step.pictures[0].image if step.pictures else None
        counts["prompts"] += 1
    if item.picture is not None or item.questions:
        assert picture is not None
        janus.encode(picture)
        counts["pictures"] += 1
    for question in item.questions:
        janus.describe(picture, question, max_new_tokens=options.max_new_tokens)
        counts["questions"] += 1


def _noise_seed(seed: int, number: int) -> int:
    """A seed above those of evaluations, whose pictures must not begin as the calibration's."""
    return (1 << 63) + (seed * 1_000_003 + number) % (1 << 63)


def _names(graphs: dict[str, dict[str, InputStatistics]]) -> dict[str, set[str]]:
    return {graph: set(inputs) for graph, inputs in graphs.items()}


def _check(found: Calibration) -> None:
    """Every input was seen, and often enough."""
    for graph, inputs in found.graphs.items():
        for name, statistics in inputs.items():
            if not statistics.count:
                raise InputError(
                    f"the input '{name}' of graph '{graph}' was never read: give at least one prompt "
                    "to paint and one picture to ask about"
                )
            if statistics.count < _FEWEST_ROWS:
                raise InputError(
                    f"the input '{name}' of graph '{graph}' was read {statistics.count} times, which is "
                    f"too little for a range (at least {_FEWEST_ROWS}): give more prompts and "
                    "pictures, or a larger --fraction"
                )


def _digest(items: Sequence[Item]) -> str:
    """SHA-256 of all texts and pixels, in their order."""
    state = hashlib.sha256()
    for item in items:
        picture = None if item.picture is None else load_image(item.picture)
        what = item.prompt if picture is None else f"{picture.size}"
        for part in (what or "", str(len(item.questions)), *item.questions):
            state.update(part.encode() + b"\0")
        state.update(hashlib.sha256(picture.tobytes() if picture else b"").digest())
    return state.hexdigest()
