"""One mode, painting or answering: its requests, and what they come to."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from PIL import Image

from janus_edge.bench.bandwidth import Bandwidth, MeasuresBandwidth
from janus_edge.bench.device_state import DeviceState
from janus_edge.bench.distribution import Distribution
from janus_edge.bench.energy import Energy, Joules
from janus_edge.bench.instruments import Instruments
from janus_edge.bench.options import Options
from janus_edge.bench.process_memory import ReportsDeviceMemory, peak, reset_peak
from janus_edge.bench.recorder import Binding, Recorder
from janus_edge.bench.report import CurvePoint, Memory, ModeReport, Passes, Start
from janus_edge.bench.requests import Requests, Tick
from janus_edge.bench.roofline import roofline
from janus_edge.bench.timeline import (
    HOST_BEFORE_FIRST,
    OUTSIDE,
    PREFILL,
    REQUEST,
    TOTAL,
    Timeline,
)
from janus_edge.bench.weight_bytes import WeightBytes
from janus_edge.bundle import Bundle
from janus_edge.errors import BackendError
from janus_edge.graphs import Graph
from janus_edge.runtime.generation import Parallel
from janus_edge.runtime.pipeline import Janus

#: Called with what is done, how much of it, and how much there is.
Progress = Callable[[str, int, int], None]

#: Order in which stages are shown.
FIRST = "first"
STAGES = (
    "tokenise", "vision_encoder", PREFILL, HOST_BEFORE_FIRST, FIRST, "vq_decoder", REQUEST,
)  # fmt: skip

_CURVE = 48  # points at most


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests of a mode before the bandwidth is known: it is measured last, for its buffer would
    count to the peak of memory."""

    mode: str
    start: Start
    requests: tuple[Timeline, ...]
    decodes: tuple[int, ...]  # nanoseconds of VQ decodes beside the requests
    codes: int  # of a whole picture
    whole: bool
    pictures: int
    parallel: bool
    memory: Memory
    energy: Energy
    device: DeviceState
    device_bandwidth: float | None

    @property
    def binding(self) -> Binding:
        """What the language model's steps were bound to."""
        found = self.requests[0].binding
        if found is None:
            raise BackendError("a request of at least two steps bound no step; report this")
        return found


def requested_steps(options: Options, mode: str, image_tokens: int) -> int:
    """Codes of a picture, or tokens of an answer, that a request takes."""
    if mode == "text":
        return options.answer_tokens
    return min(options.steps or image_tokens, image_tokens)


def one_request(
    requests: Requests, options: Options, mode: str, steps: int, image: Image.Image, tick: Tick,
    number: int = 0,
) -> Timeline:  # fmt: skip
    """Request number ``number`` of ``mode`` as the options ask for it."""
    if mode == "text":
        return requests.answer(options.question, [image], steps, None, tick)
    parallel = cast(Parallel, options.parallel)
    # passes depend on the picture, code by code all pictures cost the same
    seed = options.seed + (0 if parallel == "off" else number)
    return requests.paint(
        options.prompt, options.prompts, options.pictures, steps, seed, tick, parallel
    )


def run_mode(
    bundle: Bundle, options: Options, mode: str, image: Image.Image, tick: Tick,
    instruments: Instruments, idle: Energy,
) -> Measured:  # fmt: skip
    """Open ``bundle`` anew and make the requests; the first of all tells how long a start takes."""
    codes = bundle.manifest.config.image_tokens
    steps = requested_steps(options, mode, codes)
    whole = mode == "image" and steps == codes
    reset = reset_peak()
    begin = time.perf_counter()
    with Janus.load(bundle.path, threads=options.threads, verify=False) as janus:
        load = time.perf_counter() - begin
        requests = Requests(janus, Recorder(), options.threads)

        def ask(number: int) -> Timeline:
            return one_request(requests, options, mode, steps, image, tick, number)

        warming = [ask(options.repetitions + n) for n in range(options.warm_up)]
        with instruments.meter() as meter, instruments.watch() as watch:
            measured = [ask(n) for n in range(options.repetitions)]
        first = (warming + measured)[0]
        decodes = [] if mode == "text" or whole else _decodes(requests, options)
        memory = Memory(peak(), not reset, _device_memory(janus))
        bandwidth = _device_bandwidth(janus)
    opened = {name: nanoseconds / 1e9 for name, nanoseconds in first.opened.items()}
    return Measured(
        mode=mode,
        start=Start(load, opened, load + first.first / 1e9),
        requests=tuple(measured),
        decodes=tuple(decodes),
        codes=codes,
        whole=whole,
        pictures=options.pictures * options.prompts if mode == "image" else 1,
        parallel=mode == "image" and options.parallel != "off",
        memory=memory,
        energy=meter.energy.above(idle),
        device=watch.state,
        device_bandwidth=bandwidth,
    )


