"""One object of a checkpoint's ``config.json``: values by key, typed, errors with their path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from janus_edge.errors import CheckpointError

#: The fix of every message about a value that no edit could make right.
_FIX = (
    "janus-edge exports DeepSeek's Janus and Janus-Pro only; check that this is the checkpoint's "
    "own, unaltered config.json"
)


class Section:
    """The object at ``path`` (``vision_config.params``) of the configuration file ``where``.

    A key that is absent or null takes its default; every getter raises CheckpointError for a value
    of the wrong type, and for a missing one without a default.
    """

    def __init__(self, values: Mapping[str, Any], where: str, path: str = "") -> None:
        self._values, self.where, self.path = values, where, path

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def section(self, key: str) -> Section:
        """The object under ``key``; empty if there is none."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise self.error(key, f"is {value!r}, and should be an object")
        return Section(value or {}, self.where, self._join(key))

    def integer(self, key: str, default: int | None = None) -> int:
        """The whole number under ``key``."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"is {value!r}, and should be a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """The number under ``key``."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(key, f"is {value!r}, and should be a number")
        if not abs(value) < 1e12:  # infinite, NaN, or no dimension of anything
            raise self.error(key, f"is {value!r}, and should be a finite number")
        return float(value)

    def integers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """The list of whole numbers under ``key``."""
        value = self._get(key, default)
        if not isinstance(value, (list, tuple)) or not all(type(v) is int for v in value):
            raise self.error(key, f"is {value!r}, and should be a list of whole numbers")
        return tuple(value)

    def text(self, key: str, default: str | None = None) -> str:
        """The string under ``key``."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"is {value!r}, and should be a string")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """The true or false under ``key``."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"is {value!r}, and should be true or false")
        return value

    def must_be(self, key: str, supported: object, default: object, why: str = "") -> None:
        """Raise unless the value under ``key`` (or its ``default``) is ``supported``."""
        value = self._get(key, default)
        if value != supported or isinstance(value, bool) != isinstance(supported, bool):
            reason = f" ({why})" if why else ""
            raise self.error(key, f"is {value!r}, and only {supported!r} is supported{reason}")

    def error(self, key: str, problem: str) -> CheckpointError:
        """The error for ``key``: what is wrong, in which file, and the fix."""
        return CheckpointError(f"'{self._join(key)}' {problem}: {self.where}; {_FIX}")

    def _get(self, key: str, default: object) -> Any:
        value = self._values.get(key)
        if value is not None:
            return value
        if default is None:
            raise self.error(key, "is missing")
        return default

    def _join(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key
