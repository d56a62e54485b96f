"""What a benchmark runs, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from janus_edge.errors import InputError
from janus_edge.noise import check_seed
from janus_edge.runtime.generation import check_parallel
from janus_edge.runtime.parallel_decoding import MAX_WINDOW

#: What a model does: paint, or answer.
MODES = ("image", "text")

#: What can be swept, and in which modes (a conversation has one row, a picture plans its own cache).
SWEEPS: Mapping[str, tuple[str, ...]] = {
    "pictures": ("image",),
    "prompts": ("image",),
    "parallel": ("image",),
    "prompt_length": ("image", "text"),
    "capacity": ("text",),
}

#: Most pictures of a prompt, prompts of a batch, and codes of a pass.
MOST = {"pictures": 16, "prompts": 16, "parallel": MAX_WINDOW}


@dataclass(frozen=True, slots=True)
class Options:
    """``repetitions`` requests are measured in each mode, behind ``warm_up`` others.

    In image mode a request paints ``pictures`` of each of ``prompts`` equal prompts, ``steps`` codes
    of each (None: whole pictures); in text mode it asks ``question`` about one picture and takes
    ``answer_tokens``. ``sweeps`` are values by the names in SWEEPS; each point of them takes
    ``sweep_steps`` codes or tokens. ``threads`` 0 is one per physical core.

    With ``parallel`` 'auto' or a number, pictures are painted several codes a pass: then a step is a
    pass, ``steps`` codes are the least, and every request has a seed of its own, ``seed`` and those
    behind it, for passes depend on the picture. A sweep paints code by code but for that of
    ``parallel``. Raises InputError.
    """

    modes: tuple[str, ...] = MODES
    repetitions: int = 5
    warm_up: int = 1
    steps: int | None = 64
    answer_tokens: int = 64
    pictures: int = 1
    prompts: int = 1
    parallel: str | int = "off"
    sweeps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sweep_steps: int = 12
    threads: int = 0
    seed: int = 0
    prompt: str = "a red fox sitting in fresh snow"
    question: str = "What is in this picture?"

    def __post_init__(self) -> None:
        if not self.modes or not set(self.modes) <= set(MODES):
            raise InputError(f"modes must be some of {', '.join(MODES)}, found {self.modes}")
        least = {
            "repetitions": 1, "warm_up": 0, "steps": 2, "answer_tokens": 2, "pictures": 1,
            "prompts": 1, "sweep_steps": 2, "threads": 0,
        }  # fmt: skip
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise InputError(f"{name} must be at least {smallest}, found {value}")
        check_parallel(self.parallel)
        if self.parallel != "off" and "image" not in self.modes:
            raise InputError("parallel: is for the mode image, which was left out")
        for name, most in MOST.items():
            if name != "parallel" and getattr(self, name) > most:
                raise InputError(f"{name} must be at most {most}, found {getattr(self, name)}")
        check_seed(self.seed)
        for name, values in self.sweeps.items():
            self._check_sweep(name, values)

    def _check_sweep(self, name: str, values: tuple[int, ...]) -> None:
        if name not in SWEEPS:
            raise InputError(f"unknown sweep {name!r}: choose one of {', '.join(SWEEPS)}")
        if not values or min(values) < 1 or len(set(values)) != len(values):
            raise InputError(f"sweep of {name}: give different numbers above 0, found {values}")
        if max(values) > MOST.get(name, max(values)):
            raise InputError(f"sweep of {name}: at most {MOST[name]}, found {max(values)}")
        if not set(SWEEPS[name]) & set(self.modes):
            raise InputError(
                f"sweep of {name}: is for the mode {' or '.join(SWEEPS[name])}, which was left out"
            )