def mode_report(
    measured: Measured, weights: dict[str, WeightBytes], bandwidth: Bandwidth, cache_bytes: int
) -> ModeReport:
    """The figures of a mode; ``weights`` are those of its step, ``cache_bytes`` the last cache's."""
    runs, binding, pictures = measured.requests, measured.binding, measured.pictures
    stages = _stages(measured)
    steps = [step for run in runs for step in run.steps]
    parts = _by_part(step.parts for step in steps)
    position = int(statistics.median(step.position for step in steps))
    drawn, energy = sum(run.drawn for run in runs), measured.energy
    # a pass of one width is no pass of another: what they gain and take is told by their means
    gained = (drawn - len(runs)) / len(steps)
    step = statistics.mean(s.parts[TOTAL] for s in steps) / 1e9
    code = step / gained if measured.parallel else parts[TOTAL].median
    rate = _images_per_second(measured, stages, code)
    taken = (drawn * pictures, step if measured.parallel else code, rate)
    gross = _joules(measured, energy.joules, *taken)
    return ModeReport(
        prompt_tokens=runs[0].prompt_tokens,
        rows=binding.rows,
        pictures=pictures,
        steps=runs[0].drawn,
        whole=measured.whole,
        capacity=binding.capacity,
        start=measured.start,
        stages=stages,
        step=parts,
        host=_by_part(step.gaps for step in steps),
        outside_share=_share(parts[OUTSIDE].median, parts[TOTAL].median),
        tokens_per_second=pictures / code,
        images_per_second=rate,
        memory=measured.memory,
        energy=energy,
        joules_per_token=gross.token,
        curve=_curve(runs),
        roofline=roofline(weights, binding, pictures, position, parts, bandwidth, cache_bytes),
        parallel=_passes(runs, gained) if measured.parallel else None,
        gross=gross,
        net=_joules(measured, energy.net_joules, *taken),
        device=measured.device,
    )


def _joules(
    measured: Measured, joules: float | None, tokens: int, step: float, rate: float | None
) -> Joules:
    """Divide ``joules`` of all requests: as measured for a whole picture, else by the mean power.

    ``step`` is in seconds, ``rate`` in pictures per second.
    """
    if joules is None or not measured.energy.seconds:
        return Joules(None, None, None)
    watts = joules / measured.energy.seconds
    image = None if rate is None else watts / rate
    if measured.whole:
        image = joules / (measured.pictures * len(measured.requests))
    return Joules(joules / tokens, watts * step, image)


def _passes(runs: Sequence[Timeline], gained: float) -> Passes:
    widths = Counter(str(step.width) for run in runs for step in run.steps)
    return Passes(
        passes=tuple(len(run.steps) for run in runs),
        codes=tuple(run.drawn for run in runs),
        widths=dict(sorted(widths.items(), key=lambda item: int(item[0]))),
        codes_per_pass=gained,
    )


def _images_per_second(
    measured: Measured, stages: dict[str, Distribution], code: float
) -> float | None:
    """Of whole pictures as measured; else from the medians of their stages and the seconds of a code
    of every picture; None for answers."""
    if measured.mode == "text":
        return None
    if measured.whole:
        return measured.pictures / stages[REQUEST].median
    decoding = measured.pictures * stages[Graph.VQ_DECODER.value].median
    seconds = stages[FIRST].median + (measured.codes - 1) * code + decoding
    return measured.pictures / seconds


def _stages(measured: Measured) -> dict[str, Distribution]:
    samples: dict[str, list[float]] = defaultdict(list)
    for run in measured.requests:
        samples[FIRST].append(run.first / 1e9)
        for name, values in run.stages.items():
            samples[name] += [v / 1e9 for v in values]
    if measured.mode == "image" and not measured.whole:
        del samples[REQUEST]  # of a picture that was not finished
        samples[Graph.VQ_DECODER.value] = [v / 1e9 for v in measured.decodes]
    return {name: Distribution.of(samples[name]) for name in STAGES if samples.get(name)}


def _by_part(steps: Iterable[Mapping[str, int]]) -> dict[str, Distribution]:
    """Distribution of each part over all steps, in the order in which they come."""
    samples: dict[str, list[float]] = defaultdict(list)
    for step in steps:
        for name, value in step.items():
            samples[name].append(value / 1e9)
    return {name: Distribution.of(values) for name, values in samples.items()}


def _curve(runs: Sequence[Timeline]) -> tuple[CurvePoint, ...]:
    """Medians of neighbouring positions over all requests."""
    by_position: dict[int, list[int]] = defaultdict(list)
    for run in runs:
        for step in run.steps:
            by_position[step.position].append(step.parts[TOTAL])
    positions = sorted(by_position)
    width = -(-len(positions) // _CURVE)
    points = []
    for at in range(0, len(positions), width):
        near = positions[at : at + width]
        values = [v for position in near for v in by_position[position]]
        points.append(CurvePoint(near[len(near) // 2], statistics.median(values) / 1e9))
    return tuple(points)


def _decodes(requests: Requests, options: Options) -> list[int]:
    for _ in range(options.warm_up):
        requests.decode_picture(options.seed)
    return [requests.decode_picture(options.seed) for _ in range(options.repetitions)]


def _device_memory(janus: Janus) -> int | None:
    backend = janus.backend
    return backend.device_memory_peak() if isinstance(backend, ReportsDeviceMemory) else None


def _device_bandwidth(janus: Janus) -> float | None:
    backend = janus.backend
    return backend.read_bandwidth() if isinstance(backend, MeasuresBandwidth) else None


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
