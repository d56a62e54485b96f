"""A whole benchmark: the modes, the sweeps, the bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import cast

from PIL import Image

from janus_edge.bench.bandwidth import Bandwidth, buffer_size, measure_bandwidth
from janus_edge.bench.energy import Energy
from janus_edge.bench.instruments import Instruments, find_instruments
from janus_edge.bench.machine import describe, versions
from janus_edge.bench.mode import Measured, Progress, mode_report, requested_steps, run_mode
from janus_edge.bench.options import Options
from janus_edge.bench.report import KIND, SCHEMA_VERSION, Report, Subject, Sweep
from janus_edge.bench.roofline import step_weights
from janus_edge.bench.sweeps import Sweeper
from janus_edge.bundle import Bundle
from janus_edge.engine import open_bundle_or_engine
from janus_edge.engine_manifest import EngineManifest
from janus_edge.runtime.generation import Parallel
from janus_edge.runtime.image_processing import load_image
from janus_edge.runtime.kv_cache import planned_capacity
from janus_edge.runtime.memory import chat_plan
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import question_ids


def measure(
    path: str | Path,
    options: Options,
    image: str | Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Measure the bundle or engine at ``path`` on this machine.

    ``image`` is what questions are asked about, a shipped photograph if None. ``progress(what, done,
    total)`` is called off the clock. Raises BundleError, EngineError, BackendError, InputError, and
    CapacityError for what does not fit this machine or model, the latter two before anything is
    measured.
    """
    picture = _picture(image)
    bundle = open_bundle_or_engine(path, verify=False)
    instruments = find_instruments(gpu=_target(bundle) not in (None, "ort-cpu"))
    try:
        return _measure(bundle, options, picture, progress, instruments)
    finally:
        instruments.close()


def _measure(
    bundle: Bundle,
    options: Options,
    picture: Image.Image,
    progress: Progress,
    instruments: Instruments,
) -> Report:
    idle = instruments.idle()  # first: hashing files or opening a model would raise it
    _verify(bundle, progress)
    weights = {mode: step_weights(bundle, mode) for mode in options.modes}
    machine = describe()
    _check(bundle, options)
    measured = [
        _run(bundle, options, mode, picture, progress, instruments, idle) for mode in options.modes
    ]
    sweeps = _sweeps(bundle, options, progress)
    told = next((m.device_bandwidth for m in measured if m.device_bandwidth), None)
    bandwidth = (
        Bandwidth.of_device(told)
        if told
        else measure_bandwidth(
            options.threads or machine.cores,
            buffer_size(machine),
            progress=lambda done, total: progress("bandwidth", done, total),
        )
    )
    return Report(
        kind=KIND,
        schema_version=SCHEMA_VERSION,
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        machine=machine,
        versions=versions(),
        subject=_subject(bundle),
        options=options,
        bandwidth=bandwidth,
        modes={
            m.mode: mode_report(m, weights[m.mode], bandwidth, 0 if told else machine.cache_bytes)
            for m in measured
        },
        sweeps=sweeps,
    )


def _verify(bundle: Bundle, progress: Progress) -> None:
    """Check every file now, to keep hashing out of later figures."""
    done, total = 0, bundle.total_bytes

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("hashes", done, total)

    progress("hashes", 0, total)
    bundle.verify(advance)


def _picture(path: str | Path | None) -> Image.Image:
    if path is not None:
        return load_image(path)
    photograph = resources.files("janus_edge") / "assets" / "astronaut.jpg"
    with resources.as_file(photograph) as shipped:
        return load_image(shipped)


def _check(bundle: Bundle, options: Options) -> None:
    """Raise now what would come after minutes."""
    config = bundle.manifest.config
    with Janus.load(bundle.path, threads=options.threads, verify=False) as janus:
        if "image" in options.modes:
            janus.generation_memory(
                [options.prompt] * options.prompts,
                options.pictures,
                cast(Parallel, options.parallel),
            ).check()
        if "text" in options.modes:
            ids = question_ids(janus.tokenizer, options.question, 1, config.image_tokens)
            capacity = planned_capacity(config.language, [len(ids)], options.answer_tokens - 1)
            chat_plan(bundle, capacity).check()
        Sweeper(janus, options)


def _run(
    bundle: Bundle, options: Options, mode: str, picture: Image.Image, progress: Progress,
    instruments: Instruments, idle: Energy,
) -> Measured:  # fmt: skip
    steps = requested_steps(options, mode, bundle.manifest.config.image_tokens)
    total = (options.warm_up + options.repetitions) * steps
    ticks = _ticks(progress, mode, total)
    measured = run_mode(bundle, options, mode, picture, ticks, instruments, idle)
    progress(mode, total, total)
    return measured


def _sweeps(bundle: Bundle, options: Options, progress: Progress) -> tuple[Sweep, ...]:
    if not options.sweeps:
        return ()
    with Janus.load(bundle.path, threads=options.threads, verify=False) as janus:
        sweeper = Sweeper(janus, options)
        total = sweeper.ticks
        found = tuple(sweeper.run(_ticks(progress, "sweeps", total)))
    progress("sweeps", total, total)
    return found


def _ticks(progress: Progress, what: str, total: int) -> Callable[[], None]:
    """Counts its calls; an answer's tokens may come several to a piece, so it may stay behind."""
    done = 0

    def tick() -> None:
        nonlocal done
        done = min(done + 1, total)
        progress(what, done, total)

    progress(what, 0, total)
    return tick


def _subject(bundle: Bundle) -> Subject:
    manifest = bundle.manifest
    return Subject(
        name=bundle.path.resolve().name,
        digest=bundle.digest,
        precision=manifest.recipe.name,
        target=_target(bundle),
        bytes=bundle.total_bytes,
    )


def _target(bundle: Bundle) -> str | None:
    manifest = bundle.manifest
    return manifest.target if isinstance(manifest, EngineManifest) else None
