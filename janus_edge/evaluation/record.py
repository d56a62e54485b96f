"""Outcomes of pictures on disk, line by line: an evaluation that can be stopped and continued.

The first line says which bundle painted, every other line is one picture. A prompt's picture
depends on the bundle, the seed and the guidance scale alone, so a record may grow by prompts and by
scales. Two records of equal prompts and seeds can be compared in pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import InputError
from janus_edge.evaluation.report import Painted
from janus_edge.schema import from_dict, to_dict

_FORMAT = "janus-edge evaluation record 1"
_Key = tuple[float, int, str]


@dataclass(frozen=True, slots=True)
class Heading:
    """What painted: the bundle's digest and the name of its recipe."""

    format: str
    digest: str
    precision: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One picture as it was judged, and a hash of its codes (32 hexadecimal digits)."""

    painted: Painted
    codes: str

    @property
    def key(self) -> _Key:
        """What no two pictures of an evaluation share."""
        return self.painted.guidance_scale, self.painted.seed, self.painted.category


def codes_hash(codes: NDArray[np.integer[Any]]) -> str:
    """A hash of a picture's codes [T]; rounding in the VQ decoder does not change it."""
    return blake2b(np.asarray(codes, "<i8").tobytes(), digest_size=16).hexdigest()


class Record:
    """The outcomes in a file; :meth:`add` appends to it at once."""

    def __init__(self, path: Path, heading: Heading, outcomes: Iterable[Outcome]) -> None:
        self.path, self.heading = path, heading
        self._outcomes = {outcome.key: outcome for outcome in outcomes}

    @classmethod
    def read(cls, path: str | Path) -> Record:
        """The record at ``path``; raises InputError if it is missing or is not one."""
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as failure:
            raise InputError(f"{path}: cannot be read as an evaluation record") from failure
        # a process that was killed while writing leaves a line without its end
        lines = text[: text.rfind("\n") + 1].splitlines()
        try:
            heading, *outcomes = map(json.loads, lines)
        except ValueError as invalid:
            raise _not_a_record(path, str(invalid)) from invalid

        def error(why: str) -> InputError:
            return _not_a_record(path, why)

        found = from_dict(Heading, heading, error=error)
        if found.format != _FORMAT:
            raise _not_a_record(path, f"its format is {found.format!r}")
        every = (from_dict(Outcome, o, error=error, where="outcome") for o in outcomes)
        return cls(Path(path), found, every)

    @classmethod
    def open(cls, path: str | Path, digest: str, precision: str) -> Record:
        """The record at ``path`` to continue, or a new one.

        Raises InputError if another bundle painted what is in it, or if it cannot be written.
        """
        file, heading = Path(path), Heading(_FORMAT, digest, precision)
        if file.exists():
            record = cls.read(file)
            if record.heading != heading:
                raise InputError(
                    f"{file}: its pictures are by another bundle ({record.heading.precision}, "
                    f"digest {record.heading.digest[:12]}); give another file"
                )
            record._cut()
            return record
        record = cls(file, heading, ())
        record._append([to_dict(heading)], "x")
        return record

    def __len__(self) -> int:
        return len(self._outcomes)

    def find(self, category: str, prompt: str, seed: int, scale: float) -> Outcome | None:
        """The outcome of this picture, None if it is not there.

        Raises InputError if it was of another prompt: a record of another version.
        """
        found = self._outcomes.get((scale, seed, category))
        if found and found.painted.prompt != prompt:
            raise InputError(
                f"{self.path}: the picture of seed {seed} is of {found.painted.prompt!r}, not of "
                f"{prompt!r}: made by another version of janus-edge; give another file"
            )
        return found

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Keep outcomes, also on disk; raises InputError if the file cannot be written."""
        new = list(outcomes)
        self._append([to_dict(outcome) for outcome in new], "a")
        self._outcomes |= {outcome.key: outcome for outcome in new}

    def _append(self, lines: list[Any], mode: str) -> None:
        try:
            with open(self.path, mode, encoding="utf-8") as file:
                file.write("".join(json.dumps(line) + "\n" for line in lines))
        except OSError as failure:
            raise InputError(f"{self.path}: cannot be written ({failure.strerror})") from failure

    def _cut(self) -> None:
        """Drop what follows the last whole line."""
        size = self.path.read_bytes().rfind(b"\n") + 1
        with open(self.path, "r+b") as file:
            file.truncate(size)


def _not_a_record(path: str | Path, why: str) -> InputError:
    return InputError(f"{path}: not an evaluation record ({why}); give another file")
