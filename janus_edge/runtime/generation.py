"""Painting as steps, code by code or several codes a pass, with the pictures at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus_edge.config import JanusConfig
from janus_edge.errors import InputError
from janus_edge.noise import check_seed
from janus_edge.runtime.image_decoding import ImageRequest, image_codes
from janus_edge.runtime.parallel_decoding import MAX_WINDOW, ParallelDecoder
from janus_edge.runtime.picture import GenerationStep, Picture
from janus_edge.runtime.session import Backend
from janus_edge.runtime.window_policy import WIDTHS, FixedWindow, WindowPolicy

#: How many codes a pass takes: one, a number of them, or as many as pay off on this machine.
Parallel = Literal["off", "auto"] | int

#: Settings that float32 arithmetic on logits can take.
MAX_GUIDANCE, MIN_TEMPERATURE, MAX_TEMPERATURE = 1000.0, 1e-3, 1e6


def generation_steps(
    config: JanusConfig,
    backend: Backend,
    prompts: Sequence[str],
    request: ImageRequest,
    policy: WindowPolicy | None,
    decode: Callable[[NDArray[np.int64]], Image.Image],
) -> Iterator[GenerationStep]:
    """Steps as codes of every picture become known; the last has the pictures.

    Without ``policy`` each pass draws one code. ``decode`` turns codes [T] into a picture.
    """
    total, passes = config.image_tokens, 0
    drawn = np.zeros((len(request.prompt_of), total), np.int64)
    for drawn, known, passes in (
        _one_by_one(config, backend, request)
        if policy is None
        else _in_windows(config, backend, request, policy)
    ):
        if known < total:
            yield GenerationStep(known, total, drawn[:, :known], passes)
    pictures = tuple(
        Picture(
            decode(row), row, prompts[p], seed, index, request.guidance_scale, request.temperature
        )
        for row, p, seed, index in zip(
            drawn, request.prompt_of, request.seeds, request.indices, strict=True
        )
    )
    yield GenerationStep(total, total, drawn, passes, pictures)


_Progress = Iterator[tuple[NDArray[np.int64], int, int]]


def _one_by_one(config: JanusConfig, backend: Backend, request: ImageRequest) -> _Progress:
    """Codes [P, T], how many of them are known of every picture, and passes."""
    drawn = np.zeros((len(request.prompt_of), config.image_tokens), np.int64)
    for position, codes in enumerate(image_codes(config, backend, request)):
        drawn[:, position] = codes
        yield drawn, position + 1, position


def _in_windows(
    config: JanusConfig, backend: Backend, request: ImageRequest, policy: WindowPolicy
) -> _Progress:
    """The same, where pictures advance at their own pace."""
    pictures = len(request.prompt_of)
    width = policy.width(pictures)
    decoder = ParallelDecoder(config, backend, request, width, widest=policy.widest)
    known = 1
    yield decoder.drawn, known, 0
    while not decoder.finished:
        decoder.width = min(policy.width(decoder.pictures), decoder.widest)
        going = decoder.known < config.image_tokens
        policy.note(decoder.advance()[going], decoder.width)
        if decoder.known.min() > known:
            known = int(decoder.known.min())
            yield decoder.drawn, known, decoder.passes


def prompt_list(prompt: str | Sequence[str]) -> list[str]:
    """One prompt or several as a list; raises InputError for none, and for what is no text."""
    if not isinstance(prompt, (str, Sequence)):
        raise InputError(f"prompt must be a string or a list of them, found {prompt!r}")
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts:
        raise InputError("no prompt was given; pass a string or a list of strings")
    return prompts


def seed_list(seed: int | Sequence[int], prompts: int) -> list[int]:
    """Return one seed per prompt; raises InputError for an invalid seed or a wrong number of seeds."""
    if not isinstance(seed, (list, tuple, range)):
        return [check_seed(cast("int", seed))] * prompts
    if len(seed) != prompts:
        raise InputError(f"give one seed, or one for each of {prompts} prompts; found {len(seed)}")
    return [check_seed(one) for one in seed]


def check_settings(images_per_prompt: int, guidance_scale: float, temperature: float) -> None:
    """Numbers that the sampler's float32 can work with; beyond them every code would be 0."""
    if not isinstance(images_per_prompt, int) or images_per_prompt < 1:
        raise InputError(f"images_per_prompt must be at least 1, found {images_per_prompt!r}")
    for name, value in (("guidance_scale", guidance_scale), ("temperature", temperature)):
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(f"{name} must be a finite number, found {value!r}")
    if abs(guidance_scale) > MAX_GUIDANCE:
        raise InputError(f"guidance_scale must be within {MAX_GUIDANCE:g}, found {guidance_scale}")
    if temperature != 0 and not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
        raise InputError(
            f"temperature must be at least 0, and if not 0 from {MIN_TEMPERATURE:g} to "
            f"{MAX_TEMPERATURE:g}, found {temperature}"
        )


def widest(parallel: Parallel) -> int:
    """The widest window that ``parallel`` may come to use."""
    return {"off": 1, "auto": WIDTHS[-1]}.get(parallel, parallel)  # type: ignore[arg-type]


def check_parallel(parallel: object) -> None:
    """Raise InputError for anything but off, auto and a width."""
    if parallel in ("off", "auto"):
        return
    number = isinstance(parallel, int) and not isinstance(parallel, bool)
    if not number or not 1 <= parallel <= MAX_WINDOW:  # type: ignore[operator]
        raise InputError(
            f"parallel must be 'off', 'auto' or a number of codes from 1 to {MAX_WINDOW}, "
            f"found {parallel!r}"
        )


def window_policy(parallel: Parallel, costs: Callable[[], WindowPolicy]) -> WindowPolicy | None:
    """The policy that ``parallel`` names, ``costs`` making that of ``auto``; None for off.

    Raises InputError as :func:`check_parallel`.
    """
    check_parallel(parallel)
    if isinstance(parallel, int):
        return FixedWindow(parallel)
    return costs() if parallel == "auto" else None
