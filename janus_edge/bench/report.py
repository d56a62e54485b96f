"""What a benchmark found: frozen dataclasses that become JSON and come back from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus_edge.bench.bandwidth import Bandwidth
from janus_edge.bench.device_state import DeviceState
from janus_edge.bench.distribution import Distribution
from janus_edge.bench.energy import Energy, Joules
from janus_edge.bench.machine import Machine
from janus_edge.bench.options import Options
from janus_edge.bench.roofline import Roofline
from janus_edge.errors import InputError
from janus_edge.schema import from_dict, to_dict

KIND = "janus-edge bench"

#: Rises when a report written by this version cannot be read by an older one.
SCHEMA_VERSION = 2

#: Version 1 has no idle power, energy parts or device state.
_READ = (1, SCHEMA_VERSION)


@dataclass(frozen=True, slots=True)
class Subject:
    """The bundle or engine: the name of its folder, its digest, precision, and target if an engine."""

    name: str
    digest: str
    precision: str
    target: str | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Start:
    """The first request of a process: seconds to open the bundle (files in the page cache, hashes
    not checked), to open each graph, and from the beginning to the first code or token."""

    load: float
    graphs: dict[str, float]
    first: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The median step, in seconds, where so many positions of the cache were filled."""

    position: int
    step: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes at most: of the process, since the mode began (or, ``since_start``, the process), and of
    the device; None where nobody tells."""

    process: int | None
    since_start: bool
    device: int | None


@dataclass(frozen=True, slots=True)
class Passes:
    """Painting several codes a pass: passes of each request until ``codes`` of every picture were
    known, of how many codes they were (by width, all requests together), and the codes of every
    picture that a pass gained in the mean. The first code is the prompt's, and takes none."""

    passes: tuple[int, ...]
    codes: tuple[int, ...]
    widths: dict[str, int]
    codes_per_pass: float


@dataclass(frozen=True, slots=True)
class ModeReport:
    """Painting, or answering.

    ``rows`` of the language model (two a picture), ``steps`` codes or tokens a request; ``whole``
    if these were all of a picture. ``stages`` are those of a request, ``step`` the parts of a step,
    ``host`` the loop's own time by the call that it precedes, ``outside_share`` the share of a step
    in which no graph runs. ``tokens_per_second`` counts the codes of all pictures, over the median
    step. ``images_per_second`` is computed from the medians of its stages unless ``whole``; None for
    answers. With ``parallel`` a step is a pass, and means take the place of medians in these two.
    ``gross`` and ``net`` are the energy of a code, a step and a picture, with and without the power at
    rest; ``joules_per_token`` comes from ``gross``. The energy of a step is its seconds times the mean
    power, and so is a picture's unless ``whole``. ``device`` is the state during the measurement.
    """

    prompt_tokens: int
    rows: int
    pictures: int
    steps: int
    whole: bool
    capacity: int
    start: Start
    stages: dict[str, Distribution]
    step: dict[str, Distribution]
    host: dict[str, Distribution]
    outside_share: float
    tokens_per_second: float
    images_per_second: float | None
    memory: Memory
    energy: Energy
    joules_per_token: float | None
    curve: tuple[CurvePoint, ...]
    roofline: Roofline
    parallel: Passes | None = None
    gross: Joules | None = None
    net: Joules | None = None
    device: DeviceState | None = None


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One value of a sweep; ``prompt_tokens`` and ``capacity`` are what came of it.

    A step that is a pass gains ``codes_per_step`` of every picture in the mean.
    """

    value: int
    rows: int
    pictures: int
    prompt_tokens: int
    capacity: int
    prefill: Distribution
    step: Distribution
    language_model: Distribution
    tokens_per_second: float
    codes_per_step: float = 1.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was swept in which mode, and its points."""

    name: str
    mode: str
    points: tuple[SweepPoint, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """One benchmark of one bundle or engine; all durations are in seconds."""

    kind: str
    schema_version: int
    date: str
    machine: Machine
    versions: dict[str, str]
    subject: Subject
    options: Options
    bandwidth: Bandwidth
    modes: dict[str, ModeReport]
    sweeps: tuple[Sweep, ...]

    def to_json(self) -> dict[str, Any]:
        """What ``json.dump`` takes and :meth:`from_json` reads back."""
        data: dict[str, Any] = to_dict(self)
        return data

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """The report that :meth:`to_json` wrote; raises InputError if it is none."""
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise InputError(
                "not a report of `janus-edge bench`; give a file that its --json wrote"
            )
        version = data.get("schema_version")
        if version not in _READ:
            raise InputError(
                f"has schema version {version!r}; this janus-edge reads versions up to "
                f"{SCHEMA_VERSION}: measure again with this version, or compare "
                "with the version that wrote it"
            )
        return from_dict(cls, data, error=lambda why: InputError(f"not a whole report: {why}"))

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """The report in a file; raises InputError naming it."""
        try:
            data = json.loads(Path(path).read_text("utf-8"))
            return cls.from_json(data)
        except OSError as failure:
            raise InputError(f"{path}: cannot be read ({failure.strerror})") from failure
        except (ValueError, RecursionError) as invalid:
            raise InputError(f"{path}: not JSON ({invalid}); give a report") from invalid
        except InputError as invalid:
            raise InputError(f"{path}: {invalid}") from invalid
