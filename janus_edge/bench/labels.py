"""What stages, parts of a step and sweeps are called in tables and plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from janus_edge.bench.distribution import Distribution
from janus_edge.bench.report import ModeReport, Report, SweepPoint
from janus_edge.bench.timeline import HOST, OUTSIDE, TOTAL
from janus_edge.bench.units import digits, seconds

#: Sensors are sampled ten times a second, and also average internally.
_SHORT = 2.0

_LABELS = {
    "vision_encoder": "vision encoder", "vq_decoder": "VQ decoder", "prefill": "prefill",
    "host_before_first": "host, before the first", "request": "whole request",
    "language_model": "language model", "image_head": "image head", "text_head": "text head",
    "guided_sampler": "sampler", "text_sampler": "sampler (host)", "image_embedding": "embedding",
    "text_embedding": "embedding (host)", "host": "host: the loop", "step": "step", "outside": "outside the graphs",
    "painted_step": "step on the device",
    "pictures": "pictures of one prompt", "prompts": "prompts in a batch",
    "parallel": "codes of a pass", "prompt_length": "tokens of the prompt", "capacity": "positions of the cache",
}  # fmt: skip


def label(name: str, mode: str = "") -> str:
    """``first`` is a code or a token, by the mode; unknown names stay as they are."""
    if name == "first":
        return "first code" if mode == "image" else "first token"
    return _LABELS.get(name, name.replace("_", " "))


def ordered(step: Mapping[str, Distribution]) -> Iterator[tuple[str, Distribution]]:
    """The parts of a step: calls, the largest first, then the host's, the sum, and what no graph does.

    The latter is left out where it is the host's alone.
    """
    calls = {n: d for n, d in step.items() if n not in (HOST, TOTAL, OUTSIDE)}
    yield from sorted(calls.items(), key=lambda item: -item[1].median)
    last = (HOST, TOTAL) if step[OUTSIDE] == step[HOST] else (HOST, TOTAL, OUTSIDE)
    yield from ((name, step[name]) for name in last)


def work(mode: str, found: ModeReport) -> str:
    """What a request of the mode was."""
    if mode == "text":
        return f"a question of {found.prompt_tokens} tokens, {found.steps} tokens of the answer"
    pictures = "1 picture" if found.pictures == 1 else f"{found.pictures} pictures"
    part = "whole" if found.whole else f"the first {found.steps} codes"
    return f"{pictures} ({part}), prompt of {found.prompt_tokens} tokens"


def passes(found: ModeReport) -> str:
    """The codes of a picture that a pass gains, of how many it looks at."""
    if found.parallel is None:
        return ""
    widths = [*found.parallel.widths]
    of = widths[0] if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
    return f"{digits(found.parallel.codes_per_pass)} of {of} codes"


def energy(found: ModeReport) -> str:
    """Joules of a code or token, the mean power, and the source; or why there are none."""
    used = found.energy
    if found.joules_per_token is None or used.watts is None:
        return f"not measured: {used.source}"
    words = [f"{joules(found.joules_per_token)}, {digits(used.watts)} W by {used.source}"]
    if used.idle_watts is not None:
        words.append(f"{digits(used.idle_watts)} W of that at rest, before the model was opened")
    if used.seconds < _SHORT:
        words.append(f"in {seconds(used.seconds)}, too short to be exact: ask for more repetitions")
    words += [f"{part.name}: {part.note}" for part in used.parts if part.note]
    words += [f"not in it: {reason}" for reason in used.missing]
    return "; ".join(words)


def joules(value: float) -> str:
    """``38 mJ``, ``12.3 J``."""
    return f"{digits(value * 1000)} mJ" if abs(value) < 1 else f"{digits(value)} J"


def device(found: ModeReport) -> str:
    """Power mode, whether clocks were held, and why they were lowered; '' if nothing is known."""
    state = found.device
    if state is None:
        return ""
    words = [f"power mode {state.power_mode}"] if state.power_mode else []
    if state.clocks_held is not None:
        words.append("clocks held" if state.clocks_held else "clocks not held (jetson_clocks)")
    if state.throttled:
        words.append(f"clocks were lowered by: {', '.join(state.throttled)}")
    return "; ".join([*words, *(f"not read: {reason}" for reason in state.missing)])


def notes(report: Report) -> Iterator[str]:
    """What to know about the figures, a sentence or two each."""
    yield f"the limit is {bandwidth(report)}"
    if report.subject.target not in (None, "ort-cpu") and report.bandwidth.passes:
        yield "the limit is that of the processor's memory: the device does not tell its own"
    for mode, found in report.modes.items():
        if found.roofline.note:
            yield f"{mode}: {found.roofline.note}"
        if found.images_per_second is not None and not found.whole:
            yield f"{mode}: images a second are computed from the medians of stages (--whole paints whole pictures)"
        if found.memory.since_start:
            yield f"{mode}: the peak of memory is since the start of the process, not of the mode"
    for source in dict.fromkeys(energy(found) for found in report.modes.values()):
        yield f"energy: {source}"
    for state in dict.fromkeys(device(found) for found in report.modes.values()):
        if state:
            yield f"device: {state}"


def bandwidth(report: Report) -> str:
    """The limit, and how it was measured."""
    found = report.bandwidth
    if not found.passes:
        return f"{found.bytes_per_second / 1e9:.1f} GB/s of the device's memory: {found.method}"
    return (
        f"{found.bytes_per_second / 1e9:.1f} GB/s read by {found.threads} threads: the fastest of "
        f"{found.passes} passes over {found.buffer_bytes / 2**20:.0f} MiB ({found.method})"
    )


def point(name: str, found: SweepPoint) -> str:
    """The value of a point; of lengths what the tokenizer made of it."""
    return str(found.prompt_tokens if name == "prompt_length" else found.value)
