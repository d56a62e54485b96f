"""What a pass over W positions costs on this machine: measured once per bundle or engine, and kept."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from janus_edge import __version__
from janus_edge.atomic_file import written_aside
from janus_edge.bundle import Bundle
from janus_edge.cache_folder import cache_folder
from janus_edge.errors import InputError
from janus_edge.runtime.image_decoding import ImageRequest
from janus_edge.runtime.kv_cache import KVCache, planned_capacity
from janus_edge.runtime.parallel_decoding import Window
from janus_edge.runtime.session import Backend
from janus_edge.runtime.window_policy import WIDTHS

#: Passes of each width, after one that is not counted: at least, and at most; more while they are quick.
#: The fastest of each counts: whatever else the machine does can only slow a pass, on two cores by the
#: 10 ms for which the system gives a core away.
_LEAST, _MOST, _ENOUGH_SECONDS = 5, 40, 2.0


def pass_costs(bundle: Bundle, backend: Backend, threads: int) -> Mapping[int, float]:
    """Seconds of a pass over one picture by width, for :class:`BestWindow`.

    They are kept in the user's folder of caches (``passes``), by bundle, machine and number of
    threads; a file that cannot be read is measured again, and where nothing can be written, nothing
    is kept.
    """
    machine = [platform.node(), platform.machine(), os.cpu_count(), threads, __version__]
    name = hashlib.sha256(json.dumps([bundle.digest, *machine]).encode()).hexdigest()
    try:
        path = cache_folder("passes") / f"{name}.json"
    except InputError:
        return measured(bundle, backend)
    kept = _read(path)
    if kept is None:
        kept = measured(bundle, backend)
        with suppress(InputError, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(path) as aside:
                aside.write_text(json.dumps(kept), "utf-8")
    return kept


def measured(bundle: Bundle, backend: Backend) -> dict[int, float]:
    """The seconds of the fastest of some passes of every width, half-way through a picture."""
    config = bundle.manifest.config
    half = config.image_tokens // 2
    capacity = planned_capacity(config.language, [half], config.image_tokens - half + max(WIDTHS))
    cache = KVCache.of(backend, config.language, 2, capacity)
    cache.lengths[:] = half
    request = ImageRequest((), (), (), (), 5.0, 1.0)
    windows = {w: Window(config, backend, cache, w, request) for w in WIDTHS}
    seconds: dict[int, list[float]] = {w: [] for w in WIDTHS}
    begin = time.perf_counter()
    for repeat in range(1 + _MOST):
        if repeat > _LEAST and time.perf_counter() - begin > _ENOUGH_SECONDS:
            break
        for width, window in windows.items():  # in turns: the machine may be busy for a while
            started = time.perf_counter()
            window.run()
            if repeat:
                seconds[width].append(time.perf_counter() - started)
    return {width: min(row) for width, row in seconds.items()}


def _read(path: Path) -> dict[int, float] | None:
    """What :func:`pass_costs` wrote; None if it is not that."""
    try:
        found = {int(w): float(s) for w, s in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return found if set(found) == set(WIDTHS) and all(s > 0 for s in found.values()) else None
