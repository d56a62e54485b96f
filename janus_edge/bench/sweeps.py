"""How the cost of a step and of a prompt grows with one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PIL import Image

from janus_edge.bench.distribution import Distribution
from janus_edge.bench.options import SWEEPS, Options
from janus_edge.bench.prompt_length import text_of_length
from janus_edge.bench.recorder import Recorder
from janus_edge.bench.report import Sweep, SweepPoint
from janus_edge.bench.requests import Requests, Tick
from janus_edge.bench.timeline import LANGUAGE_MODEL, PREFILL, TOTAL, Timeline
from janus_edge.bundle import Bundle
from janus_edge.errors import InputError
from janus_edge.runtime.generation import Parallel
from janus_edge.runtime.memory import chat_plan, generation_plan
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import question_ids, text_to_image_ids

#: Requests of a point that count, behind one that does not.
_MOST_REPETITIONS = 3

_NO_IMAGES: list[Image.Image] = []


class Sweeper:
    """The sweeps of ``options`` on one Janus; all are checked before the first is run."""

    def __init__(self, janus: Janus, options: Options) -> None:
        self._janus, self._options = janus, options
        self._repetitions = min(options.repetitions, _MOST_REPETITIONS)
        self.planned = tuple(
            (name, mode)
            for name in options.sweeps
            for mode in SWEEPS[name]
            if mode in options.modes
        )
        for name, mode in self.planned:
            for value in options.sweeps[name]:
                self._check(name, mode, value)

    @property
    def ticks(self) -> int:
        """How often ``run`` calls its tick at most."""
        points = sum(len(self._options.sweeps[name]) for name, _ in self.planned)
        return points * (self._repetitions + 1) * self._options.sweep_steps

    def run(self, tick: Tick) -> Iterator[Sweep]:
        """Each sweep when it is done."""
        requests = Requests(self._janus, Recorder(), self._options.threads)
        for name, mode in self.planned:
            points = tuple(
                self._point(requests, name, mode, value, tick)
                for value in self._options.sweeps[name]
            )
            yield Sweep(name, mode, points)

    def _point(
        self, requests: Requests, name: str, mode: str, value: int, tick: Tick
    ) -> SweepPoint:
        ask = self._request(requests, name, mode, value, tick)
        ask()
        runs = [ask() for _ in range(self._repetitions)]
        steps = [step.parts for run in runs for step in run.steps]
        binding = runs[0].binding
        assert binding is not None, "at least two steps were asked for"
        total = Distribution.of([parts[TOTAL] / 1e9 for parts in steps])
        gained = sum(run.drawn - 1 for run in runs) / len(steps)
        code = (
            total.median
            if gained == 1
            else sum(p[TOTAL] for p in steps) / 1e9 / len(steps) / gained
        )
        pictures = binding.rows // 2 if mode == "image" else 1
        return SweepPoint(
            value=value,
            rows=binding.rows,
            pictures=pictures,
            prompt_tokens=runs[0].prompt_tokens,
            capacity=binding.capacity,
            # a loop of the backend's own shows no prefill, and no language model
            prefill=Distribution.of(
                [run.stages.get(PREFILL, [run.first])[0] / 1e9 for run in runs]
            ),
            step=total,
            language_model=Distribution.of(
                [parts.get(LANGUAGE_MODEL, parts[TOTAL]) / 1e9 for parts in steps]
            ),
            tokens_per_second=pictures / code,
            codes_per_step=gained,
        )

    def _request(
        self, requests: Requests, name: str, mode: str, value: int, tick: Tick
    ) -> Callable[[], Timeline]:
        options = self._options
        steps = options.sweep_steps
        if mode == "text":
            question, capacity = self._question(name, value)
            return lambda: requests.answer(question, _NO_IMAGES, steps, capacity, tick)
        prompt, prompts, pictures = self._painting(name, value)
        steps = min(steps, self._janus.bundle.manifest.config.image_tokens)
        parallel: Parallel = value if name == "parallel" else "off"
        return lambda: requests.paint(
            prompt, prompts, pictures, steps, options.seed, tick, parallel
        )

    def _question(self, name: str, value: int) -> tuple[str, int | None]:
        """The question, and the capacity of its conversation (None: just enough)."""
        if name == "capacity":
            return self._options.question, value
        return text_of_length(lambda text: len(self._question_ids(text)), value), None

    def _painting(self, name: str, value: int) -> tuple[str, int, int]:
        """The prompt, how often it is in the batch, and how many pictures of it are painted."""
        options, tokenizer = self._options, self._janus.tokenizer
        prompt, prompts, pictures = options.prompt, options.prompts, options.pictures
        if name == "pictures":
            return prompt, 1, value
        if name == "prompts":
            return prompt, value, 1
        if name == "parallel":
            return prompt, prompts, pictures
        return (
            text_of_length(lambda text: len(text_to_image_ids(tokenizer, text)), value),
            prompts,
            pictures,
        )

    def _question_ids(self, text: str) -> list[int]:
        return question_ids(self._janus.tokenizer, text, 0, 0)

    def _check(self, name: str, mode: str, value: int) -> None:
        """Raise what the point would raise, or CapacityError where memory does not suffice."""
        bundle: Bundle = self._janus.bundle
        if mode == "image":
            prompt, prompts, pictures = self._painting(name, value)
            length = len(text_to_image_ids(self._janus.tokenizer, prompt))
            widest = value if name == "parallel" else 1
            generation_plan(bundle, [length] * prompts, prompts * pictures, widest).check()
            return
        question, capacity = self._question(name, value)
        length, steps = len(self._question_ids(question)), self._options.sweep_steps
        needed, positions = length + steps - 1, bundle.manifest.config.language.max_positions
        if capacity is not None and not needed <= capacity <= positions:
            raise InputError(
                f"sweep of capacity: {capacity} is not from {needed} (the question and "
                f"{steps} tokens) to the model's {positions} positions"
            )
        if needed > positions:
            raise InputError(
                f"sweep of prompt_length: {value} and {steps} tokens behind it are more than the "
                f"model's {positions} positions"
            )
        chat_plan(bundle, capacity or needed).check()
